"""Every document's fate: under way, known by rank, and decided, by row.

While levels are decided documents are known by their rank, 0 the best: the smaller of two numbers is the one that is
kept, and a parent never comes after its child. `RankedFates` takes buckets and pairs in any order and ends with
`Decisions`, which know documents by their row in the index.

Memory: `RankedFates` 17 bytes x documents (33 beyond two billion), `Decisions` 41; both at the end.

    fates = RankedFates(order)
    fates.drop_copies(offsets, rows, Rule.EXACT_DUPLICATE)
    fates.join_buckets(offsets, rows, clusters=True)
    fates.drop_neighbours(clusters=True)
    decisions = fates.decisions(ids)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from storage.ledger import Rule
from tasks.deduplicate.buckets import row_type
from tasks.deduplicate.union_find import join_buckets, join_pairs, to_roots


@dataclass(frozen=True)
class Decisions:
    """Every document's fate, in the order of the index.

    Attributes:
        survivor: int64 (documents,): row of what is kept of the document's cluster; its own for a survivor.
        twin: int64 (documents,): row of the best-ranked other document that it shares a page, digest or bucket with
            (with verification: of its verified pairs); -1 for a survivor. The twin outranks the document, unless the
            document is tied to its survivor only through lower-ranked ones.
        rule: uint8 (documents,): KEPT, SAME_URL, EXACT_DUPLICATE or NEAR_DUPLICATE of `storage.ledger.Rule`.
        value: float64 (documents,): verified Jaccard similarity to the twin; NaN where nothing was verified.
        ids: uint8 (documents, 16).
    """

    survivor: np.ndarray
    twin: np.ndarray
    rule: np.ndarray
    value: np.ndarray
    ids: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """bool (documents,)."""
        return self.rule == Rule.KEPT


class RankedFates:
    """Fates under way.

    Attributes:
        order: rows from best to worst; `rank`, its inverse, is the rank of each row.
        parents: by rank, who stands for the document; its own rank where it stands for itself.
        mates: by rank, the best-ranked other document it was found with; `documents` where there is none.
        rule: by rank, `Rule`.
    """

    def __init__(self, order: np.ndarray) -> None:
        dtype = row_type(len(order))
        self.order = order.astype(dtype)
        self.rank = np.empty_like(self.order)
        self.rank[order] = np.arange(len(order), dtype=dtype)
        self.parents = np.arange(len(order), dtype=dtype)
        self.mates = np.full(len(order), len(order), dtype)
        self.rule = np.full(len(order), Rule.KEPT, np.uint8)

    @property
    def alive_rows(self) -> np.ndarray:
        """bool (documents,), by row: not dropped so far."""
        return (self.rule == Rule.KEPT)[self.rank]

    def drop_copies(self, offsets: np.ndarray, rows: np.ndarray, rule: Rule) -> None:
        """Keep the best-ranked document of each bucket."""
        if not len(rows):
            return
        ranks = self.rank[rows]
        best = np.repeat(np.minimum.reduceat(ranks, offsets[:-1]), np.diff(offsets))
        copies, best = ranks[ranks != best], best[ranks != best]
        self.parents[copies] = self.mates[copies] = best
        self.rule[copies] = rule

    def join_buckets(self, offsets: np.ndarray, rows: np.ndarray, *, clusters: bool) -> None:
        """The documents of each bucket are near-duplicates; without `clusters` nobody is tied to a third."""
        join_buckets(self.parents, self.mates, self.rank, offsets, rows, clusters)

    def join_pairs(self, pairs: np.ndarray, *, clusters: bool) -> None:
        """The documents of each pair of ranks, int64 (pairs, 2), are near-duplicates."""
        join_pairs(self.parents, self.mates, pairs, clusters)

    def drop_neighbours(self, *, clusters: bool) -> None:
        """Drop what is not its cluster's best, or without clusters what has a better-ranked mate; find survivors."""
        alive = self.rule == Rule.KEPT
        itself = np.arange(len(self.parents), dtype=self.parents.dtype)
        if not clusters:
            outranked = alive & (self.mates < itself)
            self.parents[outranked] = self.mates[outranked]
        to_roots(self.parents)
        self.rule[alive & (self.parents != itself)] = Rule.NEAR_DUPLICATE

    def similarity_to_twin(self, pairs: np.ndarray, similarities: np.ndarray) -> np.ndarray:
        """Of dropped near-duplicates the similarity of the pair with their twin, by rank; else NaN."""
        value = np.full(len(self.rule), np.nan)
        for document, mate in (pairs.T, pairs.T[::-1]):
            is_twin = (self.mates[document] == mate) & (self.rule[document] == Rule.NEAR_DUPLICATE)
            value[document[is_twin]] = similarities[is_twin]
        return value

    def decisions(self, ids: np.ndarray, value: np.ndarray | None = None) -> Decisions:
        """By row, once everything is decided; `value` is by rank."""
        rule = self.rule[self.rank]
        dropped = rule != Rule.KEPT
        twin = np.full(len(rule), -1, np.int64)
        twin[dropped] = self.order[self.mates[self.rank[dropped]]]
        survivor = self.order[self.parents[self.rank]].astype(np.int64)
        return Decisions(survivor, twin, rule, np.full(len(rule), np.nan) if value is None else value[self.rank], ids)

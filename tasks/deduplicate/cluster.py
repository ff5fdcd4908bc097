"""Who is a copy of whom: from exact digests and band hashes to one survivor a cluster.

Input are arrays over all documents, in reading order, and their rank (0 is what the survivor policy likes best).
Exact copies are decided first. Among what they leave, one band at a time is sorted by (band hash, rank); members of
a bucket are joined to its best-ranked member in an integer union-find. A cluster's survivor is its
best-ranked member, so the result is a function of the documents and not of their order or of the number of workers.

Memory: 8 bytes x documents x (bands + about 6).

    decisions = decide(exact, bands, rank)
    decisions.survivor[i] == i      # document i is kept
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Decisions:
    """Row numbers into the documents, int64 (documents,) each.

    Attributes:
        survivor: what is kept of the document's cluster; itself for a survivor.
        twin: the best-ranked other document it shares a bucket (or its whole text) with; -1 without one. It outranks
            the document, unless the document is tied to its survivor only through lower-ranked ones.
        exact: the document is an exact copy of its twin.
    """

    survivor: np.ndarray
    twin: np.ndarray
    exact: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        return self.survivor == np.arange(len(self.survivor))


def survivor_rank(crawls: list[str], lengths: np.ndarray, ids: list[bytes]) -> np.ndarray:
    """Rank under the policy `newest`: crawl name descending ("unknown" is oldest), then longest, then smallest id.

    Args:
        crawls: e.g. CC-MAIN-2024-10, whose names sort by time.
        lengths: characters of each document.

    Returns:
        int64 (documents,): a permutation, 0 the best.
    """
    named = ["" if crawl == "unknown" else crawl for crawl in crawls]
    order = sorted(range(len(ids)), key=lambda row: ids[row])
    order.sort(key=lambda row: -int(lengths[row]))
    order.sort(key=lambda row: named[row], reverse=True)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


def decide(exact: np.ndarray, bands: np.ndarray, rank: np.ndarray) -> Decisions:
    """Decide every document's fate.

    Args:
        exact: any sortable (documents,): equal for exact copies.
        bands: uint64 (documents, bands).
        rank: int64 (documents,), all different.
    """
    num_documents = len(rank)
    twin = np.full(num_documents, -1, dtype=np.int64)
    exact_best = _best_of_group(exact, rank)
    is_copy = exact_best != np.arange(num_documents)
    twin[is_copy] = exact_best[is_copy]

    rows = np.flatnonzero(~is_copy)
    parent = np.arange(num_documents)
    for band in range(bands.shape[1]):
        best, second = _best_two_of_group(bands[rows, band], rank[rows])
        mate = rows[np.where(best == np.arange(len(rows)), second, best)]
        shares = mate != rows
        closer = shares & ((twin[rows] == -1) | (rank[mate] < rank[twin[rows]]))
        twin[rows[closer]] = mate[closer]
        for row, other in zip(rows[shares].tolist(), mate[shares].tolist(), strict=True):
            _join(parent, row, other)
    roots = np.array([_root(parent, row) for row in range(num_documents)], dtype=np.int64)
    survivor = _best_of_group(roots, rank)
    survivor[is_copy] = survivor[exact_best[is_copy]]
    twin[survivor == np.arange(num_documents)] = -1
    return Decisions(survivor=survivor, twin=twin, exact=is_copy)


def _best_of_group(keys: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """For each element the index of the best-ranked element with the same key."""
    return _best_two_of_group(keys, rank)[0]


def _best_two_of_group(keys: np.ndarray, rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each element the indices of the best and second best with the same key (the best twice if alone)."""
    order = np.lexsort((rank, keys))
    sorted_keys = keys[order]
    starts = np.ones(len(keys), dtype=bool)
    starts[1:] = sorted_keys[1:] != sorted_keys[:-1]
    first = np.flatnonzero(starts)
    group = np.cumsum(starts) - 1
    sizes = np.diff(np.append(first, len(keys)))
    best, second = np.empty(len(keys), dtype=np.int64), np.empty(len(keys), dtype=np.int64)
    best[order] = order[first[group]]
    second[order] = order[(first + (sizes > 1))[group]]
    return best, second


def _root(parent: np.ndarray, row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = int(parent[row])
    return row


def _join(parent: np.ndarray, left: int, right: int) -> None:
    left, right = _root(parent, left), _root(parent, right)
    if left != right:
        parent[max(left, right)] = min(left, right)

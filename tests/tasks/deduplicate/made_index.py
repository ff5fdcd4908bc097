"""Indexes made of chosen numbers in place of signed texts, and what they decide worked out by hand.

`decide_plainly` follows the definitions with dictionaries and a walk over the graph, a document at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from storage.ledger import Rule
from storage.uri import join
from tasks.deduplicate import index
from tasks.deduplicate.buckets import read_buckets
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.index import ROWS, IndexShard, SignShard
from tasks.deduplicate.lsh import find_buckets
from tasks.shards import ExecutorConfig

Pairs = set[tuple[int, int]]


@dataclass(frozen=True)
class Document:
    """A document as the index knows it; `bands` are its band hashes."""

    id: bytes
    bands: tuple[int, ...]
    exact: bytes
    crawl: str | None = "CC-MAIN-2024-10"
    url: int = 0
    page: int = 0
    fetched_at: int | None = None
    num_characters: int = 1
    quality: float | None = None
    host: int = field(default=7)


@dataclass(frozen=True)
class Fate:
    """Ids stand for documents, whose rows depend on their shards."""

    rule: Rule
    survivor: bytes
    twin: bytes | None
    value: float | None = None


def write_index(out: str, documents: Sequence[Sequence[Document]], config: DeduplicateConfig) -> list[IndexShard]:
    """Write shards `a`, `b`, ... of an index below `out`."""
    shards, first = [], 0
    for number, of_shard in enumerate(documents):
        signing = SignShard(chr(ord("a") + number), "", out, config)
        rows = [{name: getattr(document, name) for name in ROWS.names} for document in of_shard]
        index.write_rows(signing, [pa.RecordBatch.from_pylist(rows, ROWS)])
        hashes = np.array([document.bands for document in of_shard], np.uint64).reshape(-1, config.bands)
        index.write_bands(signing, np.ascontiguousarray(hashes.T))
        shards.append(IndexShard(signing.key, out, first, len(of_shard)))
        first += len(of_shard)
    return shards


def pairs_in(out: Path, shards: list[IndexShard], keys: list[int], alive: str | None = None) -> Pairs:
    """Rows that share a bucket, through files."""
    found: Pairs = set()
    for path in find_buckets(shards, "near", keys, alive, out=str(out), executor=ExecutorConfig(workers=1)):
        for offsets, rows in read_buckets(join(str(out), path)):
            found |= pairs_of(offsets, rows)
    return found


def pairs_of(offsets: np.ndarray, rows: np.ndarray) -> Pairs:
    return {pair for first, last in pairwise(offsets) for pair in combinations(sorted(rows[first:last].tolist()), 2)}


def by_rank(documents: Iterable[Document], policy: str) -> list[Document]:
    """Best first."""

    def none_last(value: Any, *, larger_wins: bool) -> tuple[bool, Any]:
        return value is None, 0 if value is None else -value if larger_wins else value

    documents = list(documents)
    names = sorted({document.crawl for document in documents if document.crawl not in (None, "unknown")}, key=str)

    def key(document: Document) -> tuple[Any, ...]:
        age = names.index(document.crawl) if document.crawl in names else None
        crawl = none_last(age, larger_wins=policy != "oldest")
        own = {
            "newest": (crawl, none_last(document.fetched_at, larger_wins=True)),
            "oldest": (crawl, none_last(document.fetched_at, larger_wins=False)),
            "longest": (-document.num_characters, crawl),
            "best_quality": (none_last(document.quality, larger_wins=True), crawl),
        }[policy]
        return *own, document.url, document.id

    return sorted(documents, key=key)


def decide_plainly(
    documents: Iterable[Document],
    config: DeduplicateConfig,
    similarity: Callable[[Document, Document], float] | None = None,
) -> dict[bytes, Fate]:
    """Everyone's fate by id; with verification `similarity` is the Jaccard similarity of two texts."""
    ranked = by_rank(documents, config.survivor)
    rank = {document.id: number for number, document in enumerate(ranked)}
    stands_for: dict[bytes, tuple[Rule, bytes]] = {}  # copies: the best of their group
    alive = ranked
    levels: list[tuple[Rule, Callable[[Document], Any]]] = [(Rule.EXACT_DUPLICATE, lambda document: document.exact)]
    if config.urls:
        levels.insert(0, (Rule.SAME_URL, lambda document: document.page or document.id))
    for rule, key in levels:
        best: dict[Any, bytes] = {}
        for document in alive:
            first = best.setdefault(key(document), document.id)
            if first != document.id:
                stands_for[document.id] = rule, first
        alive = [document for document in alive if document.id not in stands_for]
    mates = _mates(alive, config, similarity)
    fates = _near_fates(alive, mates, rank, clusters=config.grouping == "cluster")
    for document in ranked:  # whoever stands for a copy is better-ranked and has its fate by now
        if document.id in stands_for:
            rule, twin = stands_for[document.id]
            fates[document.id] = Fate(rule, fates[twin].survivor, twin)
    return fates


def _mates(
    alive: Sequence[Document], config: DeduplicateConfig, similarity: Callable[[Document, Document], float] | None
) -> dict[bytes, dict[bytes, float | None]]:
    """Whom each document shares a bucket with, or with verification a bucket and enough of its text."""
    buckets: dict[tuple[int, int], list[Document]] = defaultdict(list)
    for document in alive:
        for band, value in enumerate(document.bands):
            buckets[band, value].append(document)
    mates: dict[bytes, dict[bytes, float | None]] = {document.id: {} for document in alive}
    for members in buckets.values():
        for left, right in combinations(members, 2):
            value = similarity(left, right) if similarity else None
            if value is None or value >= config.verify.min_jaccard:
                mates[left.id][right.id] = mates[right.id][left.id] = value
    return mates


def _near_fates(
    alive: Sequence[Document], mates: dict[bytes, dict[bytes, float | None]], rank: dict[bytes, int], *, clusters: bool
) -> dict[bytes, Fate]:
    fates: dict[bytes, Fate] = {}
    for document in alive:  # best first
        if document.id in fates:
            continue
        twin = min(mates[document.id], key=rank.__getitem__, default=None)
        if not clusters and twin is not None and rank[twin] < rank[document.id]:
            fates[document.id] = _near(document.id, fates[twin].survivor, mates, rank)
            continue
        fates[document.id] = Fate(Rule.KEPT, document.id, None)
        waiting = list(mates[document.id]) if clusters else []
        while waiting:
            member = waiting.pop()
            if member not in fates:
                fates[member] = _near(member, document.id, mates, rank)
                waiting += mates[member]
    return fates


def _near(id: bytes, survivor: bytes, mates: dict[bytes, dict[bytes, float | None]], rank: dict[bytes, int]) -> Fate:
    twin = min(mates[id], key=rank.__getitem__)
    return Fate(Rule.NEAR_DUPLICATE, survivor, twin, mates[id][twin])

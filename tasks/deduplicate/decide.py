"""Who is a copy of whom, and what is kept: from the index of all shards to every document's fate.

In: the index (`tasks.deduplicate.index`). Out: `Decisions`, arrays over all documents. There are three levels; what
is dropped at one takes no part in the next:

1. URL, where `config.urls` asks for it: of the documents of a page the best-ranked goes on.
2. Exact: of the documents with one digest the best-ranked goes on.
3. Near: documents that agree in a band of their signatures share a bucket. Buckets tie documents together, and a
   cluster's best-ranked document is its survivor (`grouping: cluster`); or a document is dropped if a better-ranked one
   shares a bucket with it (`any_bucket`). With `config.verify` not the bucket ties two documents but the Jaccard
   similarity of their texts, asked of pairs that share a bucket (`tasks.deduplicate.candidates`).

Workers gather small shards of the index and find buckets; the process that decides ranks documents and joins what the
workers found, file by file. Work files below `out`, of no use afterwards: `_work/gathered/` (an index of larger shards,
where the given ones are small), `_work/<level>-<number>.arrow` (buckets), `_work/alive-<level>` (a bit for each
document). A killed run goes on with what has a record; all else is computed again from that.

Memory of the process that decides: 88 bytes x documents, most of it while they are ranked (below two billion
documents), and one band's buckets; with verification about 120 bytes x candidate pairs more. Of a worker: see `gather`
and `lsh`.

    decisions = decide(shards, DeduplicateConfig(), out=out, executor=ExecutorConfig(), documents={})
    decisions.survivor[i] == i      # document i is kept
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from storage.ledger import Rule
from storage.uri import join
from tasks.deduplicate.buckets import read_buckets, write_alive
from tasks.deduplicate.candidates import candidate_pairs
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.gather import gather_index
from tasks.deduplicate.index import IndexShard
from tasks.deduplicate.lsh import DIGESTS, PAGES, find_buckets
from tasks.deduplicate.policy import survivor_order
from tasks.deduplicate.ranked import Decisions, RankedFates
from tasks.deduplicate.verify import verify_pairs
from tasks.shards import ExecutorConfig, Progress

NEAR_STEPS, VERIFY_STEPS = 8, 8  # that progress is told of; gathering and the levels before are one each


@dataclass
class _Stage:
    """What every level needs; `done` of `steps` are over."""

    shards: Sequence[IndexShard]
    config: DeduplicateConfig
    out: str
    executor: ExecutorConfig
    progress: Progress | None
    steps: int
    done: int = 0

    def next_steps(self, number: int) -> Progress | None:
        """The progress callback of a mapping that counts as so many steps, however many shards it has."""
        progress, first, steps = self.progress, self.done, self.steps
        self.done += number
        if progress is None:
            return None
        return lambda done, of, counts: progress(first + number * done / max(1, of), steps, counts)


def decide(
    shards: Sequence[IndexShard],
    config: DeduplicateConfig,
    *,
    out: str,
    executor: ExecutorConfig,
    documents: Mapping[str, str],
    progress: Progress | None = None,
) -> Decisions:
    """Decide every document's fate.

    Args:
        shards: sorted by key; together all documents, numbered from 0 on without a gap.
        documents: URI of the documents of each shard by its key; read by verification only.

    Raises:
        FileNotFoundError, ValueError: an index is missing, damaged or was made with other settings.
        ValueError: two documents have the same id.
    """
    copies = [("url", PAGES, Rule.SAME_URL)] if config.urls else []
    copies.append(("exact", DIGESTS, Rule.EXACT_DUPLICATE))
    steps = 1 + len(copies) + NEAR_STEPS + VERIFY_STEPS * config.verify.enabled
    stage = _Stage(shards, config, out, executor, progress, steps)
    stage.shards = gather_index(shards, config, out=out, executor=executor, progress=stage.next_steps(1))
    ids, order = survivor_order(stage.shards, config.survivor)
    fates = RankedFates(order)
    del order  # 8 bytes x documents
    for level, key, rule in copies:
        for offsets, rows in _buckets(stage, level, [key], fates, num_steps=1):
            fates.drop_copies(offsets, rows, rule)
    near = _buckets(stage, "near", range(config.bands), fates, num_steps=NEAR_STEPS)
    clusters = config.grouping == "cluster"
    if not config.verify.enabled:
        for offsets, rows in near:
            fates.join_buckets(offsets, rows, clusters=clusters)
        fates.drop_neighbours(clusters=clusters)
        return fates.decisions(ids)
    pairs = candidate_pairs(near, fates.rank, config.verify.max_candidates)
    similarities = verify_pairs(
        fates.order[pairs].astype(np.int64),
        shards,
        documents,
        config,
        out=out,
        executor=executor,
        progress=stage.next_steps(VERIFY_STEPS),
    )
    similar = similarities >= config.verify.min_jaccard
    pairs, similarities = pairs[similar], similarities[similar]
    fates.join_pairs(pairs, clusters=clusters)
    fates.drop_neighbours(clusters=clusters)
    return fates.decisions(ids, fates.similarity_to_twin(pairs, similarities))


def _buckets(
    stage: _Stage, level: str, keys: Sequence[int], fates: RankedFates, *, num_steps: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(offsets, rows) of the buckets of one level, among the documents that are still alive."""
    alive = None
    if (fates.rule != Rule.KEPT).any():
        alive = f"_work/alive-{level}"
        write_alive(stage.out, alive, fates.alive_rows)
    progress = stage.next_steps(num_steps)
    paths = find_buckets(stage.shards, level, keys, alive, out=stage.out, executor=stage.executor, progress=progress)
    return chain.from_iterable(read_buckets(join(stage.out, path)) for path in paths)

"""The index of many small shards gathered into one of few large shards, which takes far fewer reads.

In: the index as it was signed, a shard for each file of documents. Out: shards of about GATHERED documents below
`_work/gathered/` in the same format; neighbours are put together, so rows over all documents stay what they are.

Deciding reads every band of every shard, and in a large corpus every range of it, for itself: a quarter of a
millisecond each (three reads and what is around them), which for the 400 Japanese documents of one WARC file is 25
microseconds a document. Read whole and written again, a document costs about 2 microseconds and 570 bytes of disk.

Memory: a worker takes 8 bytes x bands x GATHERED (170 MB at 40 bands) and about 300 bytes x documents of rows.

    shards = gather_index(shards, config, out=out, executor=executor)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from storage.uri import join
from tasks.deduplicate.buckets import byte_ranges
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.index import (
    ROWS,
    IndexShard,
    SignShard,
    check_index,
    read_bands,
    read_rows,
    write_bands,
    write_rows,
)
from tasks.meter import advance
from tasks.shards import ExecutorConfig, Progress, Shard, ShardFailedError, ShardRecord, map_shards

SMALL_SLICE = 1 << 12  # documents of a shard in one range, below which reading them apart costs more than gathering
GATHERED = 1 << 19
_FOLDER = "_work/gathered"


@dataclass(frozen=True)
class GatherWork:
    """Neighbouring shards that become the shard `key`."""

    key: str
    shards: tuple[IndexShard, ...]
    out: str
    config: DeduplicateConfig

    @property
    def gathered(self) -> IndexShard:
        """Where they are to be found together."""
        documents = sum(shard.documents for shard in self.shards)
        return IndexShard(self.key, join(self.out, _FOLDER), self.shards[0].first, documents)


def gather_index(
    shards: Sequence[IndexShard],
    config: DeduplicateConfig,
    *,
    out: str,
    executor: ExecutorConfig,
    progress: Progress | None = None,
) -> list[IndexShard]:
    """Check every shard's index, and gather those that are too small to be read one by one.

    Returns:
        Shards that hold the same rows; the shards given where they are large enough.

    Raises:
        FileNotFoundError, ValueError: an index is missing, damaged or was signed in another way.
    """
    groups = _groups(shards)
    work = [GatherWork(f"{number:05}", group, out, config) for number, group in enumerate(groups) if len(group) > 1]
    for group in groups:
        if len(group) == 1:
            check_index(group[0], config)
    mapped = [Shard(f"gather-{one.key}", one) for one in work]
    try:
        map_shards(gather_shards, mapped, out=out, executor=executor, progress=progress)
    except ShardFailedError as error:
        if isinstance(error.__cause__, FileNotFoundError | ValueError):  # not the worker's failure, but the index's
            raise error.__cause__ from None
        raise
    gathered = {one.shards[0]: one.gathered for one in work}
    return [gathered.get(group[0], group[0]) for group in groups]


def gather_shards(work: GatherWork) -> ShardRecord:
    """Write the index of some shards as that of one."""
    target = work.gathered
    hashes = np.empty((work.config.bands, target.documents), np.uint64)
    tables = []
    for number, shard in enumerate(work.shards, 1):
        check_index(shard, work.config)
        here = slice(shard.first - target.first, shard.first - target.first + shard.documents)
        read_bands(shard, hashes[:, here])
        tables.append(read_rows(shard, ROWS.names))
        advance(number / len(work.shards))
    signing = SignShard(target.key, "", target.artifact, work.config)
    files = [write_bands(signing, hashes), write_rows(signing, pa.concat_tables(tables).to_batches())]
    return ShardRecord(f"gather-{work.key}", [replace(file, path=f"{_FOLDER}/{file.path}") for file in files])


def _groups(shards: Sequence[IndexShard]) -> list[tuple[IndexShard, ...]]:
    """Neighbours that are to be one shard; the cut depends on the shards' sizes only."""
    num_documents = sum(shard.documents for shard in shards)
    if num_documents >= SMALL_SLICE * len(byte_ranges(num_documents)) * len(shards):
        return [(shard,) for shard in shards]
    groups: list[list[IndexShard]] = []
    size = GATHERED
    for shard in shards:
        if size + shard.documents > GATHERED:
            groups.append([])
            size = 0
        groups[-1].append(shard)
        size += shard.documents
    return [tuple(group) for group in groups if group]

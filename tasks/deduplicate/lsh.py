"""Locality-sensitive hashing on disk: which documents agree in a whole band of their MinHash signatures.

In: the index of all shards. Out: `_work/<level>-<number>.arrow`, buckets of rows (`tasks.deduplicate.buckets`). Each
piece of work is some bands and one range of top bytes: a worker reads that range of one band from every shard, drops
the documents that are no longer alive, and writes the buckets of two or more. The same is done for the keys of the
two levels before, pages (URLs) and exact digests. How the work is cut depends on the number of documents only.

Source: Indyk and Motwani 1998; Leskovec et al., Mining of Massive Datasets, section 3.4, for bands of rows.

Memory: a worker takes 56 bytes x the documents of one range (MAX_ROWS: 235 MB) and a bit x all documents. All workers
together read 12 bytes x documents x bands; pages and digests, which the index does not sort, once for each range.

    for path in find_buckets(shards, "near", range(40), "_work/alive-near", out=out, executor=executor): ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.deduplicate.buckets import among, byte_ranges, equal_keys, read_alive, save_buckets
from tasks.deduplicate.index import IndexShard, read_band, read_rows
from tasks.deduplicate.policy import fixed_bytes
from tasks.meter import advance
from tasks.shards import ExecutorConfig, Progress, Shard, ShardRecord, map_shards

KEYS_PER_PIECE = 1 << 21  # below, a piece of work is not worth its overhead of 10 ms
MAX_PIECES = 64  # enough for as many workers; beyond, only the ranges of top bytes ask for more
PAGES, DIGESTS = -1, -2  # beside the numbers of bands


@dataclass(frozen=True)
class BucketWork:
    """Some keys (numbers of bands, PAGES or DIGESTS) of all documents, in one range of their top bytes."""

    name: str
    shards: tuple[IndexShard, ...]
    keys: tuple[int, ...]
    first_byte: int
    last_byte: int
    out: str
    alive: str | None

    @property
    def path(self) -> str:
        """Of its buckets, below `out`."""
        return f"_work/{self.name}.arrow"


def find_buckets(
    shards: Sequence[IndexShard],
    level: str,
    keys: Sequence[int],
    alive: str | None,
    *,
    out: str,
    executor: ExecutorConfig,
    progress: Progress | None = None,
) -> list[str]:
    """Find the buckets of some keys.

    Args:
        level: names the files and the records of the work.
        alive: path below `out` of the documents' bits; None where all are alive.

    Returns:
        Paths of the files of buckets, below `out`.
    """
    work = [
        BucketWork(f"{level}-{number:05}", tuple(shards), chosen, *top_bytes, out, alive)
        for number, (chosen, top_bytes) in enumerate(pieces(num_rows(shards), keys))
    ]
    mapped = [Shard(piece.name, piece) for piece in work]
    records = map_shards(write_buckets, mapped, out=out, executor=executor, progress=progress)
    return [file.path for record in records for file in record.files]


def pieces(num_documents: int, keys: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, int]]]:
    """How the work is cut: (keys, range of top bytes) of each piece."""
    ranges = byte_ranges(num_documents)
    wanted = min(-(-num_documents * len(keys) // KEYS_PER_PIECE), MAX_PIECES)
    num_parts = min(len(keys), max(1, -(-wanted // len(ranges))))
    parts = [tuple(int(key) for key in part) for part in np.array_split(np.array(keys), num_parts)]
    return [(part, top_bytes) for top_bytes in ranges for part in parts]


def num_rows(shards: Sequence[IndexShard]) -> int:
    return shards[-1].first + shards[-1].documents


def write_buckets(work: BucketWork) -> ShardRecord:
    """One piece of work."""
    alive = read_alive(work.out, work.alive)

    def buckets() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number, key in enumerate(work.keys, 1):
            yield equal_keys(*_read_keys(work, key, alive))
            advance(number / len(work.keys))

    return ShardRecord(work.name, [save_buckets(work.out, work.path, buckets(), num_rows(work.shards))])


def _read_keys(work: BucketWork, key: int, alive: np.ndarray | None) -> tuple[list[np.ndarray], np.ndarray]:
    """Of all living documents with the key in range: its uint64 halves or its one uint64, and the rows, int64."""
    parts: list[list[np.ndarray]] = []
    rows: list[np.ndarray] = []
    for shard in work.shards:
        columns, rows_there = _read_shard(shard, key, work.first_byte, work.last_byte)
        rows_here = rows_there + np.int64(shard.first)
        chosen = among(alive, rows_here)
        parts.append([column[chosen] for column in columns])
        rows.append(rows_here[chosen])
    return [np.concatenate(column) for column in zip(*parts, strict=True)], np.concatenate(rows)


def _read_shard(shard: IndexShard, key: int, first_byte: int, last_byte: int) -> tuple[list[np.ndarray], np.ndarray]:
    if key >= 0:
        hashes, rows = read_band(shard, key, first_byte, last_byte)
        return [hashes], rows
    if key == PAGES:
        columns = [read_rows(shard, ["page"]).column("page").to_numpy()]
    else:
        halves = fixed_bytes(read_rows(shard, ["exact"]).column("exact")).view(np.uint64)
        columns = [np.ascontiguousarray(halves[:, 0]), np.ascontiguousarray(halves[:, 1])]
    top = columns[0] >> np.uint64(56)
    chosen = (top >= first_byte) & (top < last_byte)
    if key == PAGES:
        chosen &= columns[0] > 0  # no page
    return [column[chosen] for column in columns], np.flatnonzero(chosen)

"""Which lines the pages of a host share: counted over all that is written, whatever the number of workers.

In: shards of documents, which of them are to be written, and the hosts that have pages enough. Each shard leaves its
counts sorted by the hash of (host, line), cut into 256 buckets by its first byte; then a range of buckets at a time is
read from all shards, added up, and the lines that are boilerplate are written to `boilerplate/<range>.parquet`
(`key`, `host`, `documents` with the line, `host_documents`). The ranges depend on the number of pairs only.

Memory: counting a shard takes about 140 bytes x the lines of its survivors, merging 110 bytes x MAX_PAIRS (230 MB).

    records = find_boilerplate(shards, hosts, out=out, executor=executor)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from storage.artifact import FileEntry, new_file
from storage.documents import count_documents, read_documents, write_parquet
from storage.uri import filesystem, join, read_bytes, write_bytes
from tasks.deduplicate.fates import WORK
from tasks.deduplicate.survivors import WriteShard
from tasks.meter import advance
from tasks.refine.boilerplate import COUNT, add_up, choose, count_lines, host_key
from tasks.refine.config import BoilerplateConfig
from tasks.shards import ExecutorConfig, Progress, Shard, ShardRecord, map_shards

MAX_PAIRS = 1 << 21  # (host, line) pairs merged at a time, unless one bucket has more
SCHEMA = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("host", pa.uint64(), nullable=False),
        pa.field("documents", pa.int64(), nullable=False),
        pa.field("host_documents", pa.int64(), nullable=False),
    ]
)
_BUCKETS = 256
_FOLDER = f"{WORK}/lines"
_HEADER = np.dtype("<i8"), _BUCKETS + 1


@dataclass(frozen=True)
class MergeShard:
    """Buckets `first` to `last` of the counts of all shards."""

    keys: tuple[str, ...]
    out: str
    first: int
    last: int
    config: BoilerplateConfig


def find_boilerplate(
    shards: Sequence[WriteShard],
    hosts: np.ndarray,
    *,
    out: str,
    executor: ExecutorConfig,
    progress: Progress | None = None,
) -> list[ShardRecord]:
    """Count and merge.

    Args:
        shards: not empty, with one configuration.
        hosts: uint64 (documents written,): the host key of each, 0 where it has none.

    Returns:
        A record of each range with its file, and counts `boilerplate_found` (lines).
    """
    config = shards[0].refine.boilerplate
    names, num_documents = np.unique(hosts[hosts > 0], return_counts=True)
    enough = num_documents >= config.min_documents
    write_bytes(_hosts_uri(out), np.stack([names[enough], num_documents[enough].astype(np.uint64)]).tobytes())
    counted = map_shards(
        count_shard,
        [Shard(f"lines-{shard.key}", shard) for shard in shards],
        out=out,
        executor=executor,
        progress=progress,
    )
    num_pairs = sum(record.counts["pairs"] for record in counted)
    step = _BUCKETS
    while step > 1 and num_pairs * step > MAX_PAIRS * _BUCKETS:
        step //= 2
    keys = tuple(shard.key for shard in shards)
    ranges = [
        Shard(f"boilerplate-{first:03}", MergeShard(keys, out, first, first + step, config))
        for first in range(0, _BUCKETS, step)
    ]
    return map_shards(merge_shard, ranges, out=out, executor=executor)


def count_shard(shard: WriteShard) -> ShardRecord:
    """Count the lines of the documents of one shard that are written; counts `pairs` of a host and a line."""
    hosts = _read_hosts(shard.out)[0]
    counts = count_lines(_survivors(shard, hosts), shard.refine.boilerplate.min_letters)
    buckets = np.searchsorted(counts["key"] >> np.uint64(56), np.arange(_BUCKETS + 1))
    path = _counts_path(shard.key)
    with new_file(shard.out, path) as file:
        file.write(buckets.astype(_HEADER[0]).tobytes())
        file.write(counts.tobytes())
    return ShardRecord(f"lines-{shard.key}", [FileEntry.of(path, file)], {"pairs": len(counts)})


def _survivors(shard: WriteShard, hosts: np.ndarray) -> Iterator[tuple[str, str]]:
    """(host, text) of the documents to write, of hosts that have pages enough."""
    written = shard.to_write(shard.fates())
    first, total = 0, count_documents(shard.documents)
    for batch in read_documents(shard.documents, ["host", "text"]):
        chosen = batch.filter(pa.array(written[first : first + batch.num_rows]))
        for host, text in zip(chosen.column("host").to_pylist(), chosen.column("text").to_pylist(), strict=True):
            if host and _is_in(hosts, host_key(host)):
                yield host, text
        first += batch.num_rows
        advance(first / total)


def merge_shard(shard: MergeShard) -> ShardRecord:
    """Add up one range of all shards' counts and write the lines that are boilerplate."""
    counts = add_up(np.concatenate([_read_counts(shard.out, key, shard.first, shard.last) for key in shard.keys]))
    hosts, host_documents = _read_hosts(shard.out)
    found = counts[choose(counts, hosts, host_documents, shard.config)]
    of_host = host_documents[np.searchsorted(hosts, found["host"])]
    columns = [found["key"], found["host"], found["documents"], of_host]
    batch = pa.RecordBatch.from_arrays([pa.array(np.ascontiguousarray(column)) for column in columns], schema=SCHEMA)
    entry = write_parquet(shard.out, f"boilerplate/{shard.first:03}.parquet", [batch], SCHEMA)
    return ShardRecord(f"boilerplate-{shard.first:03}", [entry], {"boilerplate_found": len(found)})


def _read_counts(out: str, key: str, first: int, last: int) -> np.ndarray:
    """COUNT (pairs,): the pairs of some buckets of one shard."""
    fs, path = filesystem(join(out, _counts_path(key)))
    dtype, length = _HEADER
    with fs.open(path, "rb") as file:
        buckets = np.frombuffer(file.read(dtype.itemsize * length), dtype)
        file.seek(dtype.itemsize * length + COUNT.itemsize * int(buckets[first]))
        return np.frombuffer(file.read(COUNT.itemsize * int(buckets[last] - buckets[first])), COUNT)


def _read_hosts(out: str) -> tuple[np.ndarray, np.ndarray]:
    """uint64 (hosts,) sorted, and int64 (hosts,): how many documents each has."""
    table = np.frombuffer(read_bytes(_hosts_uri(out)), np.uint64).reshape(2, -1)
    return table[0], table[1].astype(np.int64)


def _is_in(sorted_keys: np.ndarray, key: int) -> bool:
    place = int(np.searchsorted(sorted_keys, np.uint64(key)))
    return place < len(sorted_keys) and int(sorted_keys[place]) == key


def _hosts_uri(out: str) -> str:
    return join(out, _FOLDER, "hosts.bin")


def _counts_path(key: str) -> str:
    return f"{_FOLDER}/{key}.bin"

"""Buckets: the documents that have a key in common, be it a page, the digest of the text or the hash of a band.

A worker looks at the keys of all documents in one range of top bytes (`byte_ranges`), so that equal keys meet in one
worker, and leaves the rows of those that are not alone as an Arrow stream of lists, a bucket each. A document that an
earlier level has dropped has no part in a bucket; a bit for each document, written by the coordinator, tells.

Ranges depend on the number of documents only, and a bucket is a set: results do not depend on workers or ranges.

    with BucketWriter(out, "_work/exact-00.arrow", num_documents) as writer:
        writer.write(*equal_keys([keys], rows))
    for offsets, rows in read_buckets(join(out, "_work/exact-00.arrow")):
        rows[offsets[0] : offsets[1]]   # the rows of the first bucket
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from storage.artifact import FileEntry, new_file
from storage.uri import filesystem, join, read_bytes, write_bytes

MAX_ROWS = 1 << 22  # keys that a worker looks at together, unless a 256th of the documents is more
_TOP_BYTES = 256


def byte_ranges(num_documents: int) -> list[tuple[int, int]]:
    """(first, last) ranges of the top byte, last excluded, each with the keys of about MAX_ROWS documents at most."""
    num_ranges = 1
    while num_ranges < _TOP_BYTES and num_documents > MAX_ROWS * num_ranges:
        num_ranges *= 2
    step = _TOP_BYTES // num_ranges
    return [(first, first + step) for first in range(0, _TOP_BYTES, step)]


def row_type(num_documents: int) -> np.dtype:
    """What row numbers and ranks are stored as: half the memory below two billion documents."""
    return np.dtype(np.int32 if num_documents <= np.iinfo(np.int32).max else np.int64)


def equal_keys(keys: Sequence[np.ndarray], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Buckets of two or more rows that agree in every key.

    Args:
        keys: one or more uint64 (n,).
        rows: (n,).

    Returns:
        int32 offsets (buckets + 1,), and the rows of all buckets: bucket b is rows[offsets[b]:offsets[b + 1]].
    """
    chosen = _maybe_shared(keys[0])
    keys, rows = [key[chosen] for key in keys], rows[chosen]
    order = np.lexsort(tuple(keys))
    differs = np.zeros(max(0, len(rows) - 1), bool)
    for key in keys:
        key = key[order]
        differs |= key[1:] != key[:-1]
    edges = np.concatenate([[True], differs, [True]]) if len(rows) else np.ones(1, bool)
    sizes = np.diff(np.flatnonzero(edges))
    shared = np.repeat(sizes > 1, sizes)
    offsets = np.concatenate([[0], np.cumsum(sizes[sizes > 1])]).astype(np.int32)
    return offsets, rows[order[shared]]


def _maybe_shared(keys: np.ndarray) -> np.ndarray:
    """Indices of all keys that occur twice, and of a few that do not.

    Most documents share nothing. Sorting numbers takes a third of the time of sorting indices by them, so the low bits
    of a key give way to its index: keys that agree in the high bits are then neighbours.
    """
    num_bits = np.uint64(max(1, len(keys) - 1).bit_length())
    packed = keys >> num_bits << num_bits | np.arange(len(keys), dtype=np.uint64)
    packed.sort()
    high = packed >> num_bits
    same = high[1:] == high[:-1]
    shared = np.zeros(len(keys), bool)
    shared[1:] = same
    shared[:-1] |= same
    return (packed[shared] & ((np.uint64(1) << num_bits) - np.uint64(1))).astype(np.int64)


def save_buckets(
    out: str, path: str, buckets: Iterable[tuple[np.ndarray, np.ndarray]], num_documents: int
) -> FileEntry:
    """Write (offsets, rows) as `equal_keys` returns them, each as one batch; rows are of `num_documents` documents."""
    dtype = row_type(num_documents)
    schema = pa.schema([("rows", pa.list_(pa.from_numpy_dtype(dtype)))])
    with new_file(out, path) as file, pa.ipc.new_stream(pa.PythonFile(file, mode="w"), schema) as sink:
        for offsets, rows in buckets:
            lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.astype(dtype, copy=False)))
            sink.write_batch(pa.RecordBatch.from_arrays([lists], schema=schema))
    return FileEntry.of(path, file)


def read_buckets(uri: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(offsets, rows) as `equal_keys` gave them, one batch in memory at a time."""
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            lists = batch.column(0)
            yield lists.offsets.to_numpy(), lists.values.to_numpy()


def write_alive(out: str, path: str, alive: np.ndarray) -> None:
    """Leave bool (documents,) where workers find it, a bit each."""
    write_bytes(join(out, path), np.packbits(alive, bitorder="little").tobytes())


def read_alive(out: str, path: str | None) -> np.ndarray | None:
    """The bits, uint8 (documents / 8,); None where every document is alive."""
    return None if path is None else np.frombuffer(read_bytes(join(out, path)), np.uint8)


def among(alive: np.ndarray | None, rows: np.ndarray) -> np.ndarray | slice:
    """What to index with to have only the rows that are alive."""
    if alive is None:
        return slice(None)
    return (alive[rows >> 3] >> (rows & 7).astype(np.uint8) & 1).astype(bool)

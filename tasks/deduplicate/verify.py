"""Exact Jaccard similarity of candidate pairs: of the sets of character n-grams that MinHash only samples.

In: pairs of documents (rows over all shards) that share a bucket, and the document shards. Out: a similarity for each
pair. Two passes are mapped over shards. The first reads of each shard only the row groups that hold a document of some
pair, and leaves those documents' shingle sets (`tasks.deduplicate.jaccard`). The second takes pairs in the order of
their rows, as many at a time as MAX_SHINGLES allow, reads the sets of their documents and counts what two of them have
in common.

Memory: the process that waits needs about 100 bytes for each pair and 40 for each document in one. A worker of the
first pass needs a row group of texts and 8 bytes x their bytes; of the second 16 bytes x MAX_SHINGLES (128 MiB) and the
sets of one pair. Disk, below `_work/verify`: 8 bytes x distinct shingles of the documents, 32 bytes x pairs.

    similarities = verify_pairs(pairs, shards, documents, config, out=out, executor=executor)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from storage.artifact import FileEntry, new_file
from storage.documents import take_documents
from storage.uri import filesystem, join, read_bytes, write_bytes
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.index import IndexShard
from tasks.deduplicate.jaccard import fill_jaccards, shingle_sets
from tasks.meter import advance
from tasks.shards import ExecutorConfig, Progress, Shard, ShardRecord, map_shards, part_of

MAX_SHINGLES = 1 << 23  # of both documents of all pairs that are compared at a time, unless one pair has more
_FOLDER = "_work/verify"
_BOUNDS = _FOLDER + "/pairs"  # int64 (pairs, 4): where the sets of both documents begin and end
_INT, _HASH, _VALUE = np.dtype("<i8"), np.dtype("<u8"), np.dtype("<f8")


@dataclass(frozen=True)
class ShingleShard:
    """One shard whose documents at the rows listed in `_rows_path(key)` are compared with others."""

    key: str
    documents: str
    out: str
    ngram: int


@dataclass(frozen=True)
class CompareShard:
    """Pairs `first` to `last` of the list of pairs.

    Attributes:
        files: keys of the shards that have documents of these pairs, in order.
        starts: where the shingles of each begin when those of all shards are counted through.
    """

    key: str
    out: str
    first: int
    last: int
    files: tuple[str, ...]
    starts: tuple[int, ...]


def verify_pairs(
    pairs: np.ndarray,
    shards: Sequence[IndexShard],
    documents: Mapping[str, str],
    config: DeduplicateConfig,
    *,
    out: str,
    executor: ExecutorConfig,
    progress: Progress | None = None,
) -> np.ndarray:
    """Compare the documents of every pair.

    Args:
        pairs: int64 (pairs, 2): rows over all shards.
        shards: all shards, by first row.
        documents: the URI of each shard's documents, by key; of shards without a pair none is needed.

    Returns:
        float64 (pairs,): Jaccard similarity of the sets of shingles.

    Raises:
        ValueError: a shard that has documents of pairs is not in `documents`.
    """
    rows = np.unique(pairs)
    if not len(rows):
        return np.empty(0, _VALUE)
    firsts = np.array([shard.first for shard in shards], _INT)
    cuts = np.append(np.searchsorted(rows, firsts), len(rows))
    needed = [(shard, rows[first:last]) for shard, first, last in zip(shards, cuts[:-1], cuts[1:], strict=True)]
    needed = [(shard, of_shard) for shard, of_shard in needed if len(of_shard)]
    missing = [shard.key for shard, _ in needed if shard.key not in documents]
    if missing:
        raise ValueError(
            f"shards {', '.join(missing[:3])} ({len(missing)} in all): their documents are needed to verify pairs and "
            "were not given; deduplicate all documents at once, or set deduplicate.verify.enabled to false"
        )
    steps = 2 * len(needed)  # comparing is told as so many shards again
    starts, base = _make_sets(needed, documents, config.ngram, out, executor, part_of(progress, 0, steps))
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    keys = [shard.key for shard, _ in needed]
    compare = _cut_pairs(np.searchsorted(rows, pairs[order]), starts, base, keys, out)
    compared = map_shards(compare_pairs, compare, out=out, executor=executor, progress=_second_half(progress, steps))
    values = np.empty(len(pairs), _VALUE)
    values[order] = np.concatenate([_read(join(out, record.files[0].path), _VALUE) for record in compared])
    return values


def make_sets(shard: ShingleShard) -> ShardRecord:
    """Write the shingle sets of the listed documents of one shard, and how large each is; counts `compared`."""
    rows = _read(join(shard.out, _rows_path(shard.key)), _INT)
    sizes: list[np.ndarray] = []
    done = 0
    with new_file(shard.out, _hashes_path(shard.key)) as file:
        for documents in take_documents(shard.documents, rows, ["text"]):
            sets = shingle_sets(documents.column("text"), shard.ngram)
            file.write(sets.hashes.astype(_HASH))
            sizes.append(np.diff(sets.starts))
            done += documents.num_rows
            advance(done / len(rows))
    if done != len(rows):
        raise ValueError(
            f"{shard.documents}: {done} of {len(rows)} documents found; it is not the file that was signed"
        )
    hashes = FileEntry.of(_hashes_path(shard.key), file)
    with new_file(shard.out, _sizes_path(shard.key)) as file:
        file.write(np.concatenate(sizes).astype(_INT))
    entries = [hashes, FileEntry.of(_sizes_path(shard.key), file)]
    return ShardRecord(f"shingles-{shard.key}", entries, {"compared": len(rows)})


def compare_pairs(shard: CompareShard) -> ShardRecord:
    """Write the similarity of each of some pairs."""
    num_bytes = 4 * _INT.itemsize
    fs, path = filesystem(join(shard.out, _BOUNDS))
    data = fs.cat_file(path, start=shard.first * num_bytes, end=shard.last * num_bytes)
    bounds = np.frombuffer(data, _INT).reshape(-1, 2)
    sets, place = np.unique(bounds, axis=0, return_inverse=True)
    hashes = _read_sets(shard, sets)
    lengths = sets[:, 1] - sets[:, 0]
    ends = np.cumsum(lengths)
    here = np.stack([ends - lengths, ends], axis=1)[place.reshape(-1)].reshape(-1, 4)
    values = np.empty(len(here), np.float64)
    fill_jaccards(hashes, here, values)
    target = f"{_FOLDER}/{shard.key}.values"
    with new_file(shard.out, target) as file:
        file.write(values.astype(_VALUE))
    return ShardRecord(shard.key, [FileEntry.of(target, file)])


def _make_sets(
    needed: Sequence[tuple[IndexShard, np.ndarray]],
    documents: Mapping[str, str],
    ngram: int,
    out: str,
    executor: ExecutorConfig,
    progress: Progress | None,
) -> tuple[np.ndarray, np.ndarray]:
    """First pass.

    Returns:
        Counting the shingles of all shards through, where each document's begin, int64 (documents + 1,), and where
        each shard's do, int64 (shards + 1,).
    """
    make = []
    for shard, rows in needed:
        write_bytes(join(out, _rows_path(shard.key)), (rows - shard.first).astype(_INT).tobytes())
        argument = ShingleShard(shard.key, documents[shard.key], out, ngram)
        make.append(Shard(f"shingles-{shard.key}", argument))
    map_shards(make_sets, make, out=out, executor=executor, progress=progress)
    sizes = [_read(join(out, _sizes_path(shard.key)), _INT) for shard, _ in needed]
    base = np.concatenate([[0], np.cumsum([of_shard.sum() for of_shard in sizes])])
    return np.concatenate([[0], np.cumsum(np.concatenate(sizes))]), base


def _cut_pairs(
    places: np.ndarray, starts: np.ndarray, base: np.ndarray, keys: Sequence[str], out: str
) -> list[Shard[CompareShard]]:
    """Write the list of pairs and cut it into shards of about MAX_SHINGLES.

    Args:
        places: int64 (pairs, 2): the documents of each pair among those that are compared, in order.
        starts, base: as `_make_sets` returns them.
    """
    bounds = np.empty((len(places), 4), _INT)
    bounds[:, 0::2], bounds[:, 1::2] = starts[places], starts[places + 1]
    with new_file(out, _BOUNDS) as file:
        file.write(bounds)
    group = np.cumsum(bounds[:, 1] - bounds[:, 0] + bounds[:, 3] - bounds[:, 2]) // MAX_SHINGLES
    cuts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(places)]
    shards = []
    for number, (first, last) in enumerate(pairwise(cuts)):
        files = np.unique(np.searchsorted(base, bounds[first:last, 0::2], side="right") - 1).tolist()
        key = f"verify-{number:05}"
        of_pairs = CompareShard(key, out, first, last, tuple(keys[file] for file in files), tuple(base[files].tolist()))
        shards.append(Shard(key, of_pairs))
    return shards


def _read_sets(shard: CompareShard, sets: np.ndarray) -> np.ndarray:
    """The hashes of these sets, one after another: int64 (sets, 2) bounds, ascending, over the shingles of all shards.

    Sets that touch are read at once.
    """
    of_file = np.searchsorted(np.array(shard.starts, _INT), sets[:, 0], side="right") - 1
    begins = np.append(True, (sets[1:, 0] != sets[:-1, 1]) | (of_file[1:] != of_file[:-1]))
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(sets)) - 1
    base = np.array(shard.starts, _INT)[of_file[first]]
    fs, _ = filesystem(shard.out)
    data = fs.cat_ranges(
        [filesystem(join(shard.out, _hashes_path(shard.files[file])))[1] for file in of_file[first]],
        ((sets[first, 0] - base) * _HASH.itemsize).tolist(),
        ((sets[last, 1] - base) * _HASH.itemsize).tolist(),
        on_error="raise",
    )
    return np.frombuffer(b"".join(data), _HASH)


def _second_half(progress: Progress | None, steps: int) -> Progress | None:
    """Tells of the second pass as if it had as many shards as the first."""
    if progress is None:
        return None
    return lambda done, total, counts: progress(steps * (1 + done / max(total, 1)) / 2, steps, counts)


def _read(uri: str, dtype: np.dtype) -> np.ndarray:
    return np.frombuffer(read_bytes(uri), dtype)


def _rows_path(key: str) -> str:
    return f"{_FOLDER}/{key}.rows"


def _hashes_path(key: str) -> str:
    return f"{_FOLDER}/{key}.hashes"


def _sizes_path(key: str) -> str:
    return f"{_FOLDER}/{key}.sizes"

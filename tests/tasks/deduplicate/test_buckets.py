"""Equal keys meet in one bucket, whatever range or sort they go through."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from storage.uri import join
from tasks.deduplicate.buckets import (
    MAX_ROWS,
    among,
    byte_ranges,
    equal_keys,
    read_alive,
    read_buckets,
    row_type,
    save_buckets,
    write_alive,
)


def as_sets(offsets: np.ndarray, rows: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(rows[first:last].tolist()) for first, last in pairwise(offsets)}


def by_dictionary(keys: list[np.ndarray], rows: np.ndarray) -> set[frozenset[int]]:
    found = defaultdict(set)
    for row, *key in zip(rows.tolist(), *(column.tolist() for column in keys), strict=True):
        found[tuple(key)].add(row)
    return {frozenset(members) for members in found.values() if len(members) > 1}


@pytest.mark.parametrize("num_rows", [0, 1, 2, 3, 64, 65, 1000])
@pytest.mark.parametrize("num_keys", [1, 2])
def test_buckets_are_those_of_a_dictionary(num_rows: int, num_keys: int) -> None:
    rng = np.random.default_rng(num_rows)
    # Keys that differ in their lowest or highest bits only are told apart although sorting looks at the high ones.
    values = np.concatenate([np.arange(9, dtype=np.uint64), np.arange(9, dtype=np.uint64) << np.uint64(60)])
    keys = [np.concatenate([values, rng.integers(0, 1 << 64, 99, np.uint64)])[rng.integers(0, 117, num_rows)]]
    if num_keys == 2:
        keys.append(rng.integers(0, 2, num_rows).astype(np.uint64))
    rows = rng.permutation(10_000)[:num_rows]
    offsets, found = equal_keys(keys, rows)
    assert as_sets(offsets, found) == by_dictionary(keys, rows)
    assert offsets[0] == 0
    assert offsets[-1] == len(found)
    assert (np.diff(offsets) > 1).all()


def test_one_key_for_all_is_one_bucket() -> None:
    offsets, rows = equal_keys([np.full(500, 1 << 63, np.uint64)], np.arange(500))
    assert offsets.tolist() == [0, 500]
    assert sorted(rows.tolist()) == list(range(500))


def test_buckets_come_back_from_their_file(tmp_path: Path) -> None:
    batches = [(np.array([0, 2, 5], np.int32), np.array([4, 1, 7, 8, 9])), (np.zeros(1, np.int32), np.empty(0, int))]
    entry = save_buckets(str(tmp_path), "_work/near-00000.arrow", batches, 10)
    assert entry.size == (tmp_path / "_work/near-00000.arrow").stat().st_size
    back = list(read_buckets(join(str(tmp_path), entry.path)))
    for (offsets, rows), (offsets_back, rows_back) in zip(batches, back, strict=True):
        assert offsets_back.tolist() == offsets.tolist()
        assert rows_back.tolist() == rows.tolist()
        assert rows_back.dtype == np.int32


@pytest.mark.parametrize("num_documents", [1, MAX_ROWS, MAX_ROWS + 1, 650_000_000, 10_000_000_000])
def test_ranges_cover_every_byte_once_and_hold_so_many_documents(num_documents: int) -> None:
    ranges = byte_ranges(num_documents)
    assert [byte for first, last in ranges for byte in range(first, last)] == list(range(256))
    assert len(ranges) == 256 or num_documents <= MAX_ROWS * len(ranges)
    assert num_documents > MAX_ROWS or len(ranges) == 1


def test_rows_need_four_bytes_until_there_are_two_billion() -> None:
    assert row_type((1 << 31) - 1) == np.int32
    assert row_type(1 << 31) == np.int64


def test_bits_tell_who_is_alive(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    alive = rng.random(1003) < 0.5
    write_alive(str(tmp_path), "_work/alive-near", alive)
    bits = read_alive(str(tmp_path), "_work/alive-near")
    assert bits is not None
    assert bits.nbytes == 126
    rows = rng.permutation(1003)
    assert np.array_equal(rows[among(bits, rows)], rows[alive[rows]])
    assert np.array_equal(rows[among(None, rows)], rows)

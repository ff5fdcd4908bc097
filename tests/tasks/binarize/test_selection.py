"""What is dropped, which copy stays and on which side: in buckets of any size as in memory at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.binarize import selection as selection_module
from tasks.binarize.selection import Fate, select

THRESHOLD = 100
Document = tuple[int, int, int]  # text, split hash, id


def halves(number: int) -> bytes:
    """16 bytes of a text or an id; numbers that leave the same rest by 3 share the first half."""
    return np.array([number % 3, number], "<u8").tobytes()


def write_tables(folder: Path, sources: Sequence[Sequence[Document]], rows_per_table: int = 3) -> list[list[str]]:
    """The documents of each source in the tables of its parts."""
    written = []
    for number, documents in enumerate(sources):
        tables = []
        for at in range(0, max(len(documents), 1), rows_per_table):
            some = documents[at : at + rows_per_table]
            table = pa.table(
                {
                    "id": pa.array([halves(id) for _, _, id in some], pa.binary(16)),
                    "text_hash": pa.array([halves(text) for text, _, _ in some], pa.binary(16)),
                    "split_hash": pa.array([split for _, split, _ in some], pa.uint64()),
                }
            )
            tables.append(str(folder / f"{number}.{at}.parquet"))
            pq.write_table(table, tables[-1])
        written.append(tables)
    return written


def fates_of(folder: Path, sources: Sequence[Sequence[Document]], bucket_rows: int = 4) -> list[list[int]]:
    with select(write_tables(folder, sources), THRESHOLD, bucket_rows) as selections:
        return [selection.fates.tolist() for selection in selections]


def one_by_one(sources: Sequence[Sequence[Document]]) -> tuple[list[list[int]], list[int]]:
    """The same decisions, as they are described: fates, and kept documents with a known id."""
    held_out: set[int] = set()
    for documents in sources:
        known: set[int] = set()
        for text, split, _ in documents:
            if text not in known and split < THRESHOLD:
                held_out.add(text)
            known.add(text)
    fates, shared = [], []
    for documents in sources:
        known, ids, of_source, num_shared = set(), set(), [], 0
        for text, split, id in documents:
            if text in known:
                of_source.append(int(Fate.DUPLICATE))
            else:
                num_shared += id in ids
                other = Fate.HELD_OUT_ELSEWHERE if text in held_out else Fate.TRAIN
                of_source.append(int(Fate.VALIDATION if split < THRESHOLD else other))
            known.add(text)
            ids.add(id)
        fates.append(of_source)
        shared.append(num_shared)
    return fates, shared


def distinct(*documents: tuple[int, int]) -> list[Document]:
    """Documents of the given texts and split hashes, with ids of their own."""
    return [(text, split, number) for number, (text, split) in enumerate(documents)]


def test_the_first_copy_stays_on_the_side_its_id_puts_it(tmp_path: Path) -> None:
    documents = distinct((1, 500), (2, 50), (1, 50), (2, 500), (3, 99), (4, 100))
    twice = Fate.DUPLICATE
    assert fates_of(tmp_path, [documents]) == [[Fate.TRAIN, Fate.VALIDATION, twice, twice, Fate.VALIDATION, Fate.TRAIN]]


def test_a_text_held_out_by_one_source_is_trained_on_by_none(tmp_path: Path) -> None:
    first = distinct((1, 50), (2, 500), (3, 500))
    second = distinct((1, 500), (2, 500), (3, 50))
    assert fates_of(tmp_path, [first, second]) == [
        [Fate.VALIDATION, Fate.TRAIN, Fate.HELD_OUT_ELSEWHERE],
        [Fate.HELD_OUT_ELSEWHERE, Fate.TRAIN, Fate.VALIDATION],
    ]


def test_texts_that_share_half_a_hash_are_different_texts(tmp_path: Path) -> None:
    fates = fates_of(tmp_path, [distinct((1, 50), (4, 500)), distinct((7, 500), (10, 50))])
    assert fates == [[Fate.VALIDATION, Fate.TRAIN], [Fate.TRAIN, Fate.VALIDATION]]


@pytest.mark.parametrize("bucket_rows", [1, 7, 64, 10_000])
@pytest.mark.parametrize("waiting_rows", [1, 50, 10_000])
def test_buckets_decide_as_one_by_one(
    bucket_rows: int, waiting_rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection_module, "_WAITING_ROWS", waiting_rows)
    random = np.random.default_rng(5)
    sources = [
        list(
            zip(
                random.integers(0, 60, 200).tolist(),
                random.integers(0, 500, 200).tolist(),
                random.integers(0, 150, 200).tolist(),
                strict=True,
            )
        )
        for _ in range(3)
    ]
    fates, shared = one_by_one(sources)
    assert {fate for of_source in fates for fate in of_source} == {1, 2, 3, 4}, "the sample holds every fate"
    assert min(shared) > 0
    with select(write_tables(tmp_path, sources, 64), THRESHOLD, bucket_rows) as selections:
        assert [selection.fates.tolist() for selection in selections] == fates
        assert [selection.shared_id for selection in selections] == shared
        for selection, source in zip(selections, sources, strict=True):
            assert selection.lowest_split_hash == min(split for _, split, _ in source)
            assert sum(map(selection.count, Fate)) == 200
            assert selection.count(Fate.DUPLICATE) == selection.fates.tolist().count(Fate.DUPLICATE)


def test_shared_ids_are_counted_among_what_is_kept(tmp_path: Path) -> None:
    documents = [(1, 500, 5), (2, 500, 5), (3, 500, 6), (1, 500, 5)]  # the last is a duplicate anyway
    with select(write_tables(tmp_path, [documents]), THRESHOLD) as (selection,):
        assert selection.shared_id == 1


def test_sources_without_documents(tmp_path: Path) -> None:
    with select(write_tables(tmp_path, [[], [(1, 50, 0)]]), THRESHOLD) as (empty, full):
        assert (empty.fates.shape, empty.lowest_split_hash) == ((0,), None)
        assert (full.fates.tolist(), full.lowest_split_hash) == ([Fate.VALIDATION], 50)
    with select(write_tables(tmp_path, [[]]), THRESHOLD) as (empty,):
        assert empty.count(Fate.TRAIN) == empty.shared_id == 0

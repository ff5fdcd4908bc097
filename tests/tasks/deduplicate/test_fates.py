"""What was decided on a shard's documents comes to its writer, and from there into the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from storage.ledger import LedgerRow, Rule, read_full, write_full
from tasks.deduplicate.decide import Decisions
from tasks.deduplicate.fates import Fates, read_fates, read_returning, write_fates, write_ledger, write_returning
from tasks.deduplicate.index import IndexShard

IDS = np.arange(5 * 16, dtype=np.uint8).reshape(5, 16)
DECISIONS = Decisions(
    survivor=np.array([3, 1, 3, 3, 3]),
    twin=np.array([2, -1, 4, -1, 3]),
    rule=np.array([Rule.NEAR_DUPLICATE, 0, Rule.EXACT_DUPLICATE, 0, Rule.SAME_URL], np.uint8),
    value=np.array([0.9, np.nan, np.nan, np.nan, np.nan]),
    ids=IDS,
)


def id_of(row: int) -> bytes:
    return IDS[row].tobytes()


def identities(rows: range, step: int) -> Iterator[pa.RecordBatch]:
    """`id` and `url` of some documents, in batches of `step`; every second one has no URL."""
    for first in range(rows.start, rows.stop, step):
        here = range(first, min(first + step, rows.stop))
        ids = pa.array([id_of(row % 5) for row in here], pa.binary(16))
        urls = pa.array([f"https://example.jp/{row}" if row % 2 else None for row in here], pa.string())
        yield pa.RecordBatch.from_arrays([ids, urls], names=["id", "url"])


def test_a_ledger_says_of_every_document_what_was_decided(tmp_path: Path) -> None:
    write_fates(str(tmp_path), [IndexShard("a", "", 0, 3), IndexShard("b", "", 3, 2)], DECISIONS)
    fates = read_fates(str(tmp_path), "a", min_jaccard=0.8)
    write_ledger(str(tmp_path), "a", identities(range(3), 2), fates)
    stage, url = "deduplicate", "https://example.jp/1"
    assert list(read_full(str(tmp_path / "ledger" / "a.parquet"))) == [
        LedgerRow(id_of(0), None, stage, Rule.NEAR_DUPLICATE, 0.9, 0.8, id_of(2), id_of(3)),
        LedgerRow(id_of(1), url, stage, Rule.KEPT),
        LedgerRow(id_of(2), None, stage, Rule.EXACT_DUPLICATE, None, None, id_of(4), id_of(3)),
    ]
    assert read_fates(str(tmp_path), "b", min_jaccard=0.8).kept.tolist() == [True, False]


@pytest.mark.parametrize("step", [1, 7, 2048])
def test_bytes_of_a_ledger_are_those_of_its_rows_however_they_arrive(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.deduplicate.fates.ROWS_PER_GROUP", 1000)
    monkeypatch.setattr("storage.ledger.ROWS_PER_GROUP", 1000)
    number = 2500
    nothing, none = np.full(number, np.nan), pa.nulls(number, pa.binary(16))
    fates = Fates(np.zeros(number, np.uint8), nothing, nothing, none, none)
    write_ledger(str(tmp_path), "a", identities(range(number), step), fates)
    rows = [
        LedgerRow(id_of(row % 5), f"https://example.jp/{row}" if row % 2 else None, "deduplicate", Rule.KEPT)
        for row in range(number)
    ]
    write_full(str(tmp_path), "expected.parquet", rows)
    assert (tmp_path / "ledger" / "a.parquet").read_bytes() == (tmp_path / "expected.parquet").read_bytes()


def test_which_documents_return_reads_back(tmp_path: Path) -> None:
    returning = np.arange(21) % 3 == 0
    write_returning(str(tmp_path), "a", returning)
    assert np.array_equal(read_returning(str(tmp_path), "a", 21), returning)


def test_a_shard_of_other_documents_than_were_decided_on_is_a_broken_invariant(tmp_path: Path) -> None:
    write_fates(str(tmp_path), [IndexShard("a", "", 0, 5)], DECISIONS)
    with pytest.raises(AssertionError, match="5 documents were decided on, 4 are there"):
        write_ledger(str(tmp_path), "a", identities(range(4), 2), read_fates(str(tmp_path), "a", 0.8))

"""Document tables: each row of a token file leads back to who the document is and where it was read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.documents import document_id
from storage.token_catalog import document_ids, document_places


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Ten documents of two files, in row groups of three."""
    path = tmp_path / "train.documents.parquet"
    columns = {
        "id": pa.array([document_id("web", number) for number in range(10)], pa.binary(16)),
        "file": pa.array([number // 6 for number in range(10)], pa.int32()),
        "row": pa.array([2 * (number % 6) for number in range(10)], pa.int64()),
    }
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return str(path)


def test_places_come_in_the_order_asked_for_also_twice(table: str) -> None:
    rows = [7, 0, 9, 2, 7]
    assert document_places(table, rows) == [(document_id("web", row), row // 6, 2 * (row % 6)) for row in rows]
    assert document_ids(table, rows) == [document_id("web", row) for row in rows]
    assert document_places(table, []) == []


def test_a_row_that_is_not_there_is_an_error_not_another_row(table: str) -> None:
    with pytest.raises(IndexError, match="has 10 rows, asked for 10"):
        document_places(table, [3, 10])
    with pytest.raises(IndexError):
        document_ids(table, [-1])


def test_a_table_without_places_says_so(tmp_path: Path) -> None:
    path = str(tmp_path / "old.parquet")
    pq.write_table(pa.table({"id": pa.array([document_id("web", 0)], pa.binary(16))}), path)
    assert document_ids(path, [0]) == [document_id("web", 0)]
    with pytest.raises(ValueError, match="no column file, row"):
        document_places(path, [0])

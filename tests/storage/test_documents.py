"""Breaks when document files differ between runs, lose rows or order, or when bad input goes unnoticed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.artifact import file_entries
from storage.documents import (
    ROWS_PER_GROUP,
    document_id,
    document_schema,
    read_documents,
    read_texts,
    write_documents,
)

SCHEMA = document_schema([pa.field("num_letters", pa.int64(), nullable=False)])


def rows(count: int) -> list[dict[str, object]]:
    return [
        {
            "id": document_id("a.warc.gz", number),
            "url": f"https://example.jp/{number}",
            "offset": number,
            "text": f"雲雀が{number}羽、麦畑の上で鳴く。𠮷野の空。",
            "num_characters": 20,
            "lines_removed": 0,
            "characters_removed": 0,
            "num_letters": 20,
        }
        for number in range(count)
    ]


def test_an_id_depends_on_source_and_key_and_on_nothing_else() -> None:
    assert document_id("a.warc.gz", 354) == document_id("a.warc.gz", "354")
    assert len({document_id("a", 1), document_id("a", 2), document_id("b", 1), document_id("a1", "")}) == 4
    # On disk in every corpus: another hash would orphan ledgers and token catalogues.
    assert document_id("a.warc.gz", 354).hex() == "3235513cf09c08dab5465283f72201d5"


def test_bytes_do_not_depend_on_how_the_rows_arrive(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(rows(ROWS_PER_GROUP + 700), SCHEMA)
    whole = write_documents(str(tmp_path), "whole.parquet", table)
    ragged = write_documents(str(tmp_path), "ragged.parquet", iter(table.to_batches(max_chunksize=333)), SCHEMA)
    assert (whole.size, whole.sha256) == (ragged.size, ragged.sha256)
    assert [whole] == file_entries(str(tmp_path), ["whole.parquet"])
    metadata = pq.ParquetFile(tmp_path / "whole.parquet").metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [ROWS_PER_GROUP, 700]
    assert metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("count", [0, 1, ROWS_PER_GROUP])
def test_every_row_comes_back_in_order(tmp_path: Path, count: int) -> None:
    table = pa.Table.from_pylist(rows(count), SCHEMA)
    write_documents(str(tmp_path), "documents/a.parquet", iter(table.to_batches(max_chunksize=100)), SCHEMA)
    uri = str(tmp_path / "documents" / "a.parquet")
    assert pa.Table.from_batches(read_documents(uri), SCHEMA) == table
    assert list(read_texts(uri)) == [(row["id"], row["text"]) for row in rows(count)]


def test_a_write_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def batches():
        yield from pa.Table.from_pylist(rows(ROWS_PER_GROUP), SCHEMA).to_batches()
        raise OSError("connection lost")

    with pytest.raises(OSError, match="connection lost"):
        write_documents(str(tmp_path), "a.parquet", batches(), SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_column_and_a_broken_file_are_named(tmp_path: Path) -> None:
    write_documents(str(tmp_path), "a.parquet", pa.Table.from_pylist(rows(3), SCHEMA))
    with pytest.raises(ValueError, match=r"a\.parquet: no column perplexity; there are id, url"):
        list(read_documents(str(tmp_path / "a.parquet"), ["id", "perplexity"]))
    (tmp_path / "b.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(ValueError, match=r"b\.parquet: not a readable Parquet file"):
        list(read_documents(str(tmp_path / "b.parquet")))
    with pytest.raises(FileNotFoundError):
        list(read_documents(str(tmp_path / "c.parquet")))

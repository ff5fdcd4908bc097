"""Breaks when document files differ between runs, lose rows or order, or when bad input goes unnoticed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.artifact import file_entries
from storage.documents import (
    ROWS_PER_GROUP,
    document_id,
    document_schema,
    read_documents,
    read_source,
    read_source_with_urls,
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


def test_outside_sources_read_the_same_in_all_three_formats(tmp_path: Path) -> None:
    documents: list[dict[str, Any]] = [
        {"id": "a", "text": "Larks sing."},
        {"id": 7, "text": "空は青い。\n雲は白い。"},
    ]
    lines = "\n\n".join(json.dumps(document, ensure_ascii=False) for document in documents).encode()
    (tmp_path / "plain.jsonl").write_bytes(lines)
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(lines))
    texts = [document["text"] for document in documents]
    pq.write_table(pa.table({"id": ["a", "7"], "text": texts, "more": [1, 2]}), tmp_path / "table.parquet")
    expected = [(document_id("web", "a"), texts[0]), (document_id("web", 7), texts[1])]
    for name in ("plain.jsonl", "packed.jsonl.gz", "table.parquet"):
        assert list(read_source([str(tmp_path / name)], "web")) == expected
    assert len(list(read_source([str(tmp_path / "p*.jsonl*")], "web"))) == 4


def test_documents_without_ids_are_told_apart_by_file_and_line(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.jsonl").write_text('{"text": "a"}\n{"text": "a"}\n')
        (tmp_path / folder / "same.jsonl").write_text('{"text": "a"}\n')
    distinct = [str(tmp_path / "one" / "one.jsonl"), str(tmp_path / "two" / "two.jsonl")]
    assert len({id for id, _ in read_source(distinct, "web")}) == 4
    with pytest.raises(ValueError, match="two files of the same name"):
        list(read_source([str(tmp_path / "*" / "same.jsonl")], "web"))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{broken", "not JSON"),
        ('{"body": "x"}', r'expected \{"text": string.*got fields body'),
        ('{"text": 5}', "expected"),
        ('["text"]', "expected.*got list"),
        ('{"text": "x", "id": 1.5}', "expected.*got an id of type float"),
        ('{"text": "x", "id": true}', "expected.*got an id of type bool"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    (tmp_path / "en.jsonl").write_text(f'{{"text": "good"}}\n{line}\n')
    with pytest.raises(ValueError, match=rf"en\.jsonl, line 2: {complaint}"):
        list(read_source([str(tmp_path / "en.jsonl")], "web"))


def test_files_that_are_no_source_are_named(tmp_path: Path) -> None:
    (tmp_path / "en.txt").write_text("text")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"text": "abc"}\n' * 100)[:-10])
    pq.write_table(pa.table({"content": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"en\.txt: expected a file ending in \.jsonl"):
        list(read_source([str(tmp_path / "en.txt")], "web"))
    with pytest.raises(ValueError, match=r"cut\.jsonl\.gz, after line \d+: broken gzip"):
        list(read_source([str(tmp_path / "cut.jsonl.gz")], "web"))
    with pytest.raises(ValueError, match=r"other\.parquet: no column `text`; there are content"):
        list(read_source([str(tmp_path / "other.parquet")], "web"))
    with pytest.raises(FileNotFoundError, match="nothing found"):
        list(read_source([str(tmp_path / "none" / "*.jsonl")], "web"))


def test_urls_of_an_outside_source_are_read_where_there_are_any(tmp_path: Path) -> None:
    lines = ['{"id": "a", "text": "雲雀", "url": "https://example.jp/a"}', '{"id": "b", "text": "燕"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    pq.write_table(pa.table({"url": ["https://example.jp/c", None], "text": ["鶯", "鷹"]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"text": ["鷲"]}), tmp_path / "c.parquet")
    files = [str(tmp_path / name) for name in ("a.jsonl", "b.parquet", "c.parquet")]
    rows = list(read_source_with_urls(files, "web"))
    urls = ["https://example.jp/a", None, "https://example.jp/c", None, None]
    assert [(url, text) for _, url, text in rows] == list(zip(urls, ["雲雀", "燕", "鶯", "鷹", "鷲"], strict=True))
    assert [(id, text) for id, _, text in rows] == list(read_source(files, "web"))


def test_a_url_that_is_no_string_is_an_error_only_where_urls_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "雲雀", "url": ["https://example.jp/"]}\n')
    assert len(list(read_source([str(tmp_path / "a.jsonl")], "web"))) == 1
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1: expected a url that is a string, got list"):
        list(read_source_with_urls([str(tmp_path / "a.jsonl")], "web"))

"""Benchmarks come in many forms; every text must be found in each, with its id, and a wrong file must be named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.refine.benchmarks import Item, read_items
from tasks.refine.contamination_config import BenchmarkConfig

RECORDS = [
    {"q_id": 7, "question": "空で鳴く鳥は？", "choice": "雲雀"},
    {"q_id": 8, "question": "夜の鳥は？", "choice": ""},
]
QUESTIONS = [Item("7", "空で鳴く鳥は？"), Item("8", "夜の鳥は？")]


def read(path: Path, *fields: str, id: str | None = None) -> list[Item]:
    return list(read_items(BenchmarkConfig(name="鳥", files=(str(path),), fields=fields, id=id)))


def test_json_lines(tmp_path: Path) -> None:
    text = "\n".join(json.dumps(record) for record in RECORDS) + "\n\n"
    (tmp_path / "a.jsonl").write_text(text)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    assert read(tmp_path / "a.jsonl", "question", id="q_id") == QUESTIONS
    assert read(tmp_path / "b.jsonl.gz", "question", id="q_id") == QUESTIONS
    assert [item.id for item in read(tmp_path / "a.jsonl", "question")] == ["a.jsonl:1", "a.jsonl:2"]


def test_several_fields_are_several_items_and_empty_ones_none(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(RECORDS))
    found = read(tmp_path / "a.json", "question", "choice", id="q_id")
    assert found == [Item("7", "空で鳴く鳥は？"), Item("7", "雲雀"), Item("8", "夜の鳥は？")]


def test_nested_json(tmp_path: Path) -> None:
    questions = [{"id": "p0q0", "question": "何が鳴く？"}, {"id": "p0q1", "question": "どこで鳴く？"}]
    squad = {"data": [{"title": "鳥", "paragraphs": [{"context": "空で雲雀が鳴く。", "qas": questions}]}]}
    (tmp_path / "a.json").write_text(json.dumps(squad))
    assert read(tmp_path / "a.json", "data.paragraphs.qas.question", id="id") == [
        Item("p0q0", "何が鳴く？"),
        Item("p0q1", "どこで鳴く？"),
    ]
    assert read(tmp_path / "a.json", "data.paragraphs.context", id="id") == [Item("a.json:1", "空で雲雀が鳴く。")]


def test_lists_of_texts(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"choices": ["雲雀", "燕"], "id": 1}))
    assert read(tmp_path / "a.jsonl", "choices", id="id") == [Item("1", "雲雀"), Item("1", "燕")]


def test_tables_by_number_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('鳥は"何羽"いますか？\t18\n残りは？\t3\n')
    assert read(tmp_path / "a.tsv", "0") == [Item("a.tsv:1", '鳥は"何羽"いますか？'), Item("a.tsv:2", "残りは？")]
    (tmp_path / "a.csv").write_text('id,question\n9,"雲雀, それとも\n燕？"\n')
    assert read(tmp_path / "a.csv", "question", id="id") == [Item("9", "雲雀, それとも\n燕？")]


def test_parquet_and_text(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(RECORDS), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", "question", id="q_id") == QUESTIONS
    (tmp_path / "ja.ref.ja").write_text("雲雀が鳴く。\n\n燕が飛ぶ。\n")
    assert read(tmp_path / "ja.ref.ja") == [Item("ja.ref.ja:1", "雲雀が鳴く。"), Item("ja.ref.ja:2", "燕が飛ぶ。")]


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("a.jsonl", b'{"q": "x"}\n{', ("q",), "a.jsonl: Expecting property name"),
        ("a.jsonl", b'{"q": "x"}', ("question",), "no text in .*a.jsonl; expected the fields question"),
        ("a.jsonl", b'{"q": "x"}', (), "name in `fields`"),
        ("a.xml", b"<q>x</q>", ("q",), "expected a file ending in"),
        ("a.txt", "鳥".encode("cp932"), (), "a.txt: 'utf-8' codec"),
        ("a.txt.gz", b"no gzip", (), "a.txt.gz: Not a gzipped file"),
        ("a.txt", b"\n\n", (), "expected a text a line"),
        ("a.tsv", b"x\n", ("1",), "line 1: expected more than 1 columns, got 1"),
        ("a.csv", b"x,y\n1,2\n", ("q",), "no column q; the first row has x, y"),
        ("a.parquet", b"PAR1", ("q",), "a.parquet: "),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: bytes, fields: tuple[str, ...], message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path / name, *fields)
    assert "benchmark 鳥" in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"b\.jsonl"):
        read(tmp_path / "b.jsonl", "q")


@pytest.mark.parametrize(
    ("file", "fields", "num_items"),
    [
        ("jcommonsenseqa/valid.jsonl", ("question",), 1119),
        ("jsquad/valid.json", ("data.paragraphs.qas.question",), 4442),
        ("jemhopqa/train.json", ("question",), 1059),
        ("niilc/dev.jsonl", ("text",), 800),
        ("mgsm_ja/mgsm_ja.tsv", ("0",), 250),
        ("xwinograd_ja/jp.tsv", ("3",), 959),
        ("wmt21/en-ja.ref.ja", (), 1000),
    ],
)
def test_published_benchmarks_are_read_whole(
    shared_data: Path, file: str, fields: tuple[str, ...], num_items: int
) -> None:
    assert len(read(shared_data / "eval" / file, *fields)) == num_items

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tasks.evaluate.benchmark import Item, Items, MissingDataError
from tasks.evaluate.suite import reading
from tasks.evaluate.suite.reading import (
    Malformed,
    NoItemError,
    Place,
    Record,
    read_items,
    records,
    squad_records,
    text,
    text_lines,
    texts,
    tsv_rows,
    whole_number,
    xml_elements,
)

ROWS = [{"question": "雲雀は鳥ですか？", "answer": "はい"}, {"question": "港はどこ？", "answer": "町の南"}]
WHERE = "It is published by nobody."


def lines(rows: list[Any]) -> bytes:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def read(*uris: Path | str) -> Items:
    def item(place: Place, row: Record) -> Item:
        return Item(str(row.get("id", place.id)), {"question": text(row, "question")}, text(row, "answer"), "")

    return read_items([str(uri) for uri in uris], WHERE, records, item)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", lines(ROWS)),
        ("rows.ndjson", lines(ROWS)),
        ("lines.json", lines(ROWS)),
        ("array.json", json.dumps(ROWS, ensure_ascii=False).encode()),
        ("nested.json", json.dumps({"version": 1, "data": ROWS}, ensure_ascii=False).encode()),
        ("trivia.json", json.dumps({"Data": ROWS}, ensure_ascii=False).encode()),
        ("mark.jsonl", b"\xef\xbb\xbf" + lines(ROWS)),
        ("rows.jsonl.gz", gzip.compress(lines(ROWS), mtime=0)),
        ("rows.jsonl.bz2", bz2.compress(lines(ROWS))),
        ("rows.jsonl.xz", lzma.compress(lines(ROWS))),
        ("rows.jsonl.zst", zstandard.compress(lines(ROWS))),
        ("array.json.gz", gzip.compress(json.dumps(ROWS, ensure_ascii=False).encode(), mtime=0)),
    ],
)
def test_the_same_rows_from_every_form(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)

    items = read(tmp_path / name)

    assert [(item.id, item.parts["question"], item.gold) for item in items.items] == [
        ("1", "雲雀は鳥ですか？", "はい"),
        ("2", "港はどこ？", "町の南"),
    ]
    assert not items.malformed


def test_parquet_rows_with_all_their_columns(tmp_path: Path) -> None:
    nested = [{**row, "more": {"aliases": ["一", "二"]}} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(nested), tmp_path / "rows.parquet")

    assert [row for _, row in records(str(tmp_path / "rows.parquet"), [])] == nested


def test_a_single_object_without_an_array_is_a_json_line(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_bytes(lines(ROWS[:1]))

    assert len(read(tmp_path / "one.json").items) == 1


def test_files_behind_a_uri() -> None:
    with fsspec.open("memory://hibari-reading/rows.jsonl", "wb") as file:
        file.write(lines(ROWS))

    assert len(read("memory://hibari-reading/rows.jsonl").items) == 2


def test_what_is_no_item_is_counted_with_file_line_and_reason(tmp_path: Path) -> None:
    broken = [
        b'{"question": ',
        b"[1]",
        b'{"question": "\xff"}',
        b'{"question": 7, "answer": "x"}',
        b"",
        b'{"answer": " "}',
    ]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(broken) + b"\n" + lines(ROWS))

    items = read(tmp_path / "rows.jsonl")

    assert [item.id for item in items.items] == ["7", "8"]
    assert [message.split(": ")[0] for message in items.malformed] == [f"rows.jsonl:{n}" for n in (1, 2, 3, 4, 6)]
    assert "expected text in `question`, got int 7" in items.malformed[3]
    assert "got nothing" in items.malformed[4]


def test_an_array_s_elements_are_counted_too(tmp_path: Path) -> None:
    (tmp_path / "array.json").write_text(json.dumps([*ROWS, "雲雀", None]))

    items = read(tmp_path / "array.json")

    assert len(items.items) == 2
    assert items.malformed == [
        'array.json:3: expected an object, got str "雲雀"',
        "array.json:4: expected an object, got nothing",
    ]


def test_ids_stay_unique_over_files(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(lines([{**ROWS[0], "id": "x"}, *ROWS]))

    assert [item.id for item in read(tmp_path / "a.jsonl", tmp_path / "b.jsonl").items] == [
        "x", "2", "3", "x#2", "2#2", "3#2"
    ]  # fmt: skip


def test_a_missing_file_says_who_publishes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"rows\.jsonl, there is none\. It is published by nobody"):
        read(tmp_path / "rows.jsonl")


def test_a_file_without_items_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(lines([{"question": "答えは？"}]))

    with pytest.raises(
        ValueError, match=r"no line or row of it is an item, the first at rows\.jsonl:1: expected text in"
    ):
        read(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", b"a,b", r"ending in \.jsonl, \.json or \.parquet"),
        ("rows.json", b'{"data": 7}', "expected an array of records"),
        ("rows.parquet", b"PAR1", "not a readable Parquet file"),
        ("rows.jsonl.gz", gzip.compress(lines(ROWS), mtime=0)[:-9], "ends in the middle"),
        ("rows.json.gz", gzip.compress(lines(ROWS), mtime=0)[:-9], "ends in the middle"),
    ],
)
def test_files_of_another_kind_or_damaged(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def test_lines_and_cells(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_bytes("\ufeff問\t1\r\n\n空\t\n".encode() + b"\xff\t2\n")
    malformed: Malformed = []

    assert [cells for _, cells in tsv_rows(str(tmp_path / "pairs.tsv"), malformed)] == [["問", "1"], ["空", ""]]
    assert [line for _, line in text_lines(str(tmp_path / "pairs.tsv"), [])] == ["問\t1", "", "空\t"]
    assert malformed[0].startswith("pairs.tsv:4: not UTF-8")


def test_xml(tmp_path: Path) -> None:
    path = tmp_path / "questions.xml"
    path.write_text("<all><q>一</q><part><q>二</q></part></all>", encoding="utf-8")
    assert [(place.number, element.text) for place, element in xml_elements(str(path), [], "q")] == [
        (1, "一"),
        (2, "二"),
    ]

    path.write_text("<all><q>", encoding="utf-8")
    with pytest.raises(ValueError, match=r"questions\.xml: expected XML"):
        list(xml_elements(str(path), [], "q"))


QUESTIONS: list[dict[str, Any]] = [
    {"id": "a", "question": "何が鳴く？", "answers": [{"text": "雲雀", "answer_start": 0}], "is_impossible": False},
    {"id": "b", "question": "何が泳ぐ？", "answers": [], "is_impossible": True},
]
ARTICLE = {"title": "鳥", "paragraphs": [{"context": "雲雀が鳴く。", "qas": QUESTIONS}]}


def test_squad_nested_and_flat_give_the_same(tmp_path: Path) -> None:
    (tmp_path / "nested.json").write_text(json.dumps({"version": "v2.0", "data": [ARTICLE]}))
    flat = [
        {
            **{key: question[key] for key in ("id", "question")},
            "title": "鳥",
            "context": "雲雀が鳴く。",
            "answers": {"text": [answer["text"] for answer in question["answers"]], "answer_start": []},
        }
        for question in QUESTIONS
    ]
    (tmp_path / "flat.jsonl").write_bytes(lines(flat))
    fields = ("id", "title", "context", "question", "answers")

    found = [
        [{key: row[key] for key in fields} for _, row in squad_records(str(tmp_path / name), [])]
        for name in ("nested.json", "flat.jsonl")
    ]

    assert found[0] == found[1]
    assert [row["answers"] for row in found[0]] == [["雲雀"], []]


def test_a_broken_paragraph_is_counted(tmp_path: Path) -> None:
    broken = {"title": "魚", "paragraphs": [{"context": "魚", "qas": None}, 7]}
    (tmp_path / "nested.json").write_text(json.dumps({"data": [broken, ARTICLE]}))
    malformed: Malformed = []

    assert [place.number for place, _ in squad_records(str(tmp_path / "nested.json"), malformed)] == [1, 2]
    assert len(malformed) == 2
    assert all(message.startswith("nested.json:1: expected an array of objects in") for message in malformed)


@pytest.mark.parametrize("value", [None, "", " ", 7, ["a"]])
def test_text_is_text(value: object) -> None:
    with pytest.raises(NoItemError, match="expected text in `field`"):
        text({"field": value}, "field")


def test_fields_of_texts_and_indices() -> None:
    assert texts({"field": ["a", ""]}, "field") == ["a", ""]
    assert texts({"field": []}, "field", at_least=0) == []
    assert [whole_number({"field": value}, "field", below=4) for value in (3, "2", "0")] == [3, 2, 0]
    no_texts: list[Any] = ["a", ["a"], [1, 2], None]
    for value in no_texts:
        with pytest.raises(NoItemError, match="expected 2 texts or more"):
            texts({"field": value}, "field", at_least=2)
    no_index: list[Any] = [4, -1, "", "x", None, True, 1.0]
    for value in no_index:
        with pytest.raises(NoItemError, match="from 0 to 3"):
            whole_number({"field": value}, "field", below=4)


def test_rows_of_the_hub_have_places_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "hub_rows", lambda uri: [{"question": "？"}, *ROWS])
    items = read("hf:someone/birds@test")

    assert [item.id for item in items.items] == ["2", "3"]
    assert items.malformed == ["hf:someone/birds@test:1: expected text in `answer`, got nothing"]

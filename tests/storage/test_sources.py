"""Breaks when a source's documents, ids, URLs or rows are not those of its files, or when bad input goes unnoticed."""

from __future__ import annotations

import bz2
import gzip
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.documents import document_id
from storage.source_layout import SourceLayout
from storage.sources import SOURCE_SCHEMA, Tally, read_batches, read_source, read_source_with_urls
from tests.storage.source_files import COMPRESS, dump, lines, page, read, texts, write

PILE = [
    {"text": "Larks as a Markov chain.", "meta": {"pile_set_name": "ArXiv"}},
    {"text": "def lark(): ...", "meta": {"pile_set_name": "Github"}},
    {"text": "Larks II.", "meta": {"pile_set_name": "ArXiv"}},
    {"text": "A question of larks.", "meta": {"pile_set_name": "StackExchange"}},
]


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
        ('{"body": "x"}', r'expected \{"text" or "content": string.*got fields body'),
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
    pq.write_table(pa.table({"body": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"en\.txt: expected a file ending in \.jsonl"):
        list(read_source([str(tmp_path / "en.txt")], "web"))
    with pytest.raises(ValueError, match=r"cut\.jsonl\.gz, after line \d+: broken gzip"):
        list(read_source([str(tmp_path / "cut.jsonl.gz")], "web"))
    with pytest.raises(ValueError, match=r"other\.parquet: no column `text` or `content`; there are body"):
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


@pytest.mark.parametrize("suffix", COMPRESS)
def test_every_compression_reads_the_same_also_in_several_streams(tmp_path: Path, suffix: str) -> None:
    first, second = (
        lines([{"id": 1, "text": "雲雀"}, {"id": 2, "text": "燕" * 300_000}]),
        lines([{"id": 3, "text": "鶯"}]),
    )
    compress = COMPRESS[suffix]
    file = write(tmp_path / f"a.jsonl{suffix}", compress(first) + compress(second))
    assert [row["row"] for row in read(file)] == [0, 1, 2]
    assert [row["id"] for row in read(file)] == [document_id("web", key) for key in (1, 2, 3)]
    assert texts(file) == ["雲雀", "燕" * 300_000, "鶯"]


@pytest.mark.parametrize(("suffix", "kind"), [(".gz", "gzip"), (".zst", "Zstandard"), (".bz2", "bzip2"), (".xz", "xz")])
def test_a_file_that_is_cut_off_or_damaged_is_an_error_whatever_may_be_unreadable(
    tmp_path: Path, suffix: str, kind: str
) -> None:
    whole = COMPRESS[suffix](lines([{"text": f"雲雀{number}"} for number in range(200)]))
    damaged = whole[: len(whole) // 2] + b"\xff" * 8 + whole[len(whole) // 2 + 8 :]
    for broken in (whole[:-1], whole + whole[: len(whole) // 2], damaged, b"not compressed"):
        file = write(tmp_path / f"a.jsonl{suffix}", broken)
        with pytest.raises(ValueError, match=rf"a\.jsonl\{suffix}, after line \d+: broken {kind} \(.*fetch"):
            texts(file, SourceLayout(max_bad_record_ratio=0.9))


def test_the_text_is_text_else_content_else_the_field_that_is_named(tmp_path: Path) -> None:
    records = [{"text": "雲雀", "content": "x"}, {"content": "燕"}, {"text": None, "content": "鶯"}]
    assert texts(write(tmp_path / "a.jsonl", lines(records))) == ["雲雀", "燕", "鶯"]
    nested = [{"doc": {"body": "鷹", "key": "k", "at": {"url": "https://a.jp/"}}, "text": "x"}]
    layout = SourceLayout(text_field="doc.body", id_field="doc.key", url_field="doc.at.url")
    pq.write_table(pa.Table.from_pylist(nested), tmp_path / "b.parquet")
    for file in (write(tmp_path / "b.jsonl", lines(nested)), str(tmp_path / "b.parquet")):
        expected = {"id": document_id("web", "k"), "url": "https://a.jp/", "text": "鷹", "row": 0}
        assert read(file, layout) == [expected]
    with pytest.raises(ValueError, match=r"b\.parquet: no column `doc\.title`; there are doc \(.*body.*\), text"):
        read(str(tmp_path / "b.parquet"), SourceLayout(text_field="doc.title"))
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1: expected an id at `doc\.key`"):
        read(str(tmp_path / "a.jsonl"), SourceLayout(id_field="doc.key"))


@pytest.mark.parametrize("suffix", [".jsonl.zst", ".parquet"])
def test_a_part_of_the_pile_is_chosen_and_the_rest_counted(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"00{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(PILE), file)
    else:
        file.write_bytes(COMPRESS[".zst"](lines(PILE)))
    tally = Tally()
    chosen = read(str(file), SourceLayout(layout="pile", where={"meta.pile_set_name": ["ArXiv"]}), tally)
    assert [(row["text"], row["row"]) for row in chosen] == [(PILE[0]["text"], 0), (PILE[2]["text"], 2)]
    assert tally == Tally(records=4, not_chosen=2, unreadable=0)
    both = SourceLayout(where={"meta.pile_set_name": ["ArXiv", "StackExchange"]})
    assert len(read(str(file), both, tally)) == 3
    assert tally == Tally(records=8, not_chosen=3, unreadable=0)


def test_what_is_no_pile_is_said(tmp_path: Path) -> None:
    file = write(tmp_path / "00.jsonl", lines([{"text": "雲雀", "meta": {"set": "a"}}]))
    with pytest.raises(ValueError, match=r"00\.jsonl, line 1: expected a `meta\.pile_set_name`"):
        read(file, SourceLayout(layout="pile"))


def test_refinedweb_is_content_with_its_url(tmp_path: Path) -> None:
    record = {
        "content": "Larks.",
        "url": "https://a.org/",
        "image_urls": [["a", "b"]],
        "text": "x",
    }
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "train-00000.parquet")
    for file in (str(tmp_path / "train-00000.parquet"), write(tmp_path / "a.jsonl", lines([record]))):
        (row,) = read(file, SourceLayout(layout="refinedweb"))
        assert (row["text"], row["url"]) == ("Larks.", "https://a.org/")


def test_wikipedia_in_rows_begins_with_its_title_unless_told_otherwise(tmp_path: Path) -> None:
    articles = [
        {"id": "5", "url": "https://ja.example.org/wiki/雲雀", "title": "雲雀", "text": "雲雀は鳥。"},
        {"id": "6", "url": "https://ja.example.org/wiki/燕", "title": "燕", "text": " "},
    ]
    pq.write_table(pa.Table.from_pylist(articles), tmp_path / "a.parquet")
    for file in (str(tmp_path / "a.parquet"), write(tmp_path / "wiki_00", lines(articles))):
        rows = read(file, SourceLayout(layout="wikipedia"))
        assert [row["text"] for row in rows] == ["雲雀\n\n雲雀は鳥。", ""]  # an empty article stays one
        assert rows[0]["id"] == document_id("web", "5")
        assert rows[0]["url"] == articles[0]["url"]
        assert texts(file, SourceLayout(layout="wikipedia", title="leave_out"))[0] == "雲雀は鳥。"
    assert texts(str(tmp_path / "a.parquet"))[0] == "雲雀は鳥。"  # plain Parquet: nothing is added


def test_what_cannot_be_read_is_counted_up_to_its_share(tmp_path: Path) -> None:
    good = lines([{"text": f"雲雀{number}"} for number in range(7)])
    bad = b'{broken\n{"text": 5}\n{"text": "\\ud83d"}\n'
    file = write(tmp_path / "a.jsonl", good + bad)
    tally = Tally()
    rows = read(file, SourceLayout(max_bad_record_ratio=0.3), tally)
    assert [row["row"] for row in rows] == list(range(7))
    assert tally == Tally(records=10, not_chosen=0, unreadable=3)
    with pytest.raises(ValueError, match=r"a\.jsonl: 3 of 10 records cannot be read, more than max.* 0\.2"):
        read(file, SourceLayout(max_bad_record_ratio=0.2))


def test_json_that_python_writes_is_read(tmp_path: Path) -> None:
    odd = b'\xef\xbb\xbf{"text": "NaN", "score": NaN}\n{"text": "id", "id": 18446744073709551615}\n \n'
    rows = read(write(tmp_path / "a.jsonl", odd))
    assert [row["text"] for row in rows] == ["NaN", "id"]
    assert rows[1]["id"] == document_id("web", 18446744073709551615)


def test_text_that_is_no_unicode_is_named_by_its_place(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: not JSON in UTF-8"):
        read(file)
    broken = pa.array([b"a", b"\xff", b"c"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet, row 2: not UTF-8"):
        read(str(tmp_path / "a.parquet"))
    tally = Tally()
    assert texts(str(tmp_path / "a.parquet"), SourceLayout(max_bad_record_ratio=0.5), tally) == ["a", "c"]
    assert (tally.records, tally.unreadable) == (3, 1)


def test_parallel_text_reads_the_same_from_lines_columns_and_rows(tmp_path: Path) -> None:
    pairs = [(f"雲雀が{number}羽いる。", f"There are {number} larks.") for number in range(40)]
    pairs[7] = ("", "Nothing.")
    records = [{"translation": {"ja": ja, "en": en}} for ja, en in pairs]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    nested = {"ja": "translation.ja", "en": "translation.en"}
    named = "score\ten\tja\n" + "".join(f"0.9\t{en}\t{ja}\n" for ja, en in pairs)
    numbered = "".join(f"a.jp\t0.9\t{en}\t{ja}\r\n" for ja, en in pairs)
    cases = [
        (write(tmp_path / "a.jsonl", lines(records)), nested, 0),
        (str(tmp_path / "a.parquet"), nested, 0),
        (write(tmp_path / "a.tsv", named.encode()), {"ja": "ja", "en": "en"}, 1),
        (write(tmp_path / "en-ja.txt", numbered.encode()), {"ja": "4", "en": "3"}, 0),
    ]
    for file, fields, first in cases:
        tally = Tally()
        rows = read(file, SourceLayout(layout="parallel", fields=fields), tally)
        assert [row["row"] - first for row in rows] == [number for number in range(40) if number != 7]
        forward = {f"{ja}\n{en}" for ja, en in pairs}
        backward = {f"{en}\n{ja}" for ja, en in pairs}
        found = [row["text"] for row in rows]
        assert set(found) <= forward | backward
        assert 8 < len(forward & set(found)) < 31, "both directions, by a hash"
        assert tally == Tally(records=40, not_chosen=1, unreadable=0)


def test_pairs_make_documents_of_several_named_by_the_first(tmp_path: Path) -> None:
    records = [{"id": number, "ja": f"雲雀{number}。", "en": f"Lark {number}."} for number in range(5)]
    file = write(tmp_path / "a.jsonl", lines(records))
    rows = read(file, SourceLayout(layout="parallel", pairs_per_document=2, template="instruction"))
    assert [(row["id"], row["row"]) for row in rows] == [(document_id("web", number), number) for number in (0, 2, 4)]
    assert [row["text"].count("訳し") + row["text"].count("Translate") for row in rows] == [2, 2, 1]
    assert all(f"雲雀{number}。" in rows[number // 2]["text"] for number in range(5))


def test_broken_parallel_text_is_named(tmp_path: Path) -> None:
    parallel = SourceLayout(layout="parallel")
    with pytest.raises(ValueError, match=r"a\.tsv: no column en in the first line: ja, x"):
        read(write(tmp_path / "a.tsv", b"ja\tx\n"), parallel)
    with pytest.raises(ValueError, match=r"b\.tsv, line 3: expected 2 columns at least, got 1"):
        read(write(tmp_path / "b.tsv", "ja\ten\n雲雀\tlark\n燕\n".encode()), parallel)
    with pytest.raises(ValueError, match=r'c\.jsonl, line 1: expected \{"ja": string, "en": string\}, got fields ja'):
        read(write(tmp_path / "c.jsonl", lines([{"ja": "雲雀"}])), parallel)


@pytest.mark.parametrize(
    ("name", "layout", "message"),
    [
        ("a.parquet", "jsonl", "no `layout: jsonl`"),
        ("a.tsv", "pile", "no `layout: pile`, which is jsonl or parquet"),
        ("a.bin", "auto", "or say what it is with `layout`"),
    ],
)
def test_a_name_that_contradicts_its_layout_is_refused(tmp_path: Path, name: str, layout: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / name, b""), SourceLayout(layout=layout))


def test_a_name_that_says_nothing_is_read_as_its_layout(tmp_path: Path) -> None:
    assert texts(write(tmp_path / "part-0", lines([{"text": "雲雀"}])), SourceLayout(layout="jsonl")) == ["雲雀"]
    assert texts(write(tmp_path / "jawiki.xml-p1p9", dump(page(5, "雲雀", "鳥。")))) == ["雲雀\n\n鳥。"]


def test_batches_are_cut_by_rows_and_by_characters(tmp_path: Path) -> None:
    many = write(tmp_path / "many.jsonl", lines([{"text": "雲雀"}] * 1_300))
    assert [batch.num_rows for batch in read_batches(many, "web")] == [512, 512, 276]
    long = write(tmp_path / "long.jsonl", lines([{"text": "雲" * 3_000_000}] * 3))
    batches = list(read_batches(long, "web"))
    assert [batch.num_rows for batch in batches] == [2, 1]
    assert all(batch.schema == SOURCE_SCHEMA for batch in batches)


def test_urls_are_null_where_nobody_asks(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", lines([{"text": "雲雀", "url": ["no string"]}]))
    (batch,) = read_batches(file, "web", with_urls=False)
    assert batch.column("url").null_count == 1


MEASURE = """
import re, sys
from pathlib import Path
from storage.sources import read_batches
def most_kib():  # getrusage's would be the parent's where that is larger
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = most_kib()
rows = sum(batch.num_rows for batch in read_batches(sys.argv[1], "web"))
print(rows, most_kib() - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jsonl.zst", ".parquet", ".xml.bz2"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, suffix: str) -> None:
    """One row group, one frame: nothing in the file bounds what is held at once."""
    characters = "".join(random.Random(7).choices("雲雀麦畑鳴空青白朝夕歌声羽巣春風", k=500_000))
    used = {}
    for times in (1, 5):
        starts = range(0, 7919 * 2_000 * times, 7919)
        records = [{"id": at, "text": characters[at % 490_000 :][:1_500]} for at in starts]
        file = tmp_path / f"{times}{suffix}"
        if suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(records), file, row_group_size=10**9, use_dictionary=False)
        elif suffix == ".xml.bz2":
            pages = [page(number, f"雲雀{number}", str(record["text"])) for number, record in enumerate(records)]
            file.write_bytes(bz2.compress(dump(*pages)))
        else:
            file.write_bytes(COMPRESS[suffix.removeprefix(".jsonl")](lines(records)))
        told = subprocess.run([sys.executable, "-c", MEASURE, str(file)], capture_output=True, text=True, check=True)
        rows, used[times] = map(int, told.stdout.split())
        assert rows == len(records)
    assert used[5] < used[1] + 16_000, f"KiB above the start for 9 and 45 MB of text: {used}"

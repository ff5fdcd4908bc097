"""Breaks when an item that a document holds is not found however it is written there, when the share of it is another,
when the corpus counts documents that are no longer kept, or when the result depends on shards, workers or a kill."""

from __future__ import annotations

import gzip
import json
import logging
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from storage.artifact import Manifest, new_file, seal
from storage.documents import write_documents
from storage.uri import join
from tasks.evaluate import contamination
from tasks.evaluate.config import ContaminationConfig
from tasks.evaluate.contamination import is_dirty, overlaps, unknown_items
from tasks.shards import ExecutorConfig, ShardFailedError

CONFIG = ContaminationConfig()
ONE, TWO = ExecutorConfig(workers=1), ExecutorConfig(workers=2)
QUESTION = "雲雀が春の空で長く鳴きつづける訳は何ですか？"  # 21 letters: 12 n-grams of 10
ENGLISH = "A lark sang for three hours every morning, then it rested."
ITEMS = {"birds": [("q", QUESTION), ("short", "鳥は何羽？")], "english": [("e", ENGLISH)]}
PAGE = (
    "春になると畑の上で鳥の声がする。姿を探しても、まぶしくてなかなか見つからない。\n"
    "祖父はその声を聞くと仕事の手を休め、しばらく空を見上げていたものだ。\n"
)

Document = tuple[int, str]  # number, text


def id_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def make_corpus(
    root: Path,
    shards: Mapping[str, Sequence[Document]],
    *,
    name: str = "0",
    superseded: Mapping[str, Sequence[int]] | None = None,
    earlier: Sequence[str] = (),
) -> str:
    """A corpus as deduplication leaves it; a document's URL tells its number."""
    uri = join(str(root), "deduplicate", f"lark-{name * 12}")
    files = []
    for key, documents in shards.items():
        columns = {
            "id": pa.array([id_of(number) for number, _ in documents], pa.binary(16)),
            "url": pa.array([f"https://example.jp/{number}" for number, _ in documents], pa.string()),
            "text": pa.array([text for _, text in documents], pa.string()),
        }
        files.append(write_documents(uri, f"documents/{key}.parquet", pa.table(columns)))
    for key, numbers in (superseded or {}).items():
        gone = pa.table({"id": pa.array(map(id_of, numbers), pa.binary(16))})
        files.append(write_documents(uri, f"superseded/{key}.parquet", gone))
    if earlier:
        with new_file(uri, "generations.json") as file:
            file.write(json.dumps({"earlier": list(earlier)}).encode())
        files.append(files[0].of("generations.json", file))
    seal(uri, Manifest("deduplicate", "lark", name * 64, "3", {}, {}, {}, files, {}, "", "2026-01-01", 1.0))
    return uri


def found_in(tmp_path: Path, documents: Sequence[Document], items: Any = ITEMS) -> dict[str, dict[str, Any]]:
    rows = overlaps(items, make_corpus(tmp_path, {"a": documents}), CONFIG, ONE, str(tmp_path / "out"))
    return {row["id"]: row for row in rows}


def full_width(text: str) -> str:
    return "".join(chr(ord(character) + 0xFEE0) if "!" <= character <= "~" else character for character in text)


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(str, id="verbatim"),
        pytest.param(" ".join, id="a space after every character"),
        pytest.param(lambda text: "\n".join(text[i : i + 7] for i in range(0, len(text), 7)), id="in short lines"),
        pytest.param(full_width, id="full width"),
        pytest.param(lambda text: text.upper().replace("？", "!?").replace(",", " – "), id="capitals, other marks"),
    ],
)
def test_an_item_is_found_however_it_is_written(tmp_path: Path, write: Any) -> None:
    found = found_in(tmp_path, [(1, PAGE), (2, PAGE + write(QUESTION) + PAGE), (3, write(ENGLISH))])
    assert {id: (row["overlap"], row["document"], row["url"]) for id, row in found.items()} == {
        "q": (1.0, id_of(2).hex(), "https://example.jp/2"),
        "e": (1.0, id_of(3).hex(), "https://example.jp/3"),
    }


@pytest.mark.parametrize(
    ("text", "share"),
    [
        (QUESTION[:11], 2 / 12),  # 11 letters hold 2 of the 12 n-grams
        (QUESTION[:15], 6 / 12),
        (QUESTION[:16], 7 / 12),
        (QUESTION[:10] + "。" + PAGE + QUESTION[11:], 2 / 12),  # the first n-gram, and the last of the 10 letters left
        (QUESTION[:10] + PAGE + QUESTION[:10], 1 / 12),  # the same n-gram twice is one
    ],
)
def test_the_share_is_of_distinct_ngrams(tmp_path: Path, text: str, share: float) -> None:
    row = found_in(tmp_path, [(1, text)])["q"]
    assert row["overlap"] == round(share, 6)
    assert is_dirty(row["overlap"], CONFIG) == (share > 0.5)


def test_an_item_that_repeats_itself_has_fewer_distinct_ngrams(tmp_path: Path) -> None:
    """20 letters of a period of 5 are 11 n-grams, 5 of them distinct, and 12 of the letters hold 3 of these."""
    items = {"songs": [("s", "ひいちょろ" * 4)]}
    assert found_in(tmp_path, [(1, ("ひいちょろ" * 3)[:12])], items)["s"]["overlap"] == 0.6


def test_pieces_in_several_documents_do_not_add_up(tmp_path: Path) -> None:
    found = found_in(tmp_path, [(1, QUESTION[:14]), (2, QUESTION[10:])])
    assert (found["q"]["overlap"], found["q"]["document"]) == (round(5 / 12, 6), id_of(1).hex())


def test_no_ngram_reaches_from_a_document_or_item_into_the_next(tmp_path: Path) -> None:
    assert found_in(tmp_path, [(1, QUESTION[:9]), (2, QUESTION[9:18])]) == {}
    items = {"halves": [("1", QUESTION[:12]), ("2", QUESTION[12:])]}
    assert found_in(tmp_path / "items", [(1, QUESTION[3:])], items) == {}


def test_other_texts_share_nothing(tmp_path: Path) -> None:
    assert found_in(tmp_path, [(1, PAGE), (2, "A lark is a bird."), (3, "")]) == {}


def test_items_shorter_than_an_ngram_are_unknown_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert found_in(tmp_path, [(1, "鳥は何羽？" * 9)]) == {}
    assert "1 of 2 items of birds are shorter than one n-gram of 10 letters" in caplog.text
    assert unknown_items(ITEMS, CONFIG) == {"birds": ["short"], "english": []}


def test_of_equals_the_smallest_id_is_named_whatever_the_shards(tmp_path: Path) -> None:
    documents = [(7, QUESTION), (3, PAGE + QUESTION), (5, QUESTION + QUESTION), (2, QUESTION[:12])]
    for number, shards in enumerate(
        [{"a": documents}, {"a": documents[:1], "b": documents[1:]}, {"z": documents[::-1]}]
    ):
        corpus = make_corpus(tmp_path / str(number), shards)
        rows = overlaps(ITEMS, corpus, CONFIG, ONE, str(tmp_path / str(number) / "out"))
        assert [(row["id"], row["document"]) for row in rows] == [("q", id_of(3).hex())]


def test_documents_no_longer_kept_do_not_count(tmp_path: Path) -> None:
    first = make_corpus(tmp_path, {"a": [(1, QUESTION), (2, PAGE)]})
    assert overlaps(ITEMS, first, CONFIG, ONE, str(tmp_path / "out"))
    newest = make_corpus(
        tmp_path, {"b": [(3, ENGLISH)]}, name="1", superseded={"a": [1]}, earlier=[first.rsplit("/", 1)[-1]]
    )
    rows = overlaps(ITEMS, newest, CONFIG, ONE, str(tmp_path / "out"))
    assert [(row["task"], row["id"]) for row in rows] == [("english", "e")]


def test_long_documents_and_many_of_them_are_cut_into_pieces_that_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a piece ends, it may end within an item."""
    documents = [(number, PAGE * (number % 3) + QUESTION + PAGE + ENGLISH) for number in range(9, 0, -1)]
    expected = found_in(tmp_path / "whole", documents)
    assert {row["overlap"] for row in expected.values()} == {1.0}
    for size in (1, 7, 64, 333):
        monkeypatch.setattr(contamination, "_CHARACTERS_AT_ONCE", size)
        monkeypatch.setattr(contamination, "_LETTERS_AT_ONCE", size)
        monkeypatch.setattr(contamination, "_ITEMS_AT_ONCE", 1)
        assert found_in(tmp_path / str(size), documents) == expected


def test_random_texts_agree_with_sets_of_ngrams(tmp_path: Path) -> None:
    rng = random.Random(8)
    draw = lambda length: "".join(rng.choice("あい") for _ in range(length))  # noqa: E731
    items = {"random": [(str(number), draw(rng.randrange(8, 30))) for number in range(60)]}
    documents = [(number + 1, draw(rng.randrange(5, 90))) for number in range(40)]
    expected = {}
    for id, text in items["random"]:
        wanted = {text[i : i + 10] for i in range(len(text) - 9)}
        shares = [
            (len(wanted & {document[i : i + 10] for i in range(len(document) - 9)}), -number)
            for number, document in documents
        ]
        if wanted and max(shares)[0]:
            expected[id] = (round(max(shares)[0] / len(wanted), 6), id_of(-max(shares)[1]).hex())
    found = found_in(tmp_path, documents, items)
    assert len(expected) > 10
    assert {id: (row["overlap"], row["document"]) for id, row in found.items()} == expected


def test_a_killed_search_goes_on_and_workers_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards_in_threads: None
) -> None:
    shards = {key: [(number, QUESTION[: 10 + number])] for number, key in enumerate("abcd", 1)}
    corpus = make_corpus(tmp_path, shards)
    expected = overlaps(ITEMS, corpus, CONFIG, ONE, str(tmp_path / "undisturbed"))
    assert expected[0]["document"] == id_of(4).hex()
    assert overlaps(ITEMS, corpus, CONFIG, TWO, str(tmp_path / "two")) == expected

    read: list[str] = []

    def search(asked: Any) -> Any:
        read.append(asked.key)
        if asked.key.endswith("c") and read.count(asked.key) == 1:
            raise OSError("pulled the plug")
        return contamination_search(asked)

    contamination_search = contamination.search_shard
    monkeypatch.setattr(contamination, "search_shard", search)
    with pytest.raises(ShardFailedError, match="pulled the plug"):
        overlaps(ITEMS, corpus, CONFIG, ONE, str(tmp_path / "killed"))
    before = list(read)
    assert overlaps(ITEMS, corpus, CONFIG, ONE, str(tmp_path / "killed")) == expected
    assert read.count("00000-a") == 1
    assert set(read) == {"00000-a", "00001-b", "00002-c", "00003-d"}
    assert read.count("00002-c") == 2, before


def test_other_items_or_ngrams_do_not_meet_what_was_found_before(tmp_path: Path) -> None:
    corpus, out = make_corpus(tmp_path, {"a": [(1, QUESTION[:12])]}), str(tmp_path / "out")
    shares = [
        overlaps(items, corpus, config, ONE, out)[0]["overlap"]
        for items, config in (
            (ITEMS, CONFIG),
            ({"birds": [("q", QUESTION[:13])]}, CONFIG),
            (ITEMS, ContaminationConfig(ngram=12)),
        )
    ]
    assert shares == [0.25, 0.75, 0.1]


def test_a_corpus_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no complete artifact"):
        overlaps(ITEMS, str(tmp_path / "deduplicate" / "none-0"), CONFIG, ONE, str(tmp_path / "out"))


def test_benchmarks_in_real_text(tmp_path: Path, shared_data: Path) -> None:
    """Items planted into real documents are found, and of all others hardly any is by chance."""
    texts = []
    for path in sorted((shared_data / "text").glob("ja_*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            texts += [json.loads(line)["text"] for line in file]
    rows = [json.loads(line) for line in (shared_data / "eval/niilc/test.jsonl").read_text("utf-8").splitlines()]
    items = {"niilc": [(str(number), row["text"]) for number, row in enumerate(rows)]}
    known = [entry for entry in items["niilc"] if entry[0] not in unknown_items(items, CONFIG)["niilc"]]
    planted = {id: " ".join(text) for id, text in known[::20]}
    documents = [(number, text + "".join(planted.values()) * (number == 100)) for number, text in enumerate(texts)]
    found = found_in(tmp_path, documents, items)
    dirty = {id for id, row in found.items() if is_dirty(row["overlap"], CONFIG)}
    assert planted.keys() <= dirty
    assert len(dirty - planted.keys()) <= 2

"""Refinement as survivors are written: counts, ledger and files agree, whatever the workers and interruptions."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.artifact import content_digest
from storage.documents import document_id
from storage.ledger import Rule, read_full
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.deduplicate import deduplicate
from tasks.deduplicate.host_lines import MergeShard, merge_shard
from tasks.refine.config import RefineConfig
from tasks.shards import ExecutorConfig
from tests.tasks.deduplicate.corpora import Page, sentences
from tests.tasks.deduplicate.corpora import write_pages as write_corpus_pages

pytestmark = pytest.mark.usefixtures("shards_in_threads")

CONFIG = DeduplicateConfig(bands=2, rows=20)
MENU = "巣箱の店\n買い物かご\n店までの道"
NOTICE = "当店の巣箱は、雲雀観察会の会員が、一つずつ手で作ってお届けしています。"


def write_pages(folder: Path, name: str, pages: Sequence[tuple[str | None, str]]) -> str:
    """A document shard of (host, text) pages; the id of page i is document_id(name, i)."""
    return write_corpus_pages(folder, name, [Page(text, host=host) for host, text in pages])


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    """Three shards: a shop whose pages share a menu and a notice, other hosts, a copy, a blocked host, a stub."""
    shop = [("shop.example", f"{MENU}\n{sentences(number, 20)}\n{NOTICE}\n{number}番の店。") for number in range(7)]
    others: list[tuple[str | None, str]] = [(None, sentences(number, 20)) for number in range(20, 24)]
    others += [("egg.5ch.net", sentences(30, 20)), ("shop.example", f"{MENU}\n{NOTICE}\n短い。"), ("b.example", NOTICE)]
    pages = [*shop, *others, (None, sentences(20, 20))]
    return [write_pages(tmp_path, name, pages[first::3]) for first, name in enumerate("abc")]


def run(shards: list[str], out: Path, workers: int = 1, **refine: Any) -> Any:
    config = RefineConfig.model_validate(refine)
    return deduplicate(shards, CONFIG, config, out=str(out), executor=ExecutorConfig(workers=workers), pairs_per_bin=0)


def texts_of(out: Path) -> dict[bytes, str]:
    tables = [pq.read_table(path) for path in sorted((out / "documents").glob("*.parquet"))]
    return {row["id"]: row["text"] for table in tables for row in table.to_pylist()}


def ledger_of(out: Path) -> list[Any]:
    return [row for path in sorted((out / "ledger").glob("*.parquet")) for row in read_full(str(path))]


def test_what_refinement_does_is_in_documents_ledger_counts_and_its_own_file(shards: list[str], tmp_path: Path) -> None:
    outcome = run(shards, tmp_path / "out")
    counts, texts, ledger = outcome.counts, texts_of(tmp_path / "out"), ledger_of(tmp_path / "out")
    assert (counts["documents"], counts["kept"], counts["dropped"]) == (15, 12, 3)
    assert (counts["exact_duplicates"], counts["dropped_blocked_host"], counts["dropped_emptied"]) == (1, 1, 1)
    assert counts["characters"] == sum(map(len, texts.values()))
    fates = {row.id: row for row in ledger}
    assert len(fates) == counts["documents"]
    assert {id for id, row in fates.items() if row.rule == Rule.KEPT} == set(texts)
    emptied = next(row for row in ledger if row.rule == Rule.EMPTIED)
    assert (emptied.value, emptied.threshold, emptied.stage, emptied.twin_id) == (3, 200, "deduplicate", None)
    assert f"{sentences(0, 20)}\n0番の店。" == texts[document_id("a", 0)]
    assert NOTICE in texts.values()  # another host's page
    rows = {
        row["id"]: row
        for path in (tmp_path / "out" / "refine").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    }
    assert len(rows) == 9  # seven pages of the shop, its stub, the board
    assert rows[document_id("a", 0)]["boilerplate_lines"] == 4
    board = next(row for row in rows.values() if row["rule"] == Rule.BLOCKED_HOST)
    assert (board["blocked_by"], fates[board["id"]].rule) == ("*.5ch.net", Rule.BLOCKED_HOST)
    assert counts["boilerplate_lines"] == sum(row["boilerplate_lines"] for row in rows.values()) == 8 * 4
    assert (counts["boilerplate_found"], outcome.details["refined"]["boilerplate_lines"]) == (4, 8)
    assert {file.path for file in outcome.files} >= {"refine/a.parquet", "boilerplate/000.parquet"}
    assert not (tmp_path / "out" / "_work").exists()


def test_numbers_of_characters_are_those_of_the_text_and_the_rest_of_a_row_stays(
    shards: list[str], tmp_path: Path
) -> None:
    run(shards, tmp_path / "out")
    before = {row["id"]: row for row in pq.read_table(shards[0]).to_pylist()}
    for row in pq.read_table(tmp_path / "out" / "documents" / "a.parquet").to_pylist():
        assert row["num_characters"] == len(row["text"])
        same = {name: value for name, value in row.items() if name not in ("text", "num_characters")}
        assert same.items() <= before[row["id"]].items()


def test_the_result_depends_on_neither_workers_nor_the_order_of_shards(shards: list[str], tmp_path: Path) -> None:
    one = run(shards, tmp_path / "one")
    two = run(shards[::-1], tmp_path / "two", workers=2)
    assert content_digest(one.files) == content_digest(two.files)
    assert (one.counts, one.details) == (two.counts, two.details)


@pytest.mark.parametrize("undone", [("write-b",), ("write-a", "write-c", "boilerplate-000"), ("lines-a", "write-a")])
def test_an_interrupted_run_ends_in_the_same_bytes(shards: list[str], tmp_path: Path, undone: tuple[str, ...]) -> None:
    out = tmp_path / "out"
    whole = run(shards, out)
    for key in undone:
        (out / "_shards" / f"{key}.json").unlink()
    shutil.rmtree(out / "boilerplate")
    again = run(shards, out)
    assert content_digest(again.files) == content_digest(whole.files)
    assert (again.counts, again.details) == (whole.counts, whole.details)


def test_ranges_of_keys_together_are_the_whole(
    shards: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts read back bucket by bucket find the lines that one reading of all finds."""
    monkeypatch.setattr("tasks.deduplicate.deduplicate.remove", lambda uri: None)
    out = tmp_path / "out"
    run(shards, out)
    whole = pq.read_table(out / "boilerplate" / "000.parquet").to_pylist()
    for first in range(0, 256, 64):
        merge_shard(MergeShard(("a", "b", "c"), str(out), first, first + 64, RefineConfig().boilerplate))
    parts = [pq.read_table(out / "boilerplate" / f"{first:03}.parquet") for first in range(0, 256, 64)]
    assert pa.concat_tables(parts).to_pylist() == whole
    assert all((row["documents"], row["host_documents"]) == (8, 8) for row in whole)


def test_without_boilerplate_no_line_is_counted(shards: list[str], tmp_path: Path) -> None:
    outcome = run(shards, tmp_path / "out", boilerplate={"enabled": False})
    assert (outcome.counts["boilerplate_found"], outcome.counts["dropped_emptied"]) == (0, 0)
    assert not (tmp_path / "out" / "boilerplate").exists()
    assert f"{MENU}\n{sentences(0, 20)}\n{NOTICE}\n0番の店。" in texts_of(tmp_path / "out").values()


def test_a_missing_list_fails_before_anything_is_signed(shards: list[str], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt"):
        run(shards, tmp_path / "out", hosts={"files": ["nowhere.txt"]})
    assert not (tmp_path / "out").exists()


def test_items_of_benchmarks_are_counted_by_benchmark(tmp_path: Path) -> None:
    question = "春の野原で空高く昇りながら長くさえずる茶色い小鳥の名前は何でしょうか。"
    (tmp_path / "quiz.txt").write_text(f"{question}\n海辺で貝を割って食べる白と黒の鳥の名前を一つ挙げてください。\n")
    pages = [(None, f"{sentences(number, 20)}\n{question if number < 2 else ''}") for number in range(4)]
    shards = [write_pages(tmp_path, "a", pages[:2]), write_pages(tmp_path, "b", pages[2:])]
    named = {"name": "quiz", "files": [f"{tmp_path}/quiz.txt"]}
    marked = run(shards, tmp_path / "mark", decontamination={"benchmarks": [named], "action": "mark"})
    table = marked.details["contamination"]["quiz"]
    assert (table["items"], table["items_found"], table["documents"]) == (2, 1, 2)
    assert (marked.counts["kept"], marked.counts["dropped_contaminated"]) == (4, 0)
    rows = pq.read_table(tmp_path / "mark" / "refine" / "a.parquet").to_pylist()
    assert [(row["rule"], row["benchmarks"], len(row["items"])) for row in rows] == [(Rule.KEPT, ["quiz"], 1)] * 2
    dropped = run(shards, tmp_path / "drop", decontamination={"benchmarks": [named]})
    assert (dropped.counts["kept"], dropped.counts["dropped_contaminated"]) == (2, 2)
    assert dropped.details["contamination"] == marked.details["contamination"]

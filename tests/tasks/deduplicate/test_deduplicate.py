"""Deduplication of documents on disk: who survives, who is whose twin, and that nothing is lost."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from storage.artifact import Outcome, content_digest
from storage.documents import document_id, read_texts
from storage.ledger import Rule, read_full
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.deduplicate import deduplicate
from tasks.shards import ExecutorConfig
from tests.tasks.deduplicate.corpora import UNREFINED, Page, sentences, write_pages

pytestmark = pytest.mark.usefixtures("shards_in_threads")


def run(shards: list[str], out: Path, **config: Any) -> Outcome:
    settings = DeduplicateConfig.model_validate(config)
    return deduplicate(shards, settings, UNREFINED, out=str(out), executor=ExecutorConfig(workers=1), pairs_per_bin=0)


def kept_ids(out: Path) -> set[bytes]:
    return {id_ for path in (out / "documents").glob("*.parquet") for id_, _ in read_texts(str(path))}


def fates(out: Path) -> dict[bytes, Any]:
    """Every document's ledger row."""
    return {row.id: row for path in (out / "ledger").iterdir() for row in read_full(str(path))}


def test_the_newest_of_copies_survives_and_every_drop_names_its_twin(tmp_path: Path) -> None:
    edited = sentences(1).replace("雲雀", "ひばり", 1)
    old = [Page(sentences(1), "CC-MAIN-2020-05"), Page(sentences(2), "CC-MAIN-2020-05")]
    new = [Page(edited, "CC-MAIN-2023-50"), Page(f"  {sentences(2)}\n", "CC-MAIN-2023-50"), Page("短文", "unknown")]
    outcome = run([write_pages(tmp_path, "a", old), write_pages(tmp_path, "b", new)], tmp_path / "out")
    counts = {
        "documents": 5,
        "kept": 3,
        "dropped": 2,
        "same_url": 0,
        "exact_duplicates": 1,
        "near_duplicates": 1,
        "clusters": 2,
        "characters": sum(len(page.text) for page in new),
    }
    assert counts.items() <= outcome.counts.items()
    assert kept_ids(tmp_path / "out") == {document_id("b", number) for number in range(3)}
    rows = fates(tmp_path / "out")
    assert len(rows) == 5
    near, exact, short = rows[document_id("a", 0)], rows[document_id("a", 1)], rows[document_id("b", 2)]
    assert (near.rule, near.twin_id, near.survivor_id) == (Rule.NEAR_DUPLICATE, *[document_id("b", 0)] * 2)
    assert (exact.rule, exact.twin_id, exact.survivor_id) == (Rule.EXACT_DUPLICATE, *[document_id("b", 1)] * 2)
    assert (short.rule, short.twin_id, short.survivor_id, short.value) == (Rule.KEPT, None, None, None)
    assert {row.stage for row in rows.values()} == {"deduplicate"}
    assert short.url == "https://example.org/b/2"
    assert not (tmp_path / "out" / "_work").exists()


def test_a_page_of_one_url_is_dropped_before_its_text_is_looked_at(tmp_path: Path) -> None:
    old, new = (
        Page(sentences(1), "CC-MAIN-2020-05", "https://example.org/"),
        Page(sentences(2), url="https://example.org/"),
    )
    copy = Page(sentences(1), "CC-MAIN-2019-04")  # of a text that its page has no longer
    outcome = run([write_pages(tmp_path, "a", [old, new, copy])], tmp_path / "out", urls=True)
    assert (outcome.counts["same_url"], outcome.counts["exact_duplicates"]) == (1, 0)
    assert kept_ids(tmp_path / "out") == {document_id("a", 1), document_id("a", 2)}
    assert fates(tmp_path / "out")[document_id("a", 0)].rule == Rule.SAME_URL


def test_a_verified_copy_says_how_similar_it_is_and_how_similar_a_copy_has_to_be(tmp_path: Path) -> None:
    texts = [sentences(1), sentences(1).replace("雲雀", "ひばり", 1)]
    left, right = (set(map("".join, zip(*(text[first:] for first in range(5)), strict=False))) for text in texts)
    shard = write_pages(tmp_path, "a", [*map(Page, texts), Page(sentences(1) + "\n")])
    run([shard], tmp_path / "out", verify={"enabled": True, "min_jaccard": 0.7})
    near, exact = (row for row in fates(tmp_path / "out").values() if row.rule != Rule.KEPT)
    if near.rule == Rule.EXACT_DUPLICATE:
        near, exact = exact, near
    assert near.value == pytest.approx(len(left & right) / len(left | right), abs=1e-3)
    assert (near.threshold, exact.value, exact.threshold) == (0.7, None, None)


def test_documents_without_a_copy_are_written_as_they_were(tmp_path: Path) -> None:
    """Column for column, whatever curation has measured."""
    shard = write_pages(tmp_path, "a", [Page(sentences(seed), quality=0.5) for seed in range(5)])
    run([shard], tmp_path / "out")
    assert pq.read_table(tmp_path / "out" / "documents" / "a.parquet").equals(pq.read_table(shard))


def test_the_result_does_not_depend_on_the_order_of_shards(tmp_path: Path) -> None:
    pages = [Page(sentences(seed % 7)) for seed in range(12)]
    shards = [write_pages(tmp_path, f"s{number}", pages[number::3]) for number in range(3)]
    one, two = run(shards, tmp_path / "1"), run(shards[::-1], tmp_path / "2")
    assert content_digest(one.files) == content_digest(two.files)
    assert (one.counts, one.details) == (two.counts, two.details)
    assert one.counts["kept"] == 7


def test_progress_grows_to_the_end_and_counts_what_is_kept(tmp_path: Path) -> None:
    shards = [write_pages(tmp_path, name, [Page(sentences(1)), Page(sentences(2))]) for name in "ab"]
    seen: list[tuple[float, int, int]] = []
    deduplicate(
        shards,
        DeduplicateConfig(),
        out=str(tmp_path / "out"),
        executor=ExecutorConfig(workers=1),
        progress=lambda done, total, counts: seen.append((done, total, counts.get("kept", 0))),
        pairs_per_bin=0,
    )
    assert seen == sorted(seen)
    assert (seen[0][0], seen[-1]) == (0, (8, 8, 2)), "two shards are signed, decided on, counted and written"


def test_short_and_empty_texts_do_not_all_collide(tmp_path: Path) -> None:
    shard = write_pages(tmp_path, "s", [Page(text) for text in ("春", "夏", "春夏", "春夏秋冬", "春", "", " 　\n")])
    outcome = run([shard], tmp_path / "out")
    assert (outcome.counts["kept"], outcome.counts["exact_duplicates"]) == (4, 2)
    assert outcome.counts["dropped_emptied"] == 1, "of two documents without a text one is no copy, and empty"


def test_no_documents_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no documents in the 1 shards"):
        run([write_pages(tmp_path, "s", [])], tmp_path / "out")


def test_the_same_warc_twice_is_an_error(tmp_path: Path) -> None:
    shard, again = write_pages(tmp_path, "s", [Page("春")]), write_pages(tmp_path / "again", "s", [Page("夏")])
    with pytest.raises(ValueError, match="not unique"):
        run([shard, again], tmp_path / "out")
    with pytest.raises(ValueError, match="1 ids are of more than one document"):
        run([shard, str(shutil.copy(again, tmp_path / "t.parquet"))], tmp_path / "out-2")


def test_the_measured_s_curve_is_in_the_details(tmp_path: Path) -> None:
    shard = write_pages(tmp_path, "s", [Page("春")])
    outcome = deduplicate(
        [shard], DeduplicateConfig(), out=str(tmp_path / "out"), executor=ExecutorConfig(workers=1), pairs_per_bin=4
    )
    curve = outcome.details["s_curve"]
    assert [(round(bin["low"], 2), bin["pairs"]) for bin in curve[-2:]] == [(0.94, 4), (0.97, 4)]
    assert json.loads(json.dumps(outcome.details)) == outcome.details, "what a manifest can hold"


def test_recall_on_planted_pairs_follows_the_s_curve(tmp_path: Path, shared_data: Path) -> None:
    """2,000 documents whose true Jaccard similarities are known: above 0.9 nearly all pairs lose a member."""
    oracles = shared_data / "oracles"
    with gzip.open(oracles / "oracle_dedup_2k_docs.jsonl.gz", "rt") as file:
        documents = [json.loads(line) for line in file]
    with gzip.open(oracles / "oracle_dedup_2k_0.9.jsonl.gz", "rt") as file:
        pairs = [json.loads(line) for line in file]
    shard = write_pages(tmp_path, "s", [Page(document["text"]) for document in documents])
    outcome = run([shard], tmp_path / "out", bands=14, rows=8)
    survivors = kept_ids(tmp_path / "out")
    kept = {document["id"] for number, document in enumerate(documents) if document_id("s", number) in survivors}
    both = [pair for pair in pairs if {pair["a"], pair["b"]} <= kept]
    assert outcome.counts["kept"] < len(documents)
    assert len(both) <= 0.01 * len(pairs)

"""What a finished stage shows: every count that matters, in words, with shares and a rate that is true."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.stage import STAGES, StagePlan, StageRecord
from tasks.summary import SHOWN, dropped, failure_markdown, markdown, table_rows

PLAN = StagePlan(
    "curate", "mini", "runs/curate/mini-0", "f" * 64, "1", {}, {"warcs": "a" * 64}, {}, rerun="hibari run x"
)
COUNTS = {
    "records": 1_000,
    "documents": 600,
    "characters": 1_234_567,
    "dropped": 400,
    "dropped_not_japanese": 300,
    "dropped_too_few_letters": 100,
    "dropped_empty_text": 0,
}
RECORD = StageRecord("curate", PLAN.uri, PLAN.fingerprint, "done", 20.0, "c" * 64, COUNTS)


def test_every_stage_has_something_to_show() -> None:
    assert tuple(SHOWN) == STAGES


def test_rows_say_in_out_and_dropped_with_shares() -> None:
    rows = [(row["what"], row["count"], row["value"], row["share of input"]) for row in table_rows(RECORD)]
    assert rows == [
        ("in", "records", "1,000", ""),
        ("out", "documents", "600", ""),
        ("out", "characters", "1,234,567", ""),
        ("dropped", "not japanese", "300", "30.0%"),
        ("dropped", "too few letters", "100", "10.0%"),
    ]


def test_markdown_names_reasons_rate_artifact_and_rerun() -> None:
    text = markdown(PLAN, RECORD)
    assert "**mini / curate**: done in 20 s" in text
    assert "- dropped: not japanese 300, too few letters 100\n" in text
    assert "- throughput: 50.0 records a second" in text
    assert "`runs/curate/mini-0`" in text
    assert "- rerun: `hibari run x`" in text


@pytest.mark.parametrize("changed", [{"attempts": 2}, {"seconds": 0.0}])
def test_no_rate_is_made_up(changed: dict[str, float]) -> None:
    """The time of a resumed stage is that of its last attempt, which did not do all the work."""
    assert "throughput" not in markdown(PLAN, replace(RECORD, **changed))


def test_a_reused_stage_says_so() -> None:
    assert "was complete, nothing done" in markdown(PLAN, replace(RECORD, status="reused"))


def test_sources_with_any_name_are_shown() -> None:
    counts = {"documents_web-en_read": 30, "documents_corpus_read": 13, "documents_corpus_duplicate": 2, "tokens": 99}
    record = StageRecord("binarize", "", "", "done", counts=counts)
    assert [row["value"] for row in table_rows(record)] == ["30", "13", "99", "2"]
    assert dropped(record) == {"corpus_duplicate": 2}


def test_a_failure_names_input_reason_and_command() -> None:
    text = failure_markdown(PLAN, RuntimeError("no document kept"))
    assert "mini / curate failed" in text
    assert "no document kept" in text
    assert f"input warcs: `{'a' * 12}`" in text
    assert "rerun: `hibari run x`" in text


def test_deduplicate_shows_levels_and_where_most_copies_are() -> None:
    counts = {
        "documents": 1_000, "kept": 690, "dropped": 310, "characters": 9, "same_url": 0, "exact_duplicates": 100,
        "near_duplicates": 200, "dropped_blocked_host": 10,
    }  # fmt: skip
    urls = ["https://a.example.jp/my_page", None, "https://c.example.jp/", "https://d.example.jp/"]
    clusters = [{"size": 90 - n, "survivor": {"url": url}} for n, url in enumerate(urls)]
    hosts = [{"host": "my_host.example.jp", "dropped": 150, "documents": 400}]
    record = StageRecord(
        "deduplicate", "", "", "done", counts=counts, details={"largest_clusters": clusters, "hosts": hosts}
    )
    rows = [(row["what"], row["count"], row["value"], row["share of input"]) for row in table_rows(record)]
    assert rows[3:] == [
        ("dropped", "near duplicates", "200", "20.0%"),
        ("dropped", "exact duplicates", "100", "10.0%"),
        ("dropped", "blocked host", "10", "1.0%"),
        ("cluster of", "https://a.example.jp/my_page", "90", "9.0%"),
        ("cluster of", "unknown", "89", "8.9%"),
        ("cluster of", "https://c.example.jp/", "88", "8.8%"),
        ("copies on", "my_host.example.jp", "150", "15.0%"),
    ]
    assert sum(dropped(record).values()) == counts["dropped"]
    text = markdown(PLAN, record)
    assert "- largest cluster: 90 documents, of which `https://a.example.jp/my_page` is kept\n" in text
    assert "- most copies: 150 of 400 documents of my_host.example.jp\n" in text
    assert "onto" not in text
    added = {"earlier": ["a-0", "b-1"], "documents_added": 300, "superseded": 20, "returned": 0}
    again = replace(record, details={"generations": added})
    assert "- onto `b-1`: 300 documents added; of the earlier ones 20 no longer kept, 0 kept again" in markdown(
        PLAN, again
    )
    assert table_rows(again) == table_rows(record)[:6]


def test_evaluate_shows_its_averages_in_words_and_its_benchmarks_as_a_table() -> None:
    table = {
        "base": {"ja_bits_per_byte": 1.7, "probe_ja_accuracy": 0.4, "jsquad-swallow-2023_character_f1": 0.7917},
        "initialized": {"ja_bits_per_byte": 1.9},
        "trained": {"ja_bits_per_byte": 1.4, "jsquad-swallow-2023_character_f1": None, "ja_average-strict": 0.394},
    }
    record = replace(RECORD, stage="evaluate", counts={"models": 3, "items_jsquad": 50}, details={"table": table})
    text = markdown(replace(PLAN, stage="evaluate"), record)
    assert "- in: 3 models, 50 items jsquad\n" in text
    assert "- base: ja bits per byte 1.700, probe ja accuracy 0.400\n" in text, "single benchmarks are in the table"
    assert "- trained: ja bits per byte 1.400, ja average-strict 0.394\n" in text
    assert "| task | profile | metric | base | trained |\n| --- | --- | --- | ---: | ---: |\n" in text
    assert "| jsquad | swallow-2023 | character f1 | 79.2 | – |\n" in text
    assert text.endswith("| ja average | strict | mean | – | 39.4 |\n")


def test_an_evaluation_without_benchmarks_has_no_table() -> None:
    record = replace(RECORD, stage="evaluate", details={"table": {"base": {"ja_bits_per_byte": 1.7}}})
    assert "|" not in markdown(replace(PLAN, stage="evaluate"), record)

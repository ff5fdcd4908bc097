"""Breaks when a metric is no longer what Swallow's thresholds were set on."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from storage.ledger import Rule
from tasks.curate.config import QualityConfig
from tasks.curate.metrics import DUPLICATE_SIZES, TOP_SIZES, Metrics, measure
from tasks.curate.rules import decide
from tests.tasks.curate.warc_files import JAPANESE

RENAMED = {
    "avg_sentence_length": "mean_sentence_length",
    "max_sentence_length": "longest_sentence_length",
    "duplicate_paragraph_fraction_in_character": "duplicate_paragraph_character_fraction",
    "duplicate_sentence_fraction_in_character": "duplicate_sentence_character_fraction",
}


def released(metrics: Metrics) -> dict[str, float]:
    """Our metrics under the names of the released code, with the ones that follow from others."""
    values = {name: getattr(metrics, name) for name in Metrics.__dataclass_fields__}
    for theirs, ours in RENAMED.items():
        values[theirs] = values.pop(ours)
    for n in (*TOP_SIZES, *DUPLICATE_SIZES):
        kind = "top" if n in TOP_SIZES else "duplicate"
        values[f"{kind}_{n}gram_character_fraction"] = values.pop(f"{kind}_{n}gram_fraction")
    num_sentences = values.pop("num_sentences")
    values["num_sentences_ending_with_ellipsis"] = round(values["ellipsis_fraction"] * num_sentences)
    for mark in ("kuten", "toten"):
        values[f"{mark}_fraction"] = values[f"num_{mark}"] / max(1, values["num_japanese_letters"])
    return values


def test_metrics_and_decisions_equal_the_released_code(shared_data: Path) -> None:
    with gzip.open(shared_data / "oracles" / "oracle_quality_shared.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == 2000
    disagreements = []
    num_crashed = 0
    for row in rows:
        metrics = measure(row["text"])
        decision = decide(metrics, QualityConfig())
        if "error" in row:  # the released code crashes on these; ours drops them by a rule
            num_crashed += 1
            assert decision.rule in (Rule.TOO_FEW_LETTERS, Rule.NO_SENTENCE)
            continue
        ours = released(metrics)
        assert ours.keys() == row["metrics"].keys()
        disagreements += [name for name, value in row["metrics"].items() if abs(ours[name] - value) > 1e-6]
        disagreements += ["accept"] * (decision.keep != row["accept"])
    assert disagreements == []
    assert num_crashed == 6


def test_counts_of_letters() -> None:
    metrics = measure("雲雀がナク、ー𠮷。a")
    assert (metrics.num_hiragana_letters, metrics.num_katakana_letters, metrics.num_kanji_letters) == (
        1,
        2,
        2,
    )
    assert (metrics.num_toten, metrics.num_kuten, metrics.num_japanese_letters, metrics.num_letters) == (
        1,
        1,
        7,
        10,
    )
    assert metrics.hiragana_fraction == 1 / 7
    assert metrics.japanese_fraction == 7 / 10


def test_sentences() -> None:
    metrics = measure("雲雀が鳴く。空は青い。\n続く…\n！？春だ！？")
    assert metrics.num_sentences == 4
    assert metrics.mean_sentence_length == (6 + 5 + 3 + 3) / 4
    assert metrics.longest_sentence_length == 6
    assert metrics.ellipsis_fraction == 1 / 4


def test_duplicates_are_units_that_occurred_before() -> None:
    metrics = measure("一行目。\n二行目。\n一行目。\n一行目。")
    assert metrics.duplicate_paragraph_fraction == 2 / 4
    assert metrics.duplicate_sentence_character_fraction == 8 / 16


@pytest.mark.parametrize(
    "text", [JAPANESE, JAPANESE[:60] * 3, "ああああああ", "あいあいあいあいう", "あいう", "あ", ""]
)
def test_ngram_fractions_equal_plain_counting(text: str) -> None:
    metrics = measure(text)
    for n in (*TOP_SIZES, *DUPLICATE_SIZES):
        counts = Counter(text[i : i + n] for i in range(len(text) - n + 1))
        if n in TOP_SIZES:
            expected = max(counts.values(), default=0) / max(1, counts.total())
            assert getattr(metrics, f"top_{n}gram_fraction") == expected
        else:
            expected = sum(count > 1 for count in counts.values()) / max(1, len(counts))
            assert getattr(metrics, f"duplicate_{n}gram_fraction") == expected

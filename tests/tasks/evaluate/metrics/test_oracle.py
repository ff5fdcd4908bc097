"""Every value of the oracle file, which independent implementations computed, to 1e-6."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import sacrebleu

from tasks.evaluate.metrics.bleu import BLEU, COLUMNS, Tokenize, bleu_columns, words
from tasks.evaluate.metrics.chrf import sentence_chrf
from tasks.evaluate.metrics.exact import harness_exact_match
from tasks.evaluate.metrics.fuzzy import fuzzy_ratio, ratio, token_sort_ratio
from tasks.evaluate.metrics.normalise import nfkc
from tasks.evaluate.metrics.rouge import mecab_tokens, rouge_2, rouge_l, rouge_n

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def oracle(shared_data: Path) -> dict[str, Any]:
    oracle: dict[str, Any] = json.loads((shared_data / "oracles/oracle_metrics.json").read_text(encoding="utf-8"))
    assert len(oracle["rows"]) == 60
    return oracle


def rows(oracle: dict[str, Any], *languages: str) -> list[dict[str, Any]]:
    chosen = [row for row in oracle["rows"] if row["lang"] in languages]
    assert len(chosen) >= 24
    return chosen


def test_comparisons_of_characters(oracle: dict[str, Any]) -> None:
    for row in rows(oracle, "ja", "en"):
        pred, gold = nfkc(row["pred"]), nfkc(row["ref"])
        assert token_sort_ratio(pred, gold) == row["token_sort_ratio_nfkc"], row
        assert ratio(pred, gold) == row["ratio_nfkc"], row
        assert harness_exact_match(row["pred"], row["ref"]) == row["exact_nfkc"], row
        assert sentence_chrf(row["pred"], row["ref"]) == pytest.approx(row["chrf"] / 100, abs=TOLERANCE), row


def test_character_f1_of_the_swallow_tables(oracle: dict[str, Any]) -> None:
    japanese = rows(oracle, "ja")
    scores = [fuzzy_ratio(row["pred"], row["ref"]) for row in japanese]
    assert sum(scores) / len(scores) == pytest.approx(oracle["corpus"]["char_f1_mean_ja"], abs=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "tokenize", "language"),
    [
        ("ja_nagisa_13a", "nagisa-13a", "ja"),
        ("ja_mecab", "ja-mecab", "ja"),
        ("ja_plain_13a", "13a", "ja"),
        ("ja_char", "char", "ja"),
        ("en_13a", "13a", "en"),
    ],
)
def test_bleu_of_the_corpus(oracle: dict[str, Any], name: str, tokenize: Tokenize, language: str) -> None:
    counted = [{"columns": bleu_columns(row["pred"], row["ref"], tokenize)} for row in rows(oracle, language)]
    assert 100 * BLEU.of(counted) == pytest.approx(oracle["corpus"][name], abs=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "tokenize", "languages"),
    [
        ("sent_bleu_13a", "13a", ("ja", "en")),
        ("sent_bleu_nagisa_13a", "nagisa-13a", ("ja",)),
        ("sent_bleu_ja_mecab", "ja-mecab", ("ja",)),
    ],
)
def test_bleu_of_each_sentence(
    oracle: dict[str, Any], name: str, tokenize: Tokenize, languages: tuple[str, ...]
) -> None:
    """The counts of each pair; sacrebleu makes its sentence BLEU of them, with as many orders as there are words."""
    for row in rows(oracle, *languages):
        counts = [int(bleu_columns(row["pred"], row["ref"], tokenize)[column]) for column in COLUMNS]
        score = sacrebleu.BLEU.compute_bleu(
            counts[:4], counts[4:8], counts[8], counts[9], smooth_method="exp", effective_order=True
        )
        assert score.score == pytest.approx(row[name], abs=TOLERANCE), row


def test_segmentations(oracle: dict[str, Any]) -> None:
    for row in rows(oracle, "ja"):
        for side in ("pred", "ref"):
            assert mecab_tokens(row[side]) == row[f"mecab_{side}"]
            assert words(row[side], "nagisa-13a") == words(row[f"nagisa_{side}"], "13a")


def test_rouge(oracle: dict[str, Any]) -> None:
    for row in rows(oracle, "ja", "en"):
        # rouge_score's own tokens: runs of ASCII letters and digits, so a Japanese sentence has none
        cut = [("rouge_default", [re.findall("[a-z0-9]+", row[side].lower()) for side in ("pred", "ref")])]
        if row["lang"] == "ja":
            cut.append(("rouge_mecab", [mecab_tokens(row[side]) for side in ("pred", "ref")]))
        for name, (ours, theirs) in cut:
            assert rouge_n(ours, theirs, 1) == pytest.approx(row[name]["rouge1"], abs=TOLERANCE), row
            assert rouge_n(ours, theirs, 2) == pytest.approx(row[name]["rouge2"], abs=TOLERANCE), row
            assert rouge_l(ours, theirs) == pytest.approx(row[name]["rougeL"], abs=TOLERANCE), row
            assert rouge_2(ours, theirs) == pytest.approx(row[name]["rouge2"][2], abs=TOLERANCE), row

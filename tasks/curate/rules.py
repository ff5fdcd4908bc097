"""The quality rules: metrics in, a decision out.

Rules are data: each compares one metric with one threshold of the run file. They are asked in a fixed order
and the first that fails is the reason in the ledger. The order and the thresholds are those of the Swallow
Corpus v1 recipe (swallow-corpus `quality.py`, `apply_v1`); NO_SENTENCE is ours, for texts on which that code
crashes.

    decide(measure(text), QualityConfig())  # Decision(False, Rule.TOO_FEW_LETTERS, 120.0, 400.0)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from storage.ledger import Rule
from tasks.curate.config import QualityConfig
from tasks.curate.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Decision:
    """Keep or drop; for a drop the rule, the value measured and the threshold it missed."""

    keep: bool
    rule: Rule = Rule.KEPT
    value: float | None = None
    threshold: float | None = None


KEEP = Decision(True)


@dataclass(frozen=True, slots=True)
class QualityRule:
    """Drop when `metric` is below (min) or above (max) a threshold: a `QualityConfig` field, or a number."""

    rule: Rule
    metric: str
    bound: Literal["min", "max"]
    threshold: str | float


QUALITY_RULES = (
    QualityRule(Rule.TOO_FEW_LETTERS, "num_letters", "min", "min_letters"),
    QualityRule(Rule.TOO_FEW_JAPANESE_LETTERS, "num_japanese_letters", "min", "min_japanese_letters"),
    QualityRule(Rule.NO_SENTENCE, "num_sentences", "min", 1),
    QualityRule(Rule.DUPLICATE_PARAGRAPHS, "duplicate_paragraph_fraction", "max", "max_duplicate_paragraph_fraction"),
    QualityRule(
        Rule.DUPLICATE_PARAGRAPH_CHARACTERS,
        "duplicate_paragraph_character_fraction",
        "max",
        "max_duplicate_paragraph_character_fraction",
    ),
    QualityRule(Rule.DUPLICATE_SENTENCES, "duplicate_sentence_fraction", "max", "max_duplicate_sentence_fraction"),
    QualityRule(
        Rule.DUPLICATE_SENTENCE_CHARACTERS,
        "duplicate_sentence_character_fraction",
        "max",
        "max_duplicate_sentence_character_fraction",
    ),
    QualityRule(Rule.TOP_2GRAM, "top_2gram_fraction", "max", "max_top_2gram_fraction"),
    QualityRule(Rule.TOP_3GRAM, "top_3gram_fraction", "max", "max_top_3gram_fraction"),
    QualityRule(Rule.TOP_4GRAM, "top_4gram_fraction", "max", "max_top_4gram_fraction"),
    QualityRule(Rule.DUPLICATE_5GRAMS, "duplicate_5gram_fraction", "max", "max_duplicate_5gram_fraction"),
    QualityRule(Rule.DUPLICATE_6GRAMS, "duplicate_6gram_fraction", "max", "max_duplicate_6gram_fraction"),
    QualityRule(Rule.DUPLICATE_7GRAMS, "duplicate_7gram_fraction", "max", "max_duplicate_7gram_fraction"),
    QualityRule(Rule.DUPLICATE_8GRAMS, "duplicate_8gram_fraction", "max", "max_duplicate_8gram_fraction"),
    QualityRule(Rule.DUPLICATE_9GRAMS, "duplicate_9gram_fraction", "max", "max_duplicate_9gram_fraction"),
    QualityRule(Rule.DUPLICATE_10GRAMS, "duplicate_10gram_fraction", "max", "max_duplicate_10gram_fraction"),
    QualityRule(Rule.TOO_LITTLE_HIRAGANA, "hiragana_fraction", "min", "min_hiragana_ratio"),
    QualityRule(Rule.TOO_MUCH_KATAKANA, "katakana_fraction", "max", "max_katakana_ratio"),
    QualityRule(Rule.TOO_LITTLE_JAPANESE, "japanese_fraction", "min", "min_japanese_ratio"),
    QualityRule(Rule.SENTENCES_TOO_SHORT, "mean_sentence_length", "min", "min_mean_sentence_length"),
    QualityRule(Rule.SENTENCES_TOO_LONG, "mean_sentence_length", "max", "max_mean_sentence_length"),
    QualityRule(Rule.SENTENCE_TOO_LONG, "longest_sentence_length", "max", "max_sentence_length"),
    QualityRule(Rule.TOO_MANY_ELLIPSES, "ellipsis_fraction", "max", "max_ellipsis_ratio"),
)


def decide(metrics: Metrics, config: QualityConfig) -> Decision:
    """The first rule that a document fails, else keep."""
    for rule in QUALITY_RULES:
        value = getattr(metrics, rule.metric)
        threshold = getattr(config, rule.threshold) if isinstance(rule.threshold, str) else rule.threshold
        if value < threshold if rule.bound == "min" else value > threshold:
            return Decision(False, rule.rule, float(value), float(threshold))
    return KEEP

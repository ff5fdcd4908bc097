"""The quality rules: metrics in, a decision out.

Rules are data: each compares one metric with one threshold of the run file. They are asked in a fixed order and the
first that fails is the reason in the ledger. Order and comparisons are those of the Swallow Corpus v1 recipe
(swallow-corpus `quality.py` and `ngword.py`, `apply_v1`); NO_SENTENCE is ours, for texts on which that code crashes.
Where the recipe's metric and ours stand side by side (`quality.japanese_letters`, `ngram_duplication`, `sentences`)
both rules are in the table, and the setting says which one is asked.

    decide(measure(text), QualityConfig())  # Decision(False, Rule.TOO_FEW_LETTERS, 120.0, 400.0)
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from storage.ledger import Rule
from tasks.curate.metrics import Metrics
from tasks.curate.ngrams import REPEATED_SIZES, TOP_SIZES
from tasks.curate.quality_config import QualityConfig


@dataclass(frozen=True, slots=True)
class Decision:
    """Keep or drop; for a drop the rule, the value measured and the threshold it missed."""

    keep: bool
    rule: Rule = Rule.KEPT
    value: float | None = None
    threshold: float | None = None


KEEP = Decision(True)
_FAILS: dict[str, Callable[[Any, Any], Any]] = {"min": operator.lt, "max": operator.gt, "below": operator.ge}


@dataclass(frozen=True, slots=True)
class QualityRule:
    """Drop by one metric.

    Attributes:
        bound: min: what is less than the threshold is dropped; max: what is more; below: what is as much or more.
        threshold: a `QualityConfig` field, or a number.
        asked_if: the `QualityConfig` field and its value under which the rule is asked; always, when None.
    """

    rule: Rule
    metric: str
    bound: Literal["min", "max", "below"]
    threshold: str | float
    asked_if: tuple[str, str] | None = None

    def is_asked(self, config: QualityConfig) -> bool:
        return self.asked_if is None or getattr(config, self.asked_if[0]) == self.asked_if[1]

    def threshold_in(self, config: QualityConfig) -> float:
        return getattr(config, self.threshold) if isinstance(self.threshold, str) else self.threshold

    def refuses(self, value: Any, config: QualityConfig) -> Any:
        """Whether a value is dropped, or for an array of values which; False where the rule is not asked.

        A value that was not measured, None or NaN, is not refused.
        """
        if value is None:
            return False
        return _FAILS[self.bound](value, self.threshold_in(config)) & self.is_asked(config)


_SWALLOW_LETTERS, _FULL_LETTERS = ("japanese_letters", "swallow"), ("japanese_letters", "full")
_SWALLOW_SENTENCES, _PROSE = ("sentences", "swallow"), ("sentences", "prose")
_DISTINCT, _OCCURRENCES = ("ngram_duplication", "distinct"), ("ngram_duplication", "occurrences")


def _max_rule(rule: Rule, metric: str, asked_if: tuple[str, str] | None = None) -> QualityRule:
    """A metric that has a threshold of its own name."""
    return QualityRule(rule, metric, "max", f"max_{metric}", asked_if)


QUALITY_RULES = (
    QualityRule(Rule.TOO_FEW_LETTERS, "num_letters", "min", "min_letters"),
    QualityRule(Rule.TOO_FEW_JAPANESE_LETTERS, "num_japanese_letters", "min", "min_japanese_letters", _SWALLOW_LETTERS),
    QualityRule(
        Rule.TOO_FEW_JAPANESE_LETTERS, "num_full_japanese_letters", "min", "min_japanese_letters", _FULL_LETTERS
    ),
    QualityRule(Rule.NO_SENTENCE, "num_sentences", "min", 1),
    _max_rule(Rule.DUPLICATE_PARAGRAPHS, "duplicate_paragraph_fraction"),
    _max_rule(Rule.DUPLICATE_PARAGRAPH_CHARACTERS, "duplicate_paragraph_character_fraction"),
    _max_rule(Rule.DUPLICATE_SENTENCES, "duplicate_sentence_fraction"),
    _max_rule(Rule.DUPLICATE_SENTENCE_CHARACTERS, "duplicate_sentence_character_fraction"),
    *(_max_rule(Rule[f"TOP_{n}GRAM"], f"top_{n}gram_fraction") for n in TOP_SIZES),
    *(_max_rule(Rule[f"DUPLICATE_{n}GRAMS"], f"duplicate_{n}gram_fraction", _DISTINCT) for n in REPEATED_SIZES),
    *(_max_rule(Rule[f"DUPLICATE_{n}GRAMS"], f"repeated_{n}gram_fraction", _OCCURRENCES) for n in REPEATED_SIZES),
    QualityRule(Rule.TOO_LITTLE_HIRAGANA, "hiragana_fraction", "min", "min_hiragana_ratio", _SWALLOW_LETTERS),
    QualityRule(Rule.TOO_LITTLE_HIRAGANA, "full_hiragana_fraction", "min", "min_hiragana_ratio", _FULL_LETTERS),
    QualityRule(Rule.TOO_MUCH_KATAKANA, "katakana_fraction", "max", "max_katakana_ratio", _SWALLOW_LETTERS),
    QualityRule(Rule.TOO_MUCH_KATAKANA, "full_katakana_fraction", "max", "max_katakana_ratio", _FULL_LETTERS),
    QualityRule(Rule.TOO_LITTLE_JAPANESE, "japanese_fraction", "min", "min_japanese_ratio", _SWALLOW_LETTERS),
    QualityRule(Rule.TOO_LITTLE_JAPANESE, "full_japanese_fraction", "min", "min_japanese_ratio", _FULL_LETTERS),
    QualityRule(Rule.TOO_LITTLE_PROSE, "prose_fraction", "min", "min_prose_ratio", _PROSE),
    QualityRule(
        Rule.SENTENCES_TOO_SHORT, "mean_sentence_length", "min", "min_mean_sentence_length", _SWALLOW_SENTENCES
    ),
    QualityRule(Rule.SENTENCES_TOO_SHORT, "prose_sentence_length", "min", "min_mean_sentence_length", _PROSE),
    QualityRule(Rule.SENTENCES_TOO_LONG, "mean_sentence_length", "max", "max_mean_sentence_length"),
    QualityRule(Rule.SENTENCE_TOO_LONG, "longest_sentence_length", "max", "max_sentence_length", _SWALLOW_SENTENCES),
    QualityRule(Rule.SENTENCE_TOO_LONG, "long_sentence_length", "max", "max_sentence_length", _PROSE),
    QualityRule(Rule.TOO_MANY_ELLIPSES, "ellipsis_fraction", "max", "max_ellipsis_ratio"),
    QualityRule(Rule.NG_WORDS, "ng_word_fraction", "below", "max_ng_word_ratio"),
    QualityRule(Rule.LOW_QUALITY_SCORE, "quality_score", "min", "min_quality_score"),
)


def decide(metrics: Metrics, config: QualityConfig) -> Decision:
    """The first rule that a document fails, else keep."""
    return next(failures(metrics, config), KEEP)


def failures(metrics: Metrics, config: QualityConfig) -> Iterator[Decision]:
    """Every rule that a document fails, in order."""
    for rule in QUALITY_RULES:
        value = getattr(metrics, rule.metric)
        if rule.refuses(value, config):
            yield Decision(False, rule.rule, float(value), float(rule.threshold_in(config)))

"""Breaks when a quality rule no longer drops on one side of its threshold and keeps on the other."""

from __future__ import annotations

import pytest

from storage.ledger import Rule
from tasks.curate.config import QualityConfig
from tasks.curate.metrics import measure
from tasks.curate.rules import QUALITY_RULES, QualityRule, decide
from tests.tasks.curate.warc_files import JAPANESE

LENIENT: dict[str, float] = {
    **{name: 0 for name in QualityConfig.model_fields if name.startswith("min_")},
    **{name: 1 for name in QualityConfig.model_fields if name.startswith("max_")},
    "max_sentence_length": 10**9,
    "max_mean_sentence_length": 10**9,
}


def distinct(count: int, start: int = 0) -> str:
    """So many different kanji."""
    return "".join(chr(0x4E00 + start + index) for index in range(count))


def lines(num_distinct: int, num_repeats: int, length: int = 8) -> str:
    """Lines of which the last ones repeat the first."""
    different = [distinct(length, length * index) for index in range(num_distinct)]
    return "\n".join(different + [different[0]] * num_repeats)


def sentences(num_distinct: int, num_repeats: int) -> str:
    return lines(num_distinct, num_repeats).replace("\n", "。") + "。"


def top(n: int, occurrences: int, num_grams: int) -> str:
    """A text of `num_grams` n-grams in which one occurs so often."""
    text = "".join("雲雀鳴春"[:n] + distinct(1, 500 + index) for index in range(occurrences))
    return text + distinct(num_grams + n - 1 - len(text), 600)


def repeated(n: int, num_repeated: int) -> str:
    """A text of 100 distinct n-grams, of which so many occur twice."""
    run = distinct(num_repeated + n - 1, 2000)
    text = run + "、" + run
    return text + distinct(100 + num_repeated + n - 1 - len(text), 3000)


def of_length(*lengths: int) -> str:
    return "\n".join(distinct(length - 1, 300 * index) + "。" for index, length in enumerate(lengths))


def ellipses(count: int) -> str:
    return "\n".join(distinct(5, 5 * index) + ("…" if index < count else "。") for index in range(10))


# The text that is kept, the text that is dropped; each just on its side of the default threshold.
SIDES: dict[Rule, tuple[str, str]] = {
    Rule.TOO_FEW_LETTERS: ("あ" * 400, "あ" * 399),
    Rule.TOO_FEW_JAPANESE_LETTERS: ("あ" * 400 + "ab", "あ" * 399 + "abc"),
    Rule.NO_SENTENCE: ("雲。", "！？。"),
    Rule.DUPLICATE_PARAGRAPHS: (lines(7, 3), lines(6, 4)),
    Rule.DUPLICATE_PARAGRAPH_CHARACTERS: (lines(8, 2), lines(7, 3)),
    Rule.DUPLICATE_SENTENCES: (sentences(7, 3), sentences(6, 4)),
    Rule.DUPLICATE_SENTENCE_CHARACTERS: (sentences(8, 2), sentences(7, 3)),
    Rule.TOP_2GRAM: (top(2, 10, 50), top(2, 11, 50)),
    Rule.TOP_3GRAM: (top(3, 9, 50), top(3, 10, 50)),
    Rule.TOP_4GRAM: (top(4, 8, 50), top(4, 9, 50)),
    Rule.DUPLICATE_5GRAMS: (repeated(5, 15), repeated(5, 16)),
    Rule.DUPLICATE_6GRAMS: (repeated(6, 14), repeated(6, 15)),
    Rule.DUPLICATE_7GRAMS: (repeated(7, 13), repeated(7, 14)),
    Rule.DUPLICATE_8GRAMS: (repeated(8, 12), repeated(8, 13)),
    Rule.DUPLICATE_9GRAMS: (repeated(9, 11), repeated(9, 12)),
    Rule.DUPLICATE_10GRAMS: (repeated(10, 10), repeated(10, 11)),
    Rule.TOO_LITTLE_HIRAGANA: ("あ" * 20 + "漢" * 80, "あ" * 19 + "漢" * 81),
    Rule.TOO_MUCH_KATAKANA: ("ア" * 50 + "漢" * 50, "ア" * 51 + "漢" * 49),
    Rule.TOO_LITTLE_JAPANESE: ("あ" * 50 + "a" * 50, "あ" * 49 + "a" * 51),
    Rule.SENTENCES_TOO_SHORT: (of_length(*[20] * 10), of_length(19, *[20] * 9)),
    Rule.SENTENCES_TOO_LONG: (of_length(90, 90), of_length(90, 91)),
    Rule.SENTENCE_TOO_LONG: (of_length(200, 30), of_length(201, 30)),
    Rule.TOO_MANY_ELLIPSES: (ellipses(2), ellipses(3)),
}


def test_plain_japanese_is_kept_by_every_rule() -> None:
    assert decide(measure(JAPANESE), QualityConfig()).keep


def test_every_rule_has_its_two_texts() -> None:
    assert list(SIDES) == [rule.rule for rule in QUALITY_RULES]
    thresholds = {rule.threshold for rule in QUALITY_RULES if isinstance(rule.threshold, str)}
    assert thresholds == set(QualityConfig.model_fields)


@pytest.mark.parametrize("rule", QUALITY_RULES, ids=lambda rule: rule.rule.label)
def test_just_each_side_of_the_threshold(rule: QualityRule) -> None:
    settings = dict(LENIENT)
    if isinstance(rule.threshold, str):
        settings[rule.threshold] = getattr(QualityConfig(), rule.threshold)
    config = QualityConfig.model_validate(settings)
    kept, dropped = (measure(text) for text in SIDES[rule.rule])
    assert decide(kept, config).keep
    decision = decide(dropped, config)
    assert (decision.keep, decision.rule) == (False, rule.rule)
    assert decision.value == getattr(dropped, rule.metric)
    assert decision.threshold == settings.get(str(rule.threshold), 1)


def test_the_first_rule_that_fails_is_the_reason() -> None:
    decision = decide(measure("abc"), QualityConfig())
    assert (decision.rule, decision.value, decision.threshold) == (Rule.TOO_FEW_LETTERS, 3, 400)

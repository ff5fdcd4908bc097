"""Breaks when a quality rule no longer drops on one side of its threshold and keeps on the other."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from storage.ledger import Rule
from tasks.curate.config import CurateConfig
from tasks.curate.metrics import Metrics, measure
from tasks.curate.ngwords import NgWords
from tasks.curate.quality_config import QualityConfig
from tasks.curate.rules import QUALITY_RULES, QualityRule, decide, failures
from tests.tasks.curate.made_up_texts import NG_WORD, families, letters, repeated_ngrams, sentences, take
from tests.tasks.curate.warc_files import JAPANESE

PROFILES: dict[str, QualityConfig] = {
    profile: CurateConfig.model_validate({"sources": ["a.warc.gz"], "profile": profile}).quality
    for profile in ("hibari", "swallow-v1")
}
ASKED = [
    pytest.param(profile, rule, id=f"{profile} {rule.metric} {rule.bound}")
    for profile, config in PROFILES.items()
    for rule in QUALITY_RULES
    if rule.is_asked(config)
]
WORDS = NgWords([NG_WORD])
# What cannot fail without another rule failing with it.
IMPLIED: dict[Rule, set[Rule]] = {
    # Japanese letters are letters.
    Rule.TOO_FEW_LETTERS: {Rule.TOO_FEW_JAPANESE_LETTERS},
    # Where no sentence is, there is nothing but sentence ends.
    Rule.NO_SENTENCE: set(Rule),
    # A paragraph that occurs again is sentences that occur again, with all their letters and n-grams.
    Rule.DUPLICATE_PARAGRAPH_CHARACTERS: {Rule.DUPLICATE_SENTENCE_CHARACTERS},
}


def first_over(family: Callable[[int], str], fails: Callable[[str], bool]) -> int:
    """The smallest number whose text fails."""
    low, high = 0, 1
    while not fails(family(high)):
        low, high = high, 2 * high
        assert high < 1 << 14, "no text of this family fails"
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(family(middle)) else (middle, high)
    return high


@pytest.mark.parametrize(("profile", "rule"), ASKED)
def test_texts_on_each_side_of_the_threshold(profile: str, rule: QualityRule) -> None:
    """The one just inside passes every rule, the one just outside fails this one alone."""
    config = PROFILES[profile]
    if rule.rule == Rule.LOW_QUALITY_SCORE:
        strict = config.model_copy(update={"min_quality_score": 0.5})
        assert decide(measure(JAPANESE, quality_score=0.5), strict).keep
        assert [each.rule for each in failures(measure(JAPANESE, quality_score=0.49), strict)] == [rule.rule]
        return

    def fails(text: str) -> bool:
        return bool(rule.refuses(getattr(measure(text, WORDS), rule.metric), config))

    family = families()[rule.rule]
    number = first_over(family, fails)
    inside, outside = (measure(family(each), WORDS) for each in (number - 1, number))
    assert list(failures(inside, config)) == []
    failing = {each.rule for each in failures(outside, config)}
    assert rule.rule in failing
    assert failing <= {rule.rule} | IMPLIED.get(rule.rule, set())
    decision = decide(outside, config)
    assert (decision.keep, decision.rule) == (False, rule.rule)
    assert (decision.value, decision.threshold) == (getattr(outside, rule.metric), rule.threshold_in(config))


@pytest.mark.parametrize(("profile", "rule"), ASKED)
def test_the_exact_threshold(profile: str, rule: QualityRule) -> None:
    """As the released code compares: equal is kept, except for NG words."""
    config = PROFILES[profile].model_copy(update={"min_quality_score": 0.5})
    plain = measure(JAPANESE, quality_score=1)
    threshold = rule.threshold_in(config)
    over = math.nextafter(threshold, -math.inf if rule.bound == "min" else math.inf)

    def refused(value: float) -> list[Rule]:
        return [each.rule for each in failures(replace(plain, **{rule.metric: value}), config)]  # type: ignore[arg-type]

    assert (rule.rule in refused(threshold)) == (rule.bound == "below")
    assert rule.rule in refused(over)
    assert rule.rule not in refused(threshold - 1e-9 if rule.bound != "min" else threshold + 1e-9)
    assert (rule.bound == "below") == (rule.rule == Rule.NG_WORDS)


@pytest.mark.parametrize("profile", PROFILES)
def test_plain_japanese_is_kept_by_every_rule(profile: str) -> None:
    assert decide(measure(JAPANESE), PROFILES[profile]).keep


def test_every_threshold_is_asked_for() -> None:
    asked = {rule.threshold for rule in QUALITY_RULES if isinstance(rule.threshold, str)}
    choices = {rule.asked_if[0] for rule in QUALITY_RULES if rule.asked_if}
    assert asked | choices | {"ng_words"} == set(QualityConfig.model_fields)
    assert {rule.metric for rule in QUALITY_RULES} <= set(Metrics.__dataclass_fields__)


@pytest.mark.parametrize("profile", PROFILES)
def test_each_rule_is_asked_once(profile: str) -> None:
    asked = [rule.rule for rule in QUALITY_RULES if rule.is_asked(PROFILES[profile])]
    assert len(asked) == len(set(asked))
    expected = {rule for rule in Rule if Rule.TOO_FEW_LETTERS <= rule <= Rule.TOO_LITTLE_PROSE}
    assert set(asked) == expected - ({Rule.TOO_LITTLE_PROSE} if profile == "swallow-v1" else set())


def test_the_first_rule_that_fails_is_the_reason() -> None:
    decision = decide(measure("abc"), QualityConfig())
    assert (decision.rule, decision.value, decision.threshold) == (Rule.TOO_FEW_LETTERS, 3, 400)


def test_what_was_not_measured_is_not_refused() -> None:
    rule = next(rule for rule in QUALITY_RULES if rule.rule == Rule.LOW_QUALITY_SCORE)
    config = QualityConfig(min_quality_score=0.5)
    assert not rule.refuses(None, config)
    assert rule.refuses(np.array([0.4, np.nan, 0.5]), config).tolist() == [True, False, False]


@pytest.mark.parametrize("profile", PROFILES)
def test_arrays_are_refused_as_their_values_are(profile: str) -> None:
    config = PROFILES[profile]
    texts = [JAPANESE, JAPANESE[:300], JAPANESE[:40] * 20, "abc", ""]
    measured = [measure(text) for text in texts]
    for rule in QUALITY_RULES:
        values = [getattr(metrics, rule.metric) for metrics in measured]
        array = np.array(values, float)
        assert rule.refuses(array, config).tolist() == [bool(rule.refuses(value, config)) for value in values]


def headed() -> str:
    """A manual: a short heading over each sentence."""
    return "\n".join(f"項目{number}\n{sentence}" for number, sentence in enumerate(sentences(letters(), 20, 30)))


def novel() -> str:
    """Sixty sentences, one of them long."""
    source = letters()
    return "\n".join(sentences(source, 30) + sentences(source, 1, 210) + sentences(source, 30))


def manual_of_terms() -> str:
    """Prose full of foreign terms, in katakana with long vowels and in Latin letters."""
    source, latin, vowels = letters(), random.Random(1), "ーー"
    terms = ["".join(latin.choice("bcdfghjklmnpqrstvwxyz") for _ in range(19)) for _ in range(40)]
    return "\n".join(f"{take(source, 8)}{vowels}{take(source, 8)}{vowels}、{term}。" for term in terms)


def names() -> str:
    """Prose about people whose names have kanji outside the BMP."""
    source, latin = letters(), random.Random(2)
    rare = [chr(latin.randrange(0x20000, 0x2A000)) for _ in range(240)]
    terms = ["".join(latin.choice("bcdfghjklmnpqrstvwxyz") for _ in range(19)) for _ in range(60)]
    return "\n".join(
        f"{''.join(rare[4 * index : 4 * index + 4])}{take(source, 15)}、{term}。" for index, term in enumerate(terms)
    )


def advertisement() -> str:
    """Many wares under the same words."""
    source, slogan = letters(), "本日限り全品送料無料の特別価格で好評販売中ですから今すぐ"
    return "\n".join(slogan + sentence for sentence in sentences(source, 40, 30))


def contents() -> str:
    """Chapters of a book, each long enough for a sentence."""
    source = letters()
    return "\n".join(f"第{number}章　{take(source, 24)}" for number in range(40))


def refused(text: str, profile: str) -> set[Rule]:
    return {each.rule for each in failures(measure(text), PROFILES[profile])}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param(headed(), Rule.SENTENCES_TOO_SHORT, id="headings between sentences"),
        pytest.param(novel(), Rule.SENTENCE_TOO_LONG, id="one long sentence in a novel"),
        pytest.param(repeated_ngrams(5)(170), Rule.DUPLICATE_5GRAMS, id="terms that come twice"),
        pytest.param(manual_of_terms(), Rule.TOO_LITTLE_JAPANESE, id="long vowels"),
        pytest.param(names(), Rule.TOO_LITTLE_JAPANESE, id="kanji outside the BMP"),
    ],
)
def test_only_the_recipe_drops(text: str, rule: Rule) -> None:
    assert refused(text, "swallow-v1") == {rule}
    assert refused(text, "hibari") == set()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param(contents(), Rule.TOO_LITTLE_PROSE, id="table of contents"),
        pytest.param(advertisement(), Rule.DUPLICATE_10GRAMS, id="one slogan forty times"),
    ],
)
def test_only_ours_drops(text: str, rule: Rule) -> None:
    assert refused(text, "swallow-v1") == set()
    assert rule in refused(text, "hibari")

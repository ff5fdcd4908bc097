"""Breaks when a profile overrides the run file, or a setting that decides bytes leaves the fingerprint."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.curate.config import CurateConfig, LanguageConfig

SOURCES = ["a.warc.gz"]


def test_profiles_fill_what_is_left_out_and_nothing_else() -> None:
    assert CurateConfig(sources=SOURCES).extractor == "resiliparse"
    assert CurateConfig(sources=SOURCES).japanese_lines.enabled
    swallow = CurateConfig(sources=SOURCES, profile="swallow-v1")
    assert swallow.extractor == "trafilatura"
    assert not swallow.japanese_lines.enabled
    mixed = CurateConfig.model_validate(
        {
            "sources": SOURCES,
            "profile": "swallow-v1",
            "extractor": "resiliparse",
            "japanese_lines": {"enabled": True, "min_kana_ratio": 0.2},
            "quality": {"min_letters": 200},
        }
    )
    assert mixed.extractor == "resiliparse"
    assert (mixed.japanese_lines.enabled, mixed.japanese_lines.min_kana_ratio) == (True, 0.2)
    assert (mixed.quality.min_letters, mixed.quality.min_japanese_letters) == (200, 400)
    partly = CurateConfig.model_validate(
        {"sources": SOURCES, "profile": "swallow-v1", "japanese_lines": {"min_kana_ratio": 0.2}}
    )
    assert not partly.japanese_lines.enabled


def test_profiles_choose_the_metrics() -> None:
    ours = CurateConfig(sources=SOURCES).quality
    assert (ours.japanese_letters, ours.ngram_duplication, ours.sentences) == ("full", "occurrences", "prose")
    swallow = CurateConfig.model_validate(
        {"sources": SOURCES, "profile": "swallow-v1", "quality": {"sentences": "prose", "min_letters": 200}}
    ).quality
    assert (swallow.japanese_letters, swallow.ngram_duplication) == ("swallow", "distinct")
    assert (swallow.sentences, swallow.min_letters) == ("prose", 200)
    assert swallow.ng_words.files == ours.ng_words.files == ["builtin"]


def test_what_was_validated_validates_to_itself() -> None:
    for profile in ("hibari", "swallow-v1"):
        config = CurateConfig(sources=SOURCES, profile=profile)
        assert CurateConfig.model_validate(config.model_dump()) == config


def test_mistakes_are_all_reported_with_their_place() -> None:
    with pytest.raises(ValidationError) as caught:
        CurateConfig.model_validate(
            {
                "sources": [],
                "profile": "swallow",
                "quality": {"min_leters": 3, "max_ellipsis_ratio": 1.2},
                "language": {"method": "fasttext"},
            }
        )
    places = {".".join(map(str, error["loc"])) for error in caught.value.errors()}
    assert places == {"sources", "profile", "quality.min_leters", "quality.max_ellipsis_ratio", "language"}
    assert "language.model: the path of lid.176.ftz" in str(caught.value)


def test_each_language_method_has_its_own_threshold_and_model() -> None:
    assert (LanguageConfig().model, LanguageConfig().min_score) == ("builtin", 0)
    fasttext = LanguageConfig(method="fasttext", model="lid.176.ftz")
    assert fasttext.min_score == 0.5
    script = LanguageConfig(method="script")
    assert (script.model, script.min_score) == (None, 0.3)
    assert LanguageConfig(method="script", min_score=0.4).min_score == 0.4
    for config in (LanguageConfig(min_score=-7.5), fasttext, script):
        assert LanguageConfig.model_validate(config.model_dump()) == config
    for profile in ("hibari", "swallow-v1"):
        assert CurateConfig(sources=SOURCES, profile=profile).language == LanguageConfig()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "fasttext"}, "lid.176.ftz"),
        ({"method": "fasttext", "model": "builtin"}, "lid.176.ftz"),
        ({"model": None}, "builtin, or the path of a model"),
        ({"method": "script", "model": "lid.176.ftz"}, "takes no language.model"),
        ({"method": "script", "min_score": 2}, "0 to 1, got 2"),
        ({"method": "kana"}, "ngram"),
    ],
)
def test_language_settings_that_do_not_fit_together(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        LanguageConfig.model_validate(settings)

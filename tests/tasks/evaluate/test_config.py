from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.evaluate.config import ContaminationConfig, EvaluateConfig


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"window": 64, "stride": 65}, "would not be scored"),
        ({"profile": "swallow-2024"}, "swallow-2023"),
        ({"tasks": ["jsquat"]}, "jsquad"),
        ({"files": {"jsquat": {"items": ["valid.json"]}}}, "files names jsquat, which is no benchmark"),
        ({"files": {"hibari_probe": {"items": ["probe.jsonl"]}}}, "files names hibari_probe"),
        ({"backend": "vllm", "processes": 2}, "processes is 2"),
        ({"limit": 0}, "limit"),
        ({"tasks": []}, "at least 1"),
        ({"tasks": ["bits_per_byte", "bits_per_byte"]}, "twice"),
        ({"skip_models": ["base"]}, "initialized"),
        ({"batchsize": 4}, "Extra inputs"),
    ],
)
def test_a_mistake_is_refused_with_what_was_expected(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        EvaluateConfig(**fields)


def test_every_field_says_what_it_is() -> None:
    assert all(field.description for field in EvaluateConfig.model_fields.values())


def test_without_benchmarks_the_literals_are_those_of_before_there_were_any() -> None:
    """A field more would make every evaluation there is stale."""
    assert EvaluateConfig(processes=4, limit=9, data="data", contamination={"ngram": 13}).literals == {
        "tasks": ["bits_per_byte", "hibari_probe"],
        "profile": "strict",
        "max_bytes": 40_000,
        "max_document_bytes": 8_192,
        "window": 512,
        "stride": 384,
        "batch_size": 4,
        "dtype": "fp32",
        "resamples": 1_000,
        "confidence": 0.95,
        "skip_models": [],
        "skip_probe": ["initialized"],
    }


def test_with_benchmarks_neither_places_nor_how_it_runs_are_literals() -> None:
    asked = EvaluateConfig(tasks=["jsquad"], data="here", profile="both")
    moved = {
        "data": "there",
        "files": {"jsquad": {"items": ["a.json"]}},
        "prompts": "p",
        "batch_size": 9,
        "processes": 2,
        "skip_unprompted": True,
    }
    assert EvaluateConfig(tasks=["jsquad"], profile="both", **moved).literals == asked.literals
    searched = ContaminationConfig(ngram=13)
    for change in ({"limit": 5}, {"max_length": 512}, {"skip_benchmarks": []}, {"contamination": searched}):
        assert asked.model_copy(update=change).literals != asked.literals, change


def test_profiles_and_benchmarks() -> None:
    config = EvaluateConfig(tasks=["hibari_probe", "jsquad", "gsm8k"], profile="both")
    assert config.benchmarks == ("jsquad", "gsm8k")
    assert config.profiles == ("strict", "swallow-2023")
    assert EvaluateConfig().profiles == ("strict",)

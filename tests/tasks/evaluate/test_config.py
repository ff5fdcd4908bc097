from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.evaluate.config import EvaluateConfig


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"window": 64, "stride": 65}, "would not be scored"),
        ({"profile": "swallow-2023"}, "strict"),
        ({"tasks": ["jsquad"]}, "bits_per_byte"),
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

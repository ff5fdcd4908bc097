"""The run file's sources."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.binarize.config import BinarizeConfig, SourceConfig


def test_a_run_file_as_documented() -> None:
    corpus = SourceConfig(name="corpus", language="ja", weight=0.9)
    web = SourceConfig(name="web-en", language="en", weight=0.1, documents=["../shared/data/text/en.jsonl.gz"])
    assert (corpus.documents, web.weight) == (None, 0.1)
    assert 0 < BinarizeConfig().validation_ratio < 0.1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "corpus", "documents": ["a.jsonl"]}, "'corpus' is what this run curates"),
        ({"name": "web"}, "'web' needs `documents`"),
        ({"name": "web", "documents": []}, "at least 1 item"),
        ({"name": "../web", "documents": ["a"]}, "match pattern"),
        ({"name": "web", "documents": ["a"], "weight": 0}, "greater than 0"),
        ({"name": "web", "documents": ["a"], "weight": float("nan")}, "finite number|greater than 0"),
        ({"name": "web", "documents": ["a"], "language": "Japanese"}, "match pattern"),
        ({"name": "web", "documents": ["a"], "wieght": 1}, "Extra inputs"),
    ],
)
def test_mistakes_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SourceConfig(**{"language": "ja", "weight": 1.0, **fields})


@pytest.mark.parametrize("ratio", [0, -0.1, 0.6])
def test_ratios_that_leave_nothing(ratio: float) -> None:
    with pytest.raises(ValidationError):
        BinarizeConfig(validation_ratio=ratio)

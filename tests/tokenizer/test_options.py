"""The run file's sections and the domain's options are the same fields with the same defaults."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from pydantic import ValidationError

from tasks.expand.config import ExpandConfig
from tasks.initialize.config import InitializeConfig, RandomBase, RandomModelConfig
from tokenizer.expansion import ExpandOptions
from tokenizer.random_model import RandomModel


def test_the_sections_fit_the_options() -> None:
    assert ExpandConfig(base="x").model_dump(exclude={"base", "licence"}) == asdict(ExpandOptions())
    assert RandomModelConfig().model_dump() == asdict(RandomModel())


def test_the_run_files_example_is_read() -> None:
    config = InitializeConfig.model_validate({"base_model": {"random": {"hidden_size": 256, "num_layers": 4}}})
    assert isinstance(config.base_model, RandomBase)
    assert RandomModel(**config.base_model.random.model_dump()).intermediate == 704
    assert InitializeConfig(base_model="folder").base_model == "folder"


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"hidden_size": 100, "num_heads": 3}, "multiple of 2 x num_heads"),
        ({"num_heads": 4, "num_kv_heads": 3}, "multiple of num_kv_heads"),
        ({"hidden_sizes": 8}, "Extra inputs"),
    ],
)
def test_sizes_that_cannot_be_are_refused(section: dict[str, int], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        InitializeConfig.model_validate({"base_model": {"random": section}})

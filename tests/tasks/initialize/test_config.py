"""The `initialize` section: which settings decide something, and what the options of the domain code are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from tasks.initialize.config import Combination, InitializeConfig
from tokenizer import new_rows
from tokenizer.new_rows import RowOptions


def config(**values: Any) -> InitializeConfig:
    return InitializeConfig.model_validate({"base_model": "folder"} | values)


RANDOM = {"random": {"hidden_size": 32}}


def test_its_fields_and_defaults_are_the_domain_codes() -> None:
    assert config(output_shift="none").row_options == asdict(RowOptions())
    assert get_args(Combination) == get_args(new_rows.Combination)


def test_shifts_are_words_or_numbers() -> None:
    assert config(output_shift="frequency").output_shift == "frequency"
    assert config(output_shift=-3).output_shift == -3.0
    with pytest.raises(ValidationError):
        config(output_shift="improbable")
    with pytest.raises(ValidationError):
        config(new_rows="sum")


def test_logits_are_shifted_where_there_is_a_base_to_calibrate_on() -> None:
    assert config().shift == "frequency"
    assert config(base_model=RANDOM).shift == "none"
    assert config(base_model=RANDOM, output_shift="none").shift == "none"
    with pytest.raises(ValidationError, match="a random base has nothing to calibrate on"):
        config(base_model=RANDOM, output_shift="frequency")


@pytest.mark.parametrize(
    ("shift", "calibrated", "without_effect"),
    [
        ("none", False, {"frequency_share", "calibration_tokens"}),
        (0, False, {"frequency_share", "calibration_tokens"}),
        (-2.5, True, {"frequency_share"}),
        ("share", True, {"frequency_share"}),
        ("frequency", True, set()),
    ],
)
def test_settings_that_decide_nothing_are_left_out(shift: Any, calibrated: bool, without_effect: set[str]) -> None:
    chosen = config(output_shift=shift)
    assert chosen.calibrated is RowOptions(output_shift=shift).calibrated is calibrated
    assert chosen.row_options.keys() - chosen.literals.keys() == without_effect


def test_only_random_rows_draw() -> None:
    assert not config(new_rows="leading", new_output_rows="mean").draws
    assert config(new_output_rows="random").draws
    assert config(new_rows="random").draws

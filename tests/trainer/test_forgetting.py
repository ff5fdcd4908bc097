"""The source language may not become worse than it was by more than what is allowed."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import pytest

from trainer.config import ForgettingGuard as ForgettingConfig
from trainer.forgetting import ForgettingGuard
from trainer.spikes import Verdict


def guard(**changes: Any) -> ForgettingGuard:
    return ForgettingGuard(ForgettingConfig(**{"action": "stop", "max_rise": 0.05} | changes))


def validation(bits: float | None, loss: float = 2.0, language: str = "en") -> dict[str, dict[str, float | None]]:
    other = "ja" if language == "en" else "en"
    return {language: {"loss": loss, "bits_per_byte": bits}, other: {"loss": 9.0, "bits_per_byte": 9.0}}


def test_the_first_validation_is_what_later_ones_are_measured_against() -> None:
    found = guard()
    assert [found.judge(validation(bits)).action for bits in (1.0, 1.04, 0.9, 1.049, 1.06, 1.0)] == [
        "ok", "ok", "ok", "ok", "stop", "ok"
    ]  # fmt: skip


def test_the_verdict_says_how_much_and_what_to_do() -> None:
    found = guard(action="warn")
    found.judge(validation(1.0123))
    verdict = found.judge(validation(1.1))
    assert verdict == Verdict("warn", verdict.reason, {"bits_per_byte": 1.0123})
    assert "en validation is at 1.1000 bits per byte, 0.0877 above the 1.0123 it began with" in verdict.reason
    assert "max_rise allows 0.05. Raise the weight of its sources, or lower train.lr" in verdict.reason


def test_losses_stand_in_where_bytes_are_not_known() -> None:
    found = guard()
    found.judge({"en": {"loss": 2.0}})
    verdict = found.judge({"en": {"loss": 2.06}})
    assert verdict.action == "stop"
    assert "2.0600 nats per token" in verdict.reason


def test_only_its_own_language_counts() -> None:
    found = guard(language="ja")
    found.judge(validation(1.0, language="ja"))
    assert found.judge({"ja": {"bits_per_byte": 1.0, "loss": 2.0}, "en": {"bits_per_byte": 99.0, "loss": 9.0}}) == (
        Verdict(usual={"bits_per_byte": 1.0})
    )


def test_a_validation_that_is_not_a_number_has_forgotten() -> None:
    found = guard()
    found.judge(validation(1.0))
    assert found.judge(validation(math.nan)).action == "stop"


def test_off_and_a_language_that_is_not_validated_guard_nothing(caplog: pytest.LogCaptureFixture) -> None:
    off = guard(action="off")
    assert [off.judge(validation(bits)) for bits in (1.0, 5.0)] == [Verdict()] * 2
    with caplog.at_level(logging.WARNING):
        assert guard(language="fr").judge(validation(1.0)) == Verdict()
    assert "no validation of 'fr', only of en, ja; nothing is guarded" in caplog.text


def test_a_restored_guard_measures_against_the_same_and_still_refuses() -> None:
    """A run that was stopped is not let go on by starting it again, but is by a higher bound."""
    found = guard()
    found.judge(validation(1.0))
    stopped = found.judge(validation(1.2))
    state = json.loads(json.dumps(found.state()))
    again = guard()
    assert again.verdict() == Verdict()
    again.restore(state)
    assert again.verdict() == stopped
    assert again.judge(validation(1.03)).action == "ok"
    patient = guard(max_rise=0.3)
    patient.restore(state)
    assert patient.verdict().action == "ok"


def test_a_checkpoint_without_the_guards_state_takes_the_next_validation_as_the_first() -> None:
    found = guard()
    found.restore({})
    assert found.judge(validation(3.0)).action == "ok"
    assert found.judge(validation(3.1)).action == "stop"

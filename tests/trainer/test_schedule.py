"""The rate of a step depends on the step and the configuration alone."""

from __future__ import annotations

import pytest

from tests.trainer.ranks import tiny_config
from trainer.schedule import learning_rate

CONFIG = tiny_config(lr=1e-4, min_lr=3.3e-6, warmup_steps=10)


def test_warm_up_rises_evenly_and_the_first_step_already_trains() -> None:
    assert [learning_rate(step, CONFIG, 100) for step in (1, 5, 10)] == pytest.approx([1e-5, 5e-5, 1e-4])


def test_cosine_passes_the_middle_and_ends_at_the_minimum() -> None:
    assert learning_rate(55, CONFIG, 100) == pytest.approx((1e-4 + 3.3e-6) / 2)
    assert learning_rate(100, CONFIG, 100) == pytest.approx(3.3e-6)
    assert learning_rate(101, CONFIG, 100) == pytest.approx(3.3e-6)


def test_no_warm_up_starts_at_the_peak() -> None:
    config = tiny_config(lr=1e-4, min_lr=0.0, warmup_steps=0)
    assert learning_rate(1, config, 10**6) == pytest.approx(1e-4)

"""The rate of a step depends on the step and the configuration alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest

from tests.trainer.ranks import tiny_config
from trainer.config import TrainConfig
from trainer.schedule import decay_steps, learning_rate

CONFIG = tiny_config(lr=1e-4, min_lr=3.3e-6, warmup_steps=10)


def rates(config: TrainConfig, num_steps: int) -> list[float]:
    return [learning_rate(step, config, num_steps) for step in range(1, num_steps + 1)]


def test_warm_up_rises_evenly_and_the_first_step_already_trains() -> None:
    assert [learning_rate(step, CONFIG, 100) for step in (1, 5, 10)] == pytest.approx([1e-5, 5e-5, 1e-4])


def test_cosine_passes_the_middle_and_ends_at_the_minimum() -> None:
    assert learning_rate(55, CONFIG, 100) == pytest.approx((1e-4 + 3.3e-6) / 2)
    assert learning_rate(100, CONFIG, 100) == pytest.approx(3.3e-6)
    assert learning_rate(101, CONFIG, 100) == pytest.approx(3.3e-6)


def test_no_warm_up_starts_at_the_peak() -> None:
    config = tiny_config(lr=1e-4, min_lr=0.0, warmup_steps=0)
    assert learning_rate(1, config, 10**6) == pytest.approx(1e-4)


@pytest.mark.parametrize(("lr", "min_lr"), [(1e-4, 3.3e-6), (5e-5, 1.6e-6)])
def test_swallows_rates(lr: float, min_lr: float) -> None:
    """1,000 of 25,000 iterations of warm-up; 7B and 13B, then 70B."""
    config = TrainConfig(lr=lr, min_lr=min_lr)
    assert config.warmup_steps == 1000
    at = {step: learning_rate(step, config, 25_000) for step in (500, 1000, 13_000, 25_000)}
    assert at == pytest.approx({500: lr / 2, 1000: lr, 13_000: (lr + min_lr) / 2, 25_000: min_lr})


def test_constant_stays_at_the_peak() -> None:
    config = CONFIG.model_copy(update={"schedule": "constant"})
    assert rates(config, 100)[9:] == [1e-4] * 91


@pytest.mark.parametrize(
    ("decay", "half_way"),
    [("linear", 0.5), ("cosine", 0.5), ("one_minus_sqrt", 1 - math.sqrt(0.5))],
)
def test_wsd_holds_the_peak_and_decays_in_its_last_steps(decay: str, half_way: float) -> None:
    config = CONFIG.model_copy(update={"schedule": "wsd", "decay": decay, "decay_steps": 40})
    found = rates(config, 100)
    assert found[9:60] == [1e-4] * 51
    assert found[60] < 1e-4
    assert found[79] == pytest.approx(3.3e-6 + (1e-4 - 3.3e-6) * half_way)
    assert found[99] == pytest.approx(3.3e-6)


def test_wsd_decays_over_a_tenth_unless_told_otherwise_and_over_no_more_than_warm_up_leaves() -> None:
    assert decay_steps(CONFIG, 250) == 25
    assert decay_steps(CONFIG, 12) == 1
    assert decay_steps(tiny_config(warmup_steps=95), 100) == 5
    assert decay_steps(tiny_config(warmup_steps=98, decay_steps=7), 100) == 2


def test_a_longer_run_has_the_same_rates_until_the_shorter_one_decays() -> None:
    config = CONFIG.model_copy(update={"schedule": "wsd", "decay_steps": 20})
    assert rates(config, 200)[:80] == rates(config, 100)[:80]
    assert rates(config, 200)[80:180] == [1e-4] * 100


def runs(count: int = 300) -> Iterator[tuple[TrainConfig, int]]:
    """Configurations and numbers of steps of all kinds; those of other schedules than wsd ignore the decay."""
    random = Random(7)
    for _ in range(count):
        num_steps = random.randint(2, 400)
        warmup, lr = random.choice([0, num_steps - 1, random.randrange(num_steps)]), 10 ** random.uniform(-6, 0)
        settings = {
            "lr": lr,
            "min_lr": lr * random.choice([0.0, 1.0, random.random()]),
            "warmup_steps": warmup,
            "schedule": random.choice(["cosine", "wsd", "constant"]),
            "decay": random.choice(["linear", "cosine", "one_minus_sqrt"]),
            "decay_steps": random.choice([None, random.randint(1, num_steps - warmup)]),
        }
        yield tiny_config(**settings), num_steps


def test_rates_rise_in_warm_up_never_after_it_and_end_where_they_should() -> None:
    for config, num_steps in runs():
        found, slack = rates(config, num_steps), config.lr * 1e-12
        rising, falling = found[: config.warmup_steps], found[max(0, config.warmup_steps - 1) :]
        assert all(b > a for a, b in pairwise(rising))
        assert all(b <= a + slack for a, b in pairwise(falling))
        assert max(found) <= config.lr + slack
        last = config.lr if config.schedule == "constant" else config.min_lr
        assert found[-1] == pytest.approx(last, abs=slack)
        assert learning_rate(num_steps + 7, config, num_steps) == pytest.approx(last, abs=slack)
        if config.warmup_steps:
            assert found[config.warmup_steps - 1] == pytest.approx(config.lr)


def test_no_step_jumps_further_than_its_shape_is_steep() -> None:
    """The pieces join: a step's change is at most that of the steepest piece."""
    for config, num_steps in runs():
        after = num_steps - config.warmup_steps
        length = {"cosine": after, "constant": num_steps, "wsd": decay_steps(config, num_steps)}[config.schedule]
        shape = config.decay if config.schedule == "wsd" else "cosine"
        steepest = {"linear": 1 / length, "cosine": math.pi / 2 / length, "one_minus_sqrt": length**-0.5}[shape]
        allowed = config.lr * max(1 / max(1, config.warmup_steps), steepest)
        assert all(abs(b - a) <= allowed * (1 + 1e-9) for a, b in pairwise(rates(config, num_steps)))

"""Spikes are found at once, noise and slow change are left alone, and a restored detector goes on as it would have."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from trainer.config import SpikeGuard
from trainer.ending import TrainingRefusedError
from trainer.spikes import SpikeDetector, refuse_too_many

Values = Sequence[float] | np.ndarray


def detector(**changes: Any) -> SpikeDetector:
    return SpikeDetector(SpikeGuard(**{"action": "skip", "window": 64} | changes))


def curve(num_steps: int, seed: int = 0, start: float = 2.4) -> tuple[np.ndarray, np.ndarray]:
    """Losses that fall as in continual pre-training with normal noise of 1 %, norms with log-normal of 15 %."""
    random = np.random.default_rng(seed)
    steps = np.arange(num_steps)
    losses = (1.9 + (start - 1.9) * np.exp(-steps / 300)) * (1 + 0.01 * random.standard_normal(num_steps))
    norms = (0.4 + 0.6 * np.exp(-steps / 100)) * np.exp(0.15 * random.standard_normal(num_steps))
    return losses, norms


def alarms(found: SpikeDetector, losses: Values, norms: Values) -> list[int]:
    pairs = zip(losses, norms, strict=True)
    return [step for step, (loss, norm) in enumerate(pairs) if found.judge(float(loss), float(norm)).action != "ok"]


def test_a_spike_of_the_loss_is_named_with_what_is_usual() -> None:
    losses, norms = curve(200)
    losses[150] = 3.5
    found = detector()
    assert alarms(found, losses[:150], norms[:150]) == []
    verdict = found.judge(losses[150], norms[150])
    assert verdict.action == "skip"
    assert verdict.leaves_out
    assert verdict.usual == {"loss": np.median(losses[86:150]), "grad_norm": np.median(norms[86:150])}
    assert verdict.reason.startswith("loss 3.5 is above 2.")
    assert "gradient" not in verdict.reason
    assert alarms(found, losses[151:], norms[151:]) == []


def test_a_spike_of_the_gradient_alone_is_found_too() -> None:
    losses, norms = curve(200)
    norms[150] = 4.0
    assert alarms(detector(), losses, norms) == [150]
    verdict = detector()
    assert alarms(verdict, losses[:150], norms[:150]) == []
    assert verdict.judge(losses[150], 4.0).reason.startswith("gradient norm 4 is above")


def test_the_bound_is_where_the_formula_puts_it() -> None:
    """Losses 1.0 to 1.6 around a median of 1.3: MAD 0.15, so 6 deviations are 1.334 above."""
    steps = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.3]
    for loss, action in ((1.3 + 6 * 1.4826 * 0.15 - 1e-6, "ok"), (1.3 + 6 * 1.4826 * 0.15 + 1e-6, "skip")):
        found = detector(window=8)
        assert alarms(found, steps, [1.0] * 8) == []
        assert found.judge(loss, 1.0).action == action


def test_a_step_after_a_spike_is_judged_by_what_was_before_it() -> None:
    """Spikes do not enter the window: a long one is found to its end, and does not hide the next."""
    losses, norms = curve(300)
    losses[150:190] *= 1.6
    losses[200] = 4.0
    assert alarms(detector(window=64), losses, norms) == [*range(150, 190), 200]


def test_nothing_is_judged_before_half_a_window_was_seen() -> None:
    found = detector(window=16)
    assert alarms(found, [2, 2.1, 2, 2.1, 2, 9, 2.1], [1] * 7) == []
    assert alarms(found, [2, 2, 2, 9], [1] * 4) == [3]


@pytest.mark.parametrize("rise", [0.2, -0.6])
def test_a_drift_is_no_spike(rise: float) -> None:
    losses, norms = curve(1000, start=1.9)
    assert alarms(detector(), losses * np.linspace(1, 1 + rise, 1000), norms) == []
    assert alarms(detector(), losses, norms * np.linspace(1, 1 + 2 * rise, 1000)) == []


def test_a_flat_curve_does_not_make_noise_a_spike() -> None:
    found = detector()
    assert alarms(found, [2.0] * 100, [0.5] * 100) == []
    assert alarms(found, [2.05], [0.6]) == []
    assert alarms(found, [2.07], [0.6]) == [0]


def test_false_alarms_are_rare() -> None:
    """5 runs of 2,000 steps at the defaults, without any spike."""
    found = [alarms(SpikeDetector(SpikeGuard(action="skip")), *curve(2000, seed)) for seed in range(5)]
    assert sum(map(len, found)) <= 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_left_out_or_stops_the_run(value: float) -> None:
    for action, expected in (("skip", "skip"), ("rewind", "rewind"), ("warn", "stop"), ("off", "stop")):
        verdict = detector(action=action).judge(2.0, value)
        assert (verdict.action, verdict.reason, verdict.usual) == (expected, f"gradient norm is {value}", {})
    assert detector().judge(value, value).reason == f"loss is {value}; gradient norm is {value}"


def test_off_judges_nothing_else() -> None:
    losses, norms = curve(200)
    losses[150] = 50.0
    assert alarms(detector(action="off"), losses, norms) == []


def test_a_new_level_is_learned_where_updates_are_made_all_the_same() -> None:
    """Under `warn`, and only there: a guard that leaves steps out never gets used to them."""
    losses, norms = curve(400)
    losses[200:] += 2
    assert alarms(detector(action="warn"), losses, norms) == list(range(200, 232))
    assert alarms(detector(action="skip"), losses, norms) == list(range(200, 400))


@pytest.mark.parametrize("stopped", [10, 63, 150, 155, 220])
def test_a_restored_detector_goes_on_as_if_it_had_not_stopped(stopped: int) -> None:
    losses, norms = curve(400)
    losses[[150, 300]] = 5.0
    losses[151:160] = 4.0
    undisturbed = [detector(action="warn") for _ in range(2)]
    verdicts = [undisturbed[0].judge(*step) for step in zip(losses, norms, strict=True)]
    for step in zip(losses[:stopped], norms[:stopped], strict=True):
        undisturbed[1].judge(*step)
    restored = detector(action="warn")
    restored.judge(9.0, 9.0)
    restored.restore(json.loads(json.dumps(undisturbed[1].state())))
    again = [restored.judge(*step) for step in zip(losses[stopped:], norms[stopped:], strict=True)]
    assert again == verdicts[stopped:]
    assert restored.state() == undisturbed[0].state()


def test_a_checkpoint_without_the_guards_state_begins_anew() -> None:
    found = detector()
    alarms(found, *curve(100))
    found.restore({})
    assert found.state() == detector().state()


def test_a_run_that_leaves_out_too_much_ends() -> None:
    config = SpikeGuard(action="skip", max_skipped=3)
    refuse_too_many(3, config)
    with pytest.raises(TrainingRefusedError, match=r"4 steps were left out, train.spikes.max_skipped is 3"):
        refuse_too_many(4, config)

"""How many sequences a step takes, and how many the steps before it took: pure functions of the step.

A global batch may grow while training starts: from `start` sequences by `increment` at a time, evenly over the first
`samples` sequences, up to `global_batch` (Megatron-LM's `--rampup-batch-size`, step for step). The position in the data
is then still a function of the step alone, so nothing but the step needs saving. Nothing here imports torch.

Steps are counted from 1, samples from 0. `global_batch` is that of a step of full size; without a ramp, of every step.

    samples_before(step, ramp, global_batch); batch_of(step, ramp, global_batch); step_of(sample, ramp, global_batch)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field


class BatchRamp(BaseModel):
    """A growing global batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: int = Field(ge=1, description="sequences of the first step")
    increment: int = Field(ge=1, description="sequences added at a time; global_batch - start is a multiple of it")
    samples: int = Field(ge=1, description="sequences over which the batch grows")


@dataclass(frozen=True)
class Level:
    """Steps of `batch` sequences each, from `first_step` on, which begins with `first_sample`."""

    batch: int
    first_step: int
    first_sample: int


def levels(ramp: BatchRamp | None, global_batch: int) -> list[Level]:
    """The batch sizes in order, each until the next begins; the last one, of full batches, has no end.

    The ramp's samples are shared out evenly over the sizes below the full one, and a size ends with the first step that
    reaches the end of its share. One whose whole share was used up by the step before is left out.
    """
    found, step, sample = [], 1, 0
    if ramp is not None:
        increments = (global_batch - ramp.start) // ramp.increment
        for number in range(increments):
            batch, end = ramp.start + number * ramp.increment, -(-ramp.samples * (number + 1) // increments)
            if (num_steps := -(-(end - sample) // batch)) > 0:
                found.append(Level(batch, step, sample))
                step, sample = step + num_steps, sample + num_steps * batch
    return [*found, Level(global_batch, step, sample)]


def batch_of(step: int, ramp: BatchRamp | None, global_batch: int) -> int:
    """Sequences of optimizer step `step`."""
    return _last(levels(ramp, global_batch), step, lambda level: level.first_step).batch


def samples_before(step: int, ramp: BatchRamp | None, global_batch: int) -> int:
    """Sequences that steps 1 to `step - 1` take, which is the first sample of `step`."""
    level = _last(levels(ramp, global_batch), step, lambda level: level.first_step)
    return level.first_sample + (step - level.first_step) * level.batch


def steps_for(samples: int, ramp: BatchRamp | None, global_batch: int) -> int:
    """The most steps that need no more than `samples` sequences."""
    level = _last(levels(ramp, global_batch), samples, lambda level: level.first_sample)
    return level.first_step - 1 + (samples - level.first_sample) // level.batch


def step_of(sample: int, ramp: BatchRamp | None, global_batch: int) -> int:
    """The step that reads `sample`."""
    return steps_for(sample, ramp, global_batch) + 1


def _last(levels: list[Level], place: int, begins: Callable[[Level], int]) -> Level:
    """The last level that begins no later than `place`."""
    return levels[bisect_right(levels, place, key=begins) - 1]


def ramp_problems(ramp: BatchRamp, global_batch: int, per_pass: int) -> list[str]:
    """What is wrong with a ramp to `global_batch`, where every batch must be a multiple of `per_pass` sequences."""
    found = []
    if ramp.start >= global_batch or (global_batch - ramp.start) % ramp.increment:
        found.append(
            f"batch_ramp: from {ramp.start} by {ramp.increment} does not reach global_batch {global_batch}; use a "
            f"start below it and an increment that divides the difference"
        )
    if uneven := [name for name in ("start", "increment") if getattr(ramp, name) % per_pass]:
        found.append(
            f"batch_ramp: {' and '.join(uneven)} must be multiples of micro_batch x dp = {per_pass}, so that every "
            f"batch shares out evenly"
        )
    return found

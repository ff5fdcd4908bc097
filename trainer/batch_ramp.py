"""How many sequences a step takes, and how many the steps before it took: pure functions of the step.

A global batch may grow while training starts: from `start` sequences by `increment` at a time, evenly over the first
`samples` sequences, up to `global_batch` (Megatron-LM's `--rampup-batch-size`). The position in the data is then still
a function of the step alone, so nothing but the step needs saving. Nothing here imports torch.

    samples_before(step, ramp, global_batch); batch_of(step, ramp, global_batch); steps_for(samples, ramp, global_batch)
"""

from __future__ import annotations

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
    """`num_steps` steps of `batch` sequences each; the last level, of full batches, has no end (None)."""

    batch: int
    num_steps: int | None


def levels(ramp: BatchRamp | None, global_batch: int) -> list[Level]:
    """Batch sizes in order. A level ends with the first step that reaches its share of `ramp.samples`."""
    found, used = [], 0
    if ramp is not None:
        increments = (global_batch - ramp.start) // ramp.increment
        for number in range(increments):
            batch, end = ramp.start + number * ramp.increment, ramp.samples * (number + 1) // increments
            if (num_steps := -(-(end - used) // batch)) > 0:
                found.append(Level(batch, num_steps))
                used += num_steps * batch
    return [*found, Level(global_batch, None)]


def samples_before(step: int, ramp: BatchRamp | None, global_batch: int) -> int:
    """Sequences that steps 1 to `step - 1` take."""
    left, samples = step - 1, 0
    for level in levels(ramp, global_batch):
        taken = left if level.num_steps is None else min(left, level.num_steps)
        left, samples = left - taken, samples + taken * level.batch
    return samples


def batch_of(step: int, ramp: BatchRamp | None, global_batch: int) -> int:
    """Sequences of optimizer step `step`, counted from 1."""
    return samples_before(step + 1, ramp, global_batch) - samples_before(step, ramp, global_batch)


def steps_for(samples: int, ramp: BatchRamp | None, global_batch: int) -> int:
    """The most steps that need no more than `samples` sequences."""
    steps, left = 0, samples
    for level in levels(ramp, global_batch):
        fit = left // level.batch
        taken = fit if level.num_steps is None else min(fit, level.num_steps)
        steps, left = steps + taken, left - taken * level.batch
        if level.num_steps is None or taken < level.num_steps:
            break
    return steps


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

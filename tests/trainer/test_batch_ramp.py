"""A growing batch is a function of the step: nothing is read twice or left out, under any layout."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from tests.trainer.ranks import run_ranks, tiny_config, tiny_job, train_job
from trainer.batch_ramp import BatchRamp, batch_of, levels, ramp_problems, samples_before, step_of, steps_for
from trainer.data import sample_ids
from trainer.rows import read_rows

RAMP = BatchRamp(start=4, increment=4, samples=100)


def ramps(count: int = 200) -> Iterator[tuple[BatchRamp | None, int]]:
    """Ramps and the full batches that they reach, some so short that sizes are left out; a few are none."""
    random = Random(11)
    for _ in range(count):
        start, increment, increments = random.randint(1, 40), random.randint(1, 20), random.randint(0, 12)
        ramp = BatchRamp(start=start, increment=increment, samples=random.choice([1, 30, random.randint(1, 3000)]))
        yield (ramp if increments else None), start + increments * increment


def megatrons(consumed: int, ramp: BatchRamp, global_batch: int) -> int:
    """The batch of a step after `consumed` samples, as `RampupBatchsizeNumMicroBatchesCalculator` defines it."""
    increments = (global_batch - ramp.start) // ramp.increment
    if consumed >= ramp.samples:
        return global_batch
    return ramp.start + consumed * increments // ramp.samples * ramp.increment


def test_a_ramp_by_hand() -> None:
    """Three sizes below 16 share 100 samples: up to 34, 67 and 100, each to the end of the step that gets there."""
    assert [batch_of(step, RAMP, 16) for step in range(1, 19)] == [4] * 9 + [8] * 4 + [12] * 3 + [16] * 2
    assert samples_before(1, RAMP, 16) == 0
    assert samples_before(10, RAMP, 16) == 36
    assert samples_before(17, RAMP, 16) == 104


def test_without_a_ramp_all_steps_are_alike() -> None:
    assert [batch_of(step, None, 8) for step in (1, 2, 10**9)] == [8, 8, 8]
    assert [samples_before(step, None, 8) for step in (1, 2, 25_001)] == [0, 8, 200_000]
    assert [steps_for(samples, None, 8) for samples in (0, 7, 8, 200_007)] == [0, 0, 1, 25_000]


def test_batches_are_megatrons_and_add_up() -> None:
    for ramp, global_batch in ramps():
        consumed = 0
        for step in range(1, 101):
            assert samples_before(step, ramp, global_batch) == consumed
            batch = batch_of(step, ramp, global_batch)
            assert batch == (megatrons(consumed, ramp, global_batch) if ramp else global_batch)
            consumed += batch


def test_samples_are_found_in_the_step_that_reads_them() -> None:
    random = Random(3)
    for ramp, global_batch in ramps():
        for sample in (0, *(random.randrange(5000) for _ in range(20))):
            step = step_of(sample, ramp, global_batch)
            assert samples_before(step, ramp, global_batch) <= sample < samples_before(step + 1, ramp, global_batch)


def test_steps_for_undoes_samples_before() -> None:
    for ramp, global_batch in ramps():
        for steps in range(0, 100, 3):
            samples = samples_before(steps + 1, ramp, global_batch)
            assert steps_for(samples, ramp, global_batch) == steps
            assert samples == 0 or steps_for(samples - 1, ramp, global_batch) == steps - 1


def test_levels_grow_and_begin_where_those_before_them_end() -> None:
    for ramp, global_batch in ramps():
        found = levels(ramp, global_batch)
        assert (found[0].first_step, found[0].first_sample) == (1, 0)
        assert found[-1].batch == global_batch
        for level, following in pairwise(found):
            assert level.batch < following.batch
            steps = following.first_step - level.first_step
            assert steps >= 1
            assert following.first_sample == level.first_sample + steps * level.batch
        if ramp is not None:  # the step that ends the ramp is the only one that may go beyond it
            assert ramp.samples <= found[-1].first_sample < ramp.samples + global_batch


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_a_ramped_run_reads_every_sample_once_and_the_same_ones_a_step_under_any_layout(micro_batch: int) -> None:
    ramp = BatchRamp(start=8, increment=8, samples=90)
    steps: dict[int, list[list[int]]] = {}
    for dp in (1, 2, 4):
        config = tiny_config(global_batch=32, batch_ramp=ramp, micro_batch=micro_batch, parallel={"dp": dp})
        steps[dp] = []
        for step in range(1, 21):
            batch = batch_of(step, ramp, 32)
            consumed = samples_before(step, ramp, 32)
            per_rank = [sample_ids(consumed, config, rank, batch) for rank in range(dp)]
            assert len({len(passes) for passes in per_rank}) == 1
            passes = range(len(per_rank[0]))
            steps[dp].append([sample for m in passes for rank in range(dp) for sample in per_rank[rank][m]])
        read = [sample for of_step in steps[dp] for sample in of_step]
        assert read == list(range(samples_before(21, ramp, 32)))
    assert steps[1] == steps[2] == steps[4]
    assert len(steps[1][0]) == 8
    assert len(steps[1][-1]) == 32


@pytest.mark.parametrize(
    ("start", "increment", "said"),
    [
        (16, 4, "from 16 by 4 does not reach global_batch 16"),
        (4, 8, "from 4 by 8 does not reach"),
        (6, 2, "start and increment must be multiples of micro_batch x dp = 4"),
        (8, 2, "batch_ramp: increment must be multiples of micro_batch x dp = 4"),
    ],
)
def test_a_ramp_that_misses_the_full_batch_or_does_not_share_out_is_refused(
    start: int, increment: int, said: str
) -> None:
    (found,) = ramp_problems(BatchRamp(start=start, increment=increment, samples=100), 16, per_pass=4)
    assert said in found
    assert ramp_problems(RAMP, 16, per_pass=4) == []


def test_what_passes_shares_out_in_every_step() -> None:
    passed = 0
    for ramp, global_batch in ramps():
        for per_pass in range(1, 9):
            if ramp is not None and not ramp_problems(ramp, global_batch, per_pass):
                assert all(level.batch % per_pass == 0 for level in levels(ramp, global_batch))
                passed += 1
    assert passed > 200


def test_training_takes_the_batches_of_the_ramp_and_the_same_steps_under_any_layout(tmp_path: Path) -> None:
    ramp = BatchRamp(start=4, increment=4, samples=10)
    losses = {}
    for dp in (1, 2, 4):
        changes = {"parallel": {"dp": dp}, "micro_batch": 1, "dtype": "float64", "validate_every": 0}
        job = tiny_job(tmp_path, out=str(tmp_path / f"dp{dp}"), batch_ramp=ramp, num_steps=5, **changes)
        states = run_ranks(dp, train_job, job)
        assert {(state.step, state.consumed_samples) for state in states} == {(5, 28)}
        rows = read_rows(tmp_path / f"dp{dp}/metrics.jsonl")
        assert [row["global_batch"] for row in rows] == [4, 4, 4, 8, 8]
        assert [row["consumed_samples"] for row in rows] == [4, 8, 12, 20, 28]
        losses[dp] = [row["loss"] for row in rows]
    assert losses[2] == pytest.approx(losses[1], rel=1e-10)
    assert losses[4] == pytest.approx(losses[1], rel=1e-10)

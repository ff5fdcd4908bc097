"""Guards leave out what would harm, keep the place in the data, and say which samples it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.ranks import FakeMixture, FakeSample, run_ranks, tiny_job
from trainer.checkpoint import TrainState, content_digest, read_manifest
from trainer.config import TrainJob
from trainer.dcp import read_tensors
from trainer.loss import LossSums
from trainer.rows import read_rows

SPIKE_STEP = 12


class Spiked(FakeMixture):
    """The same text again and again, but for one step of noise."""

    def __getitem__(self, index: int) -> FakeSample:
        if index // 8 + 1 == SPIKE_STEP:
            return super().__getitem__(index)
        return FakeSample(np.arange(17, dtype=np.int64) + index % 3, 0)


def _train(mesh: Any, job: TrainJob, held_out: FakeMixture | None = None) -> TrainState:
    from trainer.loop import StopSignal, train

    return train(job, mesh, Spiked(num_samples=128), StopSignal(), held_out)


def _job(tmp_path: Path, name: str, **changes: Any) -> TrainJob:
    settings = {
        "num_steps": 15,
        "keep_checkpoints": 9,
        "lr": 1e-2,
        "min_lr": 1e-3,
        "clip_norm": 1.0,
        "out": str(tmp_path / name),
    }
    return tiny_job(tmp_path, **settings | changes)


def _weights(tmp_path: Path, name: str, step: int) -> dict[str, Any]:
    return dict(read_tensors(tmp_path / name / f"checkpoints/step-{step:08}", only_weights=False))


@pytest.mark.parametrize(
    ("action", "first_sample", "left_out"), [("warn", None, 0), ("skip", 88, 1), ("rewind", 72, 3)]
)
def test_a_spike_is_left_out_and_its_samples_are_written_down(
    tmp_path: Path, action: str, first_sample: int | None, left_out: int
) -> None:
    job = _job(tmp_path, action, spikes={"action": action, "window": 8, "deviations": 2.0}, parallel={"dp": 2})
    assert run_ranks(2, _train, job) == [TrainState(15, 120, left_out)] * 2
    rows = read_rows(tmp_path / action / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 16)), "the place in the data is kept"
    assert rows[-1]["skipped_steps"] == left_out
    if first_sample is None:
        assert not (tmp_path / action / "skipped.jsonl").exists()
        return
    (row,) = read_rows(tmp_path / action / "skipped.jsonl")
    assert (row["step"], row["first_sample"], row["last_sample"], row["num_steps"]) == (12, first_sample, 95, left_out)
    assert "is above" in row["reason"]
    if action == "rewind":
        before, after = _weights(tmp_path, action, 9), _weights(tmp_path, action, 12)
        assert all((before[key] == after[key]).all() for key in before)
        assert read_manifest(tmp_path / action / "checkpoints/step-00000012")["skipped_steps"] == 3


def _train_with_a_loss_that_is_no_number(mesh: Any, job: TrainJob) -> TrainState:
    reduce, calls = LossSums.reduce, [0]

    def spoiled(sums: LossSums, mesh: Any) -> tuple[float, dict[str, float]]:
        calls[0] += 1
        loss, languages = reduce(sums, mesh)
        return (float("nan"), dict.fromkeys(languages, float("nan"))) if calls[0] == 5 else (loss, languages)

    LossSums.reduce = spoiled  # in this process alone
    return _train(mesh, job)


def test_a_loss_that_is_no_number_is_left_out_and_spoils_no_file(tmp_path: Path) -> None:
    job = _job(tmp_path, "nan", num_steps=7, spikes={"action": "skip"}, bytes_per_token={"ja": 3.0})
    assert run_ranks(1, _train_with_a_loss_that_is_no_number, job) == [TrainState(7, 56, 1)]
    text = (tmp_path / "nan/metrics.jsonl").read_text() + (tmp_path / "nan/skipped.jsonl").read_text()
    *rows, skipped = [json.loads(line, parse_constant=lambda name: 1 / 0) for line in text.splitlines()]
    assert [row["step"] for row in rows if row["loss"] is None] == [5]
    assert rows[4]["language_loss"] == rows[4]["bits_per_byte"] == {}
    assert (skipped["step"], skipped["loss"]) == (5, None)


def test_resuming_after_a_skip_gives_the_bits_of_never_having_stopped(tmp_path: Path) -> None:
    guard = {"action": "skip", "window": 8, "deviations": 2.0}
    run_ranks(1, _train, _job(tmp_path, "whole", spikes=guard))
    cut = _job(tmp_path, "cut", spikes=guard)
    run_ranks(1, _train, cut)
    for step in (12, 15):  # as if killed after step 11, so that the spike is met again
        (tmp_path / f"cut/checkpoints/step-{step:08}").rename(tmp_path / f"lost-{step}")
    assert run_ranks(1, _train, cut) == [TrainState(15, 120, 1)]
    digests = {content_digest(tmp_path / name / "checkpoints/step-00000015") for name in ("whole", "cut")}
    assert len(digests) == 1
    assert len(read_rows(tmp_path / "cut/skipped.jsonl")) == 1


def test_a_language_that_is_forgotten_stops_the_run_and_stays_stopped_until_more_is_allowed(tmp_path: Path) -> None:
    guard = {"action": "stop", "max_rise": 0.05, "language": "ja"}
    job = _job(tmp_path, "out", forgetting=guard, validate_every=4, validation_samples=8)
    held_out = FakeMixture(num_samples=8)
    for _ in range(2):
        with pytest.raises(AssertionError, match=r"TrainingRefusedError: step (4|8|12).*max_rise allows 0.05"):
            run_ranks(1, _train, job, held_out)
    stopped = [json.loads(line) for line in (tmp_path / "out/validation.jsonl").read_text().splitlines()]
    assert [row["step"] for row in stopped] == list(range(0, stopped[-1]["step"] + 1, 4))
    assert (tmp_path / f"out/checkpoints/step-{stopped[-1]['step']:08}").is_dir()
    allowed = job.train.model_copy(update={"forgetting": job.train.forgetting.model_copy(update={"max_rise": 99.0})})
    assert run_ranks(1, _train, job.model_copy(update={"train": allowed}), held_out)[0].step == 15

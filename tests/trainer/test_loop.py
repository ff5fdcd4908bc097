"""The loop trains, stops before it harms, and leaves coherent files behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.ranks import FakeMixture, FakeSample, run_ranks, tiny_job, train_job, write_tiny_model
from trainer.checkpoint import TrainState, read_manifest
from trainer.config import TrainJob
from trainer.hf import open_weights, write_weights
from trainer.rows import read_rows


class OneText(FakeMixture):
    """The same sample again and again: what any model can learn."""

    def __getitem__(self, index: int) -> FakeSample:
        return FakeSample(np.arange(17, dtype=np.int64), 0)


def test_loss_falls_and_every_step_has_its_row(tmp_path: Path) -> None:
    job = tiny_job(tmp_path, num_steps=12, warmup_steps=1, lr=1e-2, clip_norm=1.0, bytes_per_token={"ja": 3.0})
    state = run_ranks(2, train_job, tiny_job(tmp_path, parallel={"dp": 2}), FakeMixture())
    assert state == [TrainState(6, 48)] * 2
    job = job.model_copy(update={"out": str(tmp_path / "learns")})
    run_ranks(1, train_job, job, OneText(num_samples=96))
    rows = read_rows(tmp_path / "learns/metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert rows[-1]["loss"] < rows[0]["loss"] - 2
    assert rows[-1]["consumed_tokens"] == 12 * 8 * 16
    assert rows[0]["bits_per_byte"]["ja"] == pytest.approx(rows[0]["loss"] / np.log(2) / 3)
    assert list((tmp_path / "learns/tensorboard").iterdir())


def _spoiled(tmp_path: Path) -> TrainJob:
    folder = write_tiny_model(tmp_path / "model")
    with open_weights(folder) as weights:
        tensors = {name: weights[name].clone() for name in weights}
    tensors["model.norm.weight"][3] = float("inf")
    write_weights(folder, tensors)
    return tiny_job(tmp_path, parallel={"dp": 2})


def test_a_loss_that_is_not_finite_stops_before_the_optimizer(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as stopped:
        run_ranks(2, train_job, _spoiled(tmp_path))
    message = str(stopped.value)
    assert message.count("FloatingPointError: step 1: loss is nan") == 2
    assert "samples 0 to 7. No weight was changed" in message
    assert not (tmp_path / "out/checkpoints").exists()


class Terminates(FakeMixture):
    """Sends this process SIGTERM when sample 20, of the third step, is read."""

    def __getitem__(self, index: int) -> FakeSample:
        if index == 20:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().__getitem__(index)


def test_sigterm_at_one_rank_saves_the_last_whole_step_on_all(tmp_path: Path) -> None:
    job = tiny_job(tmp_path, save_every=100, parallel={"dp": 2})
    assert run_ranks(2, train_job, job, Terminates()) == [TrainState(2, 16)] * 2
    saved = [path.name for path in (tmp_path / "out/checkpoints").iterdir()]
    assert saved == ["step-00000002"]
    run_ranks(2, train_job, job)
    undisturbed = job.model_copy(update={"out": str(tmp_path / "undisturbed")})
    run_ranks(2, train_job, undisturbed)
    digests = [
        read_manifest(tmp_path / name / "checkpoints/step-00000006")["content_digest"]
        for name in ("out", "undisturbed")
    ]
    assert digests[0] == digests[1]


def test_a_finished_run_started_again_changes_nothing(tmp_path: Path) -> None:
    job = tiny_job(tmp_path)
    run_ranks(1, train_job, job)
    before = (tmp_path / "out/metrics.jsonl").read_bytes()
    assert run_ranks(1, train_job, job) == [TrainState(6, 48)]
    assert (tmp_path / "out/metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_steps": 9}, "need 72 samples"),
        ({"seq_len": 128}, "max_position_embeddings 64"),
        ({"global_batch": 7}, "use 6"),
    ],
)
def test_a_job_that_cannot_run_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=f"(?s)this training cannot run.*{said}"):
        run_ranks(1, train_job, tiny_job(tmp_path, **changes))

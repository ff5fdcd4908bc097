"""Rows say what happened in the units they name, survive a kill and a resume, and reach W&B under one run."""

from __future__ import annotations

import json
import logging
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.ranks import TINY, tiny_job
from trainer.batch_ramp import BatchRamp
from trainer.config import TrainJob
from trainer.device_peak import Peak
from trainer.flops import CONVENTIONS
from trainer.llama_config import llama_config
from trainer.metrics import MetricsWriter, metrics_row
from trainer.rows import cut_after, read_rows

SHAPE = llama_config(TINY)
PEAK = Peak(0.001, "a device", "measured")
RESULT = {"ja": {"loss": 2.0, "bits_per_byte": 1.0, "tokens": 640}}


def row_of(job: TrainJob, step: int, **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "step": step, "consumed_samples": 8 * step, "num_targets": 120, "loss": 3.0,
        "language_losses": {"ja": 3.0, "en": 2.0}, "grad_norm": 0.5, "lr": 1e-4, "seconds": 0.5,
    }  # fmt: skip
    return metrics_row(job, SHAPE, PEAK, **settings | changes)


def test_a_row_has_the_position_the_rates_and_every_convention(tmp_path: Path) -> None:
    job = tiny_job(tmp_path, parallel={"dp": 2}, bytes_per_token={"ja": 3.0}, recompute="full")
    row = row_of(job, 5, skipped_steps=2)
    assert (row["consumed_samples"], row["consumed_tokens"], row["global_batch"]) == (40, 640, 8)
    assert row["padding"] == 1 - 120 / 128
    assert row["skipped_steps"] == 2
    assert row["tokens_per_second"] == 256
    assert set(row["bits_per_byte"]) == {"ja"}
    assert set(row["tflops"]) == set(CONVENTIONS)
    assert row["tflops"]["hardware"] > row["tflops"]["model_non_causal"], "recomputation is counted"
    assert row["mfu"] == pytest.approx(row["tflops"]["model_causal"] / 0.001)


def test_rates_follow_a_batch_that_grows(tmp_path: Path) -> None:
    job = tiny_job(tmp_path, batch_ramp=BatchRamp(start=2, increment=2, samples=12))
    assert [row_of(job, step)["global_batch"] for step in (1, 3, 9)] == [2, 4, 8]
    assert row_of(job, 1)["tokens_per_second"] == 2 * 16 / 0.5


def test_a_resumed_run_writes_what_came_after_its_checkpoint_again(tmp_path: Path) -> None:
    job = tiny_job(tmp_path)
    with MetricsWriter(job, resumed_step=-1) as metrics:
        metrics.write_validation(0, RESULT)
        for step in (1, 2, 3):
            metrics.write(row_of(job, step))
        metrics.write_validation(3, RESULT)
    out = tmp_path / "out"
    with open(out / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')  # a kill in the middle of a row
    with MetricsWriter(job, resumed_step=2) as metrics:
        metrics.write(row_of(job, 3, loss=1.5))
    assert [row["step"] for row in read_rows(out / "metrics.jsonl")] == [1, 2, 3]
    assert read_rows(out / "metrics.jsonl")[-1]["loss"] == 1.5
    assert read_rows(out / "validation.jsonl") == [{"step": 0, "languages": RESULT}]


def test_a_row_can_be_read_as_soon_as_it_is_written(tmp_path: Path) -> None:
    """The launcher follows the file."""
    job = tiny_job(tmp_path)
    with MetricsWriter(job, resumed_step=0) as metrics:
        metrics.write(row_of(job, 1))
        assert [row["step"] for row in read_rows(tmp_path / "out/metrics.jsonl")] == [1]


def test_tensorboard_has_every_number_under_its_step(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    job = tiny_job(tmp_path)
    with MetricsWriter(job, resumed_step=0) as metrics:
        metrics.write(row_of(job, 1) | {"slowest": {"rank": 1.0, "ratio": 1.4}})
        metrics.write_validation(1, RESULT)
    events = EventAccumulator(str(tmp_path / "out/tensorboard")).Reload()
    names = {"loss", "language_loss/ja", "tflops/hardware", "mfu", "slowest/ratio", "validation/ja/bits_per_byte"}
    assert names <= set(events.Tags()["scalars"])
    assert [(event.step, event.value) for event in events.Scalars("validation/ja/loss")] == [(1, 2.0)]


def test_nothing_is_cut_where_there_is_nothing(tmp_path: Path) -> None:
    cut_after(tmp_path / "metrics.jsonl", 3)
    assert not (tmp_path / "metrics.jsonl").exists()


class FakeWandb(types.ModuleType):
    """What is used of W&B; `api_key` and `unreachable` make it behave as without a key or a network."""

    class Error(Exception):
        pass

    def __init__(self, api_key: str | None = "key", unreachable: bool = False) -> None:
        super().__init__("wandb")
        self.api = types.SimpleNamespace(api_key=api_key)
        self.unreachable = unreachable
        self.inits: list[dict[str, Any]] = []
        self.logged: list[dict[str, float]] = []
        self.ended: list[int] = []

    def init(self, **settings: Any) -> Any:
        self.inits.append(settings)
        if self.unreachable and settings.get("mode") != "offline":
            raise self.Error("no route to host")
        return types.SimpleNamespace(define_metric=lambda *names, **how: None, log=self.logged.append, finish=self._end)

    def _end(self, exit_code: int) -> None:
        self.ended.append(exit_code)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_wandb_gets_the_rows_and_a_resumed_training_its_run(tmp_path: Path, wandb: FakeWandb) -> None:
    job = tiny_job(tmp_path, wandb_project="hibari")
    with MetricsWriter(job, resumed_step=0) as metrics:
        metrics.write(row_of(job, 1))
        metrics.write_validation(1, RESULT)
    with pytest.raises(KeyError), MetricsWriter(job, resumed_step=0):
        raise KeyError
    first, second = wandb.inits
    assert first["project"] == "hibari"
    assert first["id"] == second["id"]
    assert first["resume"] == "allow"
    assert first["config"]["train"]["lr"] == job.train.lr
    assert wandb.logged[0]["language_loss/ja"] == 3.0
    assert wandb.logged[1] == {"validation/ja/loss": 2.0, "validation/ja/bits_per_byte": 1.0,
                               "validation/ja/tokens": 640, "step": 1}  # fmt: skip
    assert wandb.ended == [0, 1]


@pytest.mark.parametrize(("api_key", "unreachable"), [(None, False), ("key", True)])
def test_training_goes_on_where_wandb_cannot_be_reached(
    tmp_path: Path, wandb: FakeWandb, api_key: str | None, unreachable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    wandb.api.api_key, wandb.unreachable = api_key, unreachable
    job = tiny_job(tmp_path, wandb_project="hibari")
    with caplog.at_level(logging.WARNING), MetricsWriter(job, resumed_step=0) as metrics:
        metrics.write(row_of(job, 1))
    assert wandb.inits[-1]["mode"] == "offline"
    assert "wandb sync" in caplog.text
    assert len(wandb.logged) == 1


def test_what_the_user_says_of_wandbs_mode_holds(
    tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    wandb.api.api_key = None
    with MetricsWriter(tiny_job(tmp_path, wandb_project="hibari"), resumed_step=0):
        pass
    assert "mode" not in wandb.inits[0]


def test_wandb_that_is_not_installed_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"pip install 'hibari\[wandb\]'"):
        MetricsWriter(tiny_job(tmp_path, wandb_project="hibari"), resumed_step=0)


def test_rows_are_plain_json(tmp_path: Path) -> None:
    row = row_of(tiny_job(tmp_path), 1)
    assert json.loads(json.dumps(row)) == row

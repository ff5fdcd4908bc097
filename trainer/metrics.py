"""What training reports: `metrics.jsonl`, `validation.jsonl` (one JSON object a line), TensorBoard, Weights & Biases.

A row of metrics.jsonl, one a logged step, holds:

- step; consumed_samples and consumed_tokens, the position in the mixture; global_batch, the step's sequences;
  skipped_steps, updates left out so far; padding, the part of the step's tokens that is in no loss;
- loss and language_loss per source language (nats per token), bits_per_byte where the language's bytes per token are
  known (comparable across vocabularies), grad_norm before clipping, lr; in a step that a guard left out because they
  were not finite, loss and grad_norm are null (JSON has no NaN), and such a language is not there;
- step_seconds, tokens_per_second over all ranks (padding included), tflops per device under each named convention,
  mfu: model_causal over the device's dense peak; memory_gib of rank 0 (device memory on CUDA, else resident), highest
  so far; and whatever else the loop adds, as the slowest rank.

A row of validation.jsonl holds step and, per language, loss, bits_per_byte and tokens; step 0 is before the first step.
A resumed run first cuts the rows after the step it resumes from, so both files read as if nothing had happened.

A row costs 0.3 ms (25 numbers, one AVX2 core): it goes to the system at once, since the launcher follows the file;
TensorBoard's thread and W&B's process write theirs.

    with MetricsWriter(job, resumed_step=state.step) as metrics:
        metrics.write(row)
        metrics.write_validation(step, validate(engine, held_out, job, mesh))
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from trainer.batch_ramp import batch_of
from trainer.config import TrainJob
from trainer.device_peak import Peak
from trainer.flops import tflops_per_device
from trainer.llama_config import LlamaConfig
from trainer.rows import METRICS, SKIPPED, VALIDATION, cut_after
from trainer.wandb_run import WandbRun

TENSORBOARD_FLUSH_S = 5
TENSORBOARD_QUEUE = 100  # rows that wait for its thread before the loop would


class MetricsWriter:
    """Appends rows; each is on its way to the disk when its method returns. On rank 0 only."""

    def __init__(self, job: TrainJob, resumed_step: int) -> None:
        """
        Raises:
            ValueError: the job asks for W&B, which is not installed.
        """
        from torch.utils.tensorboard import SummaryWriter  # a second, which other ranks need not spend

        out = Path(job.out)
        out.mkdir(parents=True, exist_ok=True)
        self._wandb = WandbRun(job) if job.train.wandb_project else None
        self._files = {}
        for name in (METRICS, VALIDATION, SKIPPED):
            cut_after(out / name, resumed_step)
        for name in (METRICS, VALIDATION):
            self._files[name] = open(out / name, "a", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
        self._tensorboard = SummaryWriter(
            str(out / "tensorboard"),
            purge_step=resumed_step + 1,
            max_queue=TENSORBOARD_QUEUE,
            flush_secs=TENSORBOARD_FLUSH_S,
        )

    def write(self, row: Mapping[str, Any]) -> None:
        """A row as `metrics_row` makes it."""
        self._write(METRICS, row["step"], row, row)

    def write_validation(self, step: int, result: Mapping[str, Mapping[str, float]]) -> None:
        """What `trainer.validation.validate` found after optimizer step `step`."""
        self._write(VALIDATION, step, {"step": step, "languages": result}, {"validation": result})

    def _write(self, name: str, step: int, row: Mapping[str, Any], charted: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._files[name].write(json.dumps(row) + "\n")
        self._files[name].flush()
        numbers = dict(_flatten(charted))
        # One event a row: `add_scalar` makes one of each number, at six times the cost.
        values = [Summary.Value(tag=label, simple_value=value) for label, value in numbers.items()]
        self._tensorboard.file_writer.add_summary(Summary(value=values), step)  # type: ignore[attr-defined]
        if self._wandb is not None:
            self._wandb.log(step, numbers)

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.close(failed=error is not None)


def metrics_row(
    job: TrainJob,
    model: LlamaConfig,
    peak: Peak,
    *,
    step: int,
    consumed_samples: int,
    num_targets: int,
    loss: float,
    language_losses: Mapping[str, float],
    grad_norm: float,
    lr: float,
    seconds: float,
    skipped_steps: int = 0,
) -> dict[str, Any]:
    """One row of metrics.jsonl.

    Args:
        peak: of one device (`trainer.device_peak`).
        consumed_samples: of the mixture, this step's included.
        num_targets: positions of the step that are not padding; tokens and their rates count both.
        seconds: wall time of the step; validation and checkpoints not counted.
        skipped_steps: updates that guards have left out so far.
    """
    config = job.train
    global_batch = batch_of(step, config.batch_ramp, config.global_batch)
    tokens = global_batch * config.seq_len
    devices = config.parallel.world_size
    finite = {language: loss for language, loss in language_losses.items() if math.isfinite(loss)}
    tflops = tflops_per_device(model, config.seq_len, tokens / seconds, devices, config.recompute)
    return {
        "step": step,
        "consumed_samples": consumed_samples,
        "consumed_tokens": consumed_samples * config.seq_len,
        "global_batch": global_batch,
        "skipped_steps": skipped_steps,
        "padding": 1 - num_targets / tokens,
        "loss": _finite(loss),
        "language_loss": finite,
        "bits_per_byte": bits_per_byte(finite, job.bytes_per_token),
        "grad_norm": _finite(grad_norm),
        "lr": lr,
        "step_seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "tflops": tflops,
        "mfu": tflops["model_causal"] / peak.tflops,
        "memory_gib": memory_gib(),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def bits_per_byte(losses: Mapping[str, float], bytes_per_token: Mapping[str, float]) -> dict[str, float]:
    """Nats per token as bits per UTF-8 byte, for the languages whose bytes per token are known."""
    return {
        language: loss / math.log(2) / bytes_per_token[language]
        for language, loss in losses.items()
        if language in bytes_per_token
    }


def memory_gib() -> float:
    """Peak memory of this process in GiB: the device's where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def device_gib(device: torch.device) -> float:
    """Memory of a device in GiB; of a machine without, each of its ranks' share."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / 2**30
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / ranks / 2**30


def _flatten(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a row, those inside others under names like `language_loss/ja`."""
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", value

"""What training reports: `metrics.jsonl` (one JSON object a logged step) and TensorBoard.

Rows hold: step, consumed_samples, consumed_tokens, padding (the part of the step's tokens that packing filled up with
and that is in no loss), loss and loss per source language (nats per token), bits per byte where the language's bytes
per token are known (comparable across vocabularies), grad_norm, lr, step_seconds, tokens_per_second over all ranks
(padding included), TFLOPS per device under each named convention, memory in GiB of rank 0 (device memory on CUDA, else
peak resident memory). A resumed run first cuts the rows after the step it resumes from, so the file reads as if nothing
had happened.

    with MetricsWriter(out, resumed_step=state.step) as metrics:
        metrics.write(row)
"""

from __future__ import annotations

import json
import math
import resource
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from storage.uri import write_bytes
from trainer.config import TrainJob
from trainer.flops import tflops_per_device
from trainer.llama_config import LlamaConfig

METRICS = "metrics.jsonl"


class MetricsWriter:
    """Appends rows; each is on its way to the disk when `write` returns."""

    def __init__(self, out: Path, resumed_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        cut_after(out / METRICS, resumed_step)
        self._file = open(out / METRICS, "a", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
        self._tensorboard = SummaryWriter(str(out / "tensorboard"), purge_step=resumed_step + 1)

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row, sort_keys=False) + "\n")
        self._file.flush()
        for name, value in _flatten(row):
            self._tensorboard.add_scalar(name, value, row["step"])
        self._tensorboard.flush()

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._tensorboard.close()


def metrics_row(
    job: TrainJob,
    model: LlamaConfig,
    *,
    step: int,
    consumed_samples: int,
    num_targets: int,
    loss: float,
    language_losses: dict[str, float],
    grad_norm: float,
    lr: float,
    seconds: float,
) -> dict[str, Any]:
    """One row of metrics.jsonl.

    Args:
        num_targets: positions of the step that are not padding; tokens and their rates count both.
        seconds: wall time of the step, checkpoints not counted.
    """
    tokens_per_second = job.train.tokens_per_step / seconds
    devices = job.train.parallel.world_size
    return {
        "step": step,
        "consumed_samples": consumed_samples,
        "consumed_tokens": consumed_samples * job.train.seq_len,
        "padding": 1 - num_targets / job.train.tokens_per_step,
        "loss": loss,
        "language_loss": language_losses,
        "bits_per_byte": {
            name: loss / math.log(2) / job.bytes_per_token[name]
            for name, loss in language_losses.items()
            if name in job.bytes_per_token
        },
        "grad_norm": grad_norm,
        "lr": lr,
        "step_seconds": seconds,
        "tokens_per_second": tokens_per_second,
        "tflops": tflops_per_device(model, job.train.seq_len, tokens_per_second, devices),
        "memory_gib": memory_gib(),
    }


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl; a last line that a kill cut short is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def cut_after(path: Path, step: int) -> None:
    """Remove the rows after `step`, which a resumed run will write again."""
    if path.is_file():
        kept = [row for row in read_rows(path) if row["step"] <= step]
        write_bytes(str(path), "".join(json.dumps(row) + "\n" for row in kept).encode())


def memory_gib() -> float:
    """Peak memory of this process in GiB: the device's where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def _flatten(row: dict[str, Any]) -> list[tuple[str, float]]:
    flat = []
    for name, value in row.items():
        if isinstance(value, dict):
            flat += [(f"{name}/{key}", inner) for key, inner in value.items()]
        else:
            flat.append((name, value))
    return flat

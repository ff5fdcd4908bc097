"""What the training loop adds to its steps: reading samples, guards, logs, and whatever else is not computing.

A real training of the benchmark's model (`trainer.loop.train`) on random samples, with clocks around the engine and
the optimizer and around the reading of samples. A step is from one call of the engine to the next, so that set-up and
the checkpoint at the end are left out, and what is left of it beside engine and optimizer is the loop's own.

    loop_figures(fields, sequences=4, steps=5)["rest_share"]
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.train_steps import one_process, random_weights, train_config
from trainer.config import TrainJob
from trainer.engine import Engine
from trainer.hf import parameter_shapes, write_weights
from trainer.llama_config import llama_config
from trainer.loop import StopSignal, train
from trainer.sharding import Block
from trainer.zero import ZeroOptimizer


@dataclass(frozen=True)
class Sample:
    tokens: np.ndarray
    source: int = 0
    starts: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int32))
    padding: int = 0


@dataclass
class RandomMixture:
    """Random samples with the mixture's interface, counting the seconds that reading them takes."""

    seq_len: int
    vocab: int
    num_samples: int = 1 << 30
    digest: str = "0" * 64
    sources: tuple[str, ...] = ("random",)
    languages: tuple[str, ...] = ("ja",)
    attention: str = "across"
    first_sample: int = 0
    continues: None = None
    reading_s: float = 0.0

    def num_targets(self, first: int, last: int) -> int:
        return (last - first) * self.seq_len

    def __getitem__(self, index: int) -> Sample:
        began = time.perf_counter()
        sample = Sample(np.random.default_rng(index).integers(0, self.vocab, self.seq_len + 1))
        self.reading_s += time.perf_counter() - began
        return sample


@dataclass
class Clock:
    """Begins of the engine's calls, and what engine and optimizer took since the last one: wall and CPU seconds."""

    begins: list[tuple[float, float]] = field(default_factory=list)
    inside: list[list[float]] = field(default_factory=list)

    def around(self, function: Callable[..., Any], *, begins_step: bool = False) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            wall, cpu = time.perf_counter(), time.thread_time()
            if begins_step:
                self.begins.append((wall, cpu))
                self.inside.append([0.0, 0.0])
            result = function(*args, **kwargs)
            self.inside[-1][0] += time.perf_counter() - wall
            self.inside[-1][1] += time.thread_time() - cpu
            return result

        return timed


def loop_figures(fields: dict[str, Any], sequences: int, steps: int) -> dict[str, float]:
    """Seconds of a step, and of what is neither engine nor optimizer in it: medians over steps, wall and CPU.

    CPU seconds are those of the main thread.
    """
    clock = Clock()
    mixture = RandomMixture(fields["max_position_embeddings"], fields["vocab_size"])
    with tempfile.TemporaryDirectory(prefix="hibari-train-") as folder, _clocks(clock):
        job = _job(Path(folder), fields, sequences, steps + 2)
        train(job, one_process(torch.device("cpu")), mixture, StopSignal())  # type: ignore[arg-type]
    rows = []
    # The first step is slower, the last has no next one.
    for number in range(1, steps + 1):
        (began, cpu_began), (ended, cpu_ended) = clock.begins[number : number + 2]
        inside, cpu_inside = clock.inside[number]
        rows.append((ended - began, ended - began - inside, cpu_ended - cpu_began, cpu_ended - cpu_began - cpu_inside))
    whole, rest, cpu, cpu_rest = (statistics.median(column) for column in zip(*rows, strict=True))
    return {
        "steps": steps,
        "seconds_per_step": whole,
        "rest_seconds": rest,
        "rest_share": rest / whole,
        "cpu_seconds_per_step": cpu,
        "rest_cpu_seconds": cpu_rest,
        "rest_cpu_share": cpu_rest / cpu,
        "reading_seconds": mixture.reading_s / (steps + 2),
    }


@contextmanager
def _clocks(clock: Clock) -> Iterator[None]:
    with (
        mock.patch.object(Engine, "train", clock.around(Engine.train, begins_step=True)),
        mock.patch.object(ZeroOptimizer, "reduce_gradients", clock.around(ZeroOptimizer.reduce_gradients)),
        mock.patch.object(ZeroOptimizer, "step", clock.around(ZeroOptimizer.step)),
    ):
        yield


def _job(folder: Path, fields: dict[str, Any], sequences: int, steps: int) -> TrainJob:
    model = folder / "model"
    read = random_weights(fields, torch.device("cpu"))
    shapes = {name: tuple(shape) for name, shape in parameter_shapes(llama_config(fields)).items()}
    write_weights(model, {name: read(Block(name, s, (0,) * len(s), s, s)) for name, s in shapes.items()})
    (model / "config.json").write_text(json.dumps(fields))
    config = train_config(fields, sequences, dtype="fp32", save_every=10**6, validate_every=0)
    return TrainJob(
        train=config,
        model=str(model),
        base_model=str(model),
        mixture="random",
        out=str(folder / "out"),
        num_steps=steps,
    )

"""Looks at ranks from outside their work: stacks of one that hangs, and names of those that are slow.

`Watch` needs no other rank. Its timer is set anew by each finished step; when it runs out, a thread writes the stacks
of all threads to this rank's log. If that thread cannot run, because the interpreter is stuck in a call that does not
let go of its lock, `faulthandler`'s own thread of C does it a little later. The time is to be shorter than the process
group's time-out, so that stacks are there before the collective fails.

`StragglerReport` gathers from every rank two times that contain no waiting for others. The probe, a product of small
matrices, shows a slow processor in any layout. The time of forward and backward also shows slow reading of data; it is
compared among the replicas of the same part of the model, because stages differ, and only tells where none of these
waits for another within it: not with FSDP, whose gathers of parameters make all as slow as the slowest.

    with Watch(dump_seconds(config), state.step, mesh.rank) as watch:
        ...
        watch.step(step)
"""

from __future__ import annotations

import faulthandler
import logging
import math
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median_low
from types import TracebackType
from typing import TextIO

import torch

from trainer.config import TrainConfig
from trainer.layout import axis_ranks
from trainer.mesh import Mesh

logger = logging.getLogger(__name__)

STUCK = 1.05  # of the time: when the interpreter is given up
PROBE_TIMES = 5
PROBE_SIZE = {"cpu": 384, "cuda": 4096}


def dump_seconds(config: TrainConfig) -> float:
    """After how long a step's stacks are dumped."""
    return config.stack_dump_s or 0.9 * config.collective_timeout_s


class Watch:
    """Dumps stacks, once, when no step finishes for `seconds`, and names the step in what an error says."""

    def __init__(self, seconds: float, step: int, rank: int, file: TextIO | None = None) -> None:
        """Args:
        step: the last finished one.
        rank: of this process, to be named in errors.
        file: where stacks go; none given: stderr, which torchrun keeps per rank.
        """
        self._seconds, self._step, self._rank, self._due = seconds, step, rank, math.inf
        self._file = file or sys.stderr
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    def step(self, step: int) -> None:
        """A step has finished."""
        self._step, self._due = step, time.monotonic() + self._seconds
        faulthandler.dump_traceback_later(self._seconds * STUCK, file=self._file)

    def __enter__(self) -> Watch:
        self.step(self._step)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        if error is not None:
            error.add_note(f"in step {self._step + 1}, on rank {self._rank} of {platform.node()}")

    def _look(self) -> None:
        dumped = -1
        while not self._ended.wait(min(1.0, self._seconds / 10)):
            if time.monotonic() >= self._due and dumped != self._step:
                dumped = self._step
                logger.warning(
                    "step %d has not finished for %g s; this rank's log has the stacks of all its threads. Where all "
                    "ranks wait in a collective but one, look at that one", dumped + 1, self._seconds,
                )  # fmt: skip
                faulthandler.dump_traceback(self._file)
                faulthandler.cancel_dump_traceback_later()


class StragglerReport:
    """Names ranks that are slower than the median."""

    def __init__(self, mesh: Mesh, every: int, ratio: float) -> None:
        """Args:
        every: steps between looks; 0: never.
        ratio: a rank this many times slower than the median is reported.
        """
        self._mesh, self._ratio = mesh, ratio
        self._every = every if mesh.parallel.world_size > 1 else 0
        self._seconds = 0.0
        replicas = {rank: ranks for ranks in axis_ranks("dp", mesh.parallel) for rank in ranks}
        self._replicas = dict(sorted(replicas.items()))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around a step's forward and backward passes, without the reduction of gradients that ends them."""
        begun = time.perf_counter()
        yield
        if self._every and self._mesh.device.type == "cuda":  # of the computing stream alone, not of exchanges
            torch.cuda.current_stream(self._mesh.device).synchronize()
        self._seconds += time.perf_counter() - begun

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within `working`, around what waits for other ranks: it is no work."""
        begun = time.perf_counter()
        yield
        self._seconds -= time.perf_counter() - begun

    def look(self, step: int) -> dict[str, float]:
        """Compare ranks, where it is time to; every rank takes part.

        Returns:
            `rank`, the slowest, and `ratio`, how many times slower it is than the median; empty between looks.
        """
        if not self._every or step % self._every:
            return {}
        own = (platform.node(), probe_seconds(self._mesh.device), self._seconds)
        hosts, probes, works = zip(*self._mesh.gathered([own]), strict=True)
        self._seconds = 0.0
        ratios = []
        for rank, replicas in self._replicas.items():
            usual = median_low(probes), median_low(works[replica] for replica in replicas)
            ratios.append(max(probes[rank] / usual[0], works[rank] / usual[1] if usual[1] else 1.0))
        slow = [rank for rank, ratio in enumerate(ratios) if ratio > self._ratio]
        if slow and self._mesh.is_first:
            named = ", ".join(f"rank {rank} on {hosts[rank]} ({ratios[rank]:.2f} times)" for rank in slow)
            logger.warning("slow at step %d, against the median rank: %s", step, named)
        slowest = max(range(len(ratios)), key=ratios.__getitem__)
        return {"rank": float(slowest), "ratio": ratios[slowest]}


def probe_seconds(device: torch.device) -> float:
    """Seconds of a product of two square matrices on this rank alone; the least of a few, as pauses do not count."""
    size = PROBE_SIZE[device.type]
    matrix = torch.ones(size, size, dtype=torch.float32 if device.type == "cpu" else torch.bfloat16, device=device)
    taken = []
    for _ in range(PROBE_TIMES):
        begun = time.perf_counter()
        product = matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begun)
        del product
    return min(taken)

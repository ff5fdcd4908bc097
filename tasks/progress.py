"""Progress of a stage, said once by domain code and shown by whoever listens: a terminal, a log, Prefect.

report_progress("curate", 3, 8, "WARCs", "1,204 documents kept")
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tasks.shards import ShardRecord

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """A stage is `done` of `total` units on (0 of 0: it has begun); `note` is a short remark or figure of interest."""

    stage: str
    done: int
    total: int
    unit: str
    note: str = ""


Listener = Callable[[Progress], None]
_listeners: list[Listener] = []


def report_progress(stage: str, done: int, total: int, unit: str, note: str = "") -> None:
    """Tell every listener; without one, nothing happens."""
    for listener in _listeners:
        listener(Progress(stage, done, total, unit, note))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hear all progress while the block lasts."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@dataclass
class TextLines:
    """Writes a line at most every `interval_s` seconds, and always the last of a stage."""

    interval_s: float = 2.0
    _started: dict[str, float] = field(default_factory=dict)
    _printed: float = 0.0

    def __call__(self, progress: Progress) -> None:
        if progress.total == 0:
            sys.stderr.write(f"  {progress.stage}: {progress.note}\n")
            return
        now = time.monotonic()
        started = self._started.setdefault(progress.stage, now)
        finished = progress.done >= progress.total
        if now - self._printed < self.interval_s and not finished:
            return
        self._printed = now
        remaining = (now - started) * (progress.total - progress.done) / max(progress.done, 1)
        left = "" if finished else f", about {remaining:.0f} s left"
        note = f", {progress.note}" if progress.note else ""
        line = f"  {progress.stage}: {progress.done:,}/{progress.total:,} {progress.unit}{note}{left}"
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def shard_progress(stage: str, unit: str, counted: str) -> Callable[[int, int, ShardRecord], None]:
    """A `map_shards` progress callback that reports shards done and the running total of one count."""
    total = 0

    def report(done: int, shards: int, record: ShardRecord) -> None:
        nonlocal total
        total += record.counts.get(counted, 0)
        report_progress(stage, done, shards, unit, f"{total:,} {counted}")

    return report

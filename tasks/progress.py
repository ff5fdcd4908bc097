"""Progress of a stage, said once by domain code and shown by whoever listens: a terminal, a log, Prefect.

    report_progress("curate", 3.2, 8, "WARC files", counts={"records": 40_210, "documents": 1_204})

A listener that keeps a `Pace` per stage can say how fast it goes and when it will be done.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

ENOUGH_S = 1.0  # a rate over less time than this says nothing


@dataclass(frozen=True)
class Progress:
    """A stage is `done` of `total` units on (0 of 0: it has begun, or works without a known end).

    Attributes:
        note: a short remark.
        counts: what has gone through so far; the first is the one whose rate is shown.
    """

    stage: str
    done: float
    total: float
    unit: str
    note: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return 0 < self.total <= self.done


Listener = Callable[[Progress], None]
_listeners: list[Listener] = []


def report_progress(
    stage: str, done: float, total: float, unit: str, note: str = "", counts: Mapping[str, int] | None = None
) -> None:
    """Tell every listener; without one, nothing happens."""
    for listener in _listeners:
        listener(Progress(stage, done, total, unit, note, counts or {}))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hear all progress while the block lasts."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def narrating(stage: str) -> Iterator[None]:
    """Report what our code logs at INFO as remarks of this stage: the only progress of work without a known length."""
    report_progress(stage, 0, 0, "")
    narrator = _Narrator(stage)
    loggers = [logging.getLogger(name) for name in ("tasks", "tokenizer", "trainer", "storage")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.addHandler(narrator)
        each.setLevel(logging.INFO)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.removeHandler(narrator)
            each.setLevel(level)


class _Narrator(logging.Handler):
    def __init__(self, stage: str) -> None:
        super().__init__(logging.INFO)
        self._stage = stage
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread:
            return  # such as a lease's heartbeat: Prefect's log and artifacts belong to the thread of the task
        report_progress(self._stage, 0, 0, "", record.getMessage())


@dataclass
class Pace:
    """How fast one stage goes, from what has been heard of it: work done before the first word does not count."""

    _since: float | None = None
    _first: Progress | None = None
    _last: Progress | None = None
    _now: float = 0.0

    def hear(self, progress: Progress) -> None:
        if not progress.total and self._first is not None and self._first.total:
            return  # a remark in between says nothing of the pace
        self._now = time.monotonic()
        if self._first is None or self._since is None or progress.total != self._first.total:
            self._since, self._first = self._now, progress
        self._last = progress

    def rate(self, count: str | None = None) -> float | None:
        """Units (or those of a count) a second; None while there is nothing to tell it from."""
        if self._first is None or self._last is None or self._since is None or self._now - self._since < ENOUGH_S:
            return None
        if count is None:
            gained = self._last.done - self._first.done
        else:
            gained = self._last.counts.get(count, 0) - self._first.counts.get(count, 0)
        return gained / (self._now - self._since) if gained > 0 else None

    def left_s(self) -> float | None:
        """Seconds until done, at the pace so far."""
        rate = self.rate()
        return None if rate is None or self._last is None else (self._last.total - self._last.done) / rate


def describe(progress: Progress, pace: Pace) -> str:
    """One line: `1.4 of 2 WARC files; 12,345 records (1,234 a second), 321 documents; about 2 min left`."""
    if progress.total == 0:
        return progress.note or "running"
    parts = [f"{_amount(progress.done)} of {_amount(progress.total)} {progress.unit}"]
    rate = pace.rate() if not progress.counts else None
    if rate is not None:
        parts[0] += f" ({_rate(rate)})"
    counted = []
    for number, (name, value) in enumerate(progress.counts.items()):
        rate = pace.rate(name) if number == 0 else None
        counted.append(f"{value:,} {name.replace('_', ' ')}" + (f" ({_rate(rate)})" if rate else ""))
    parts += [", ".join(counted)] if counted else []
    parts += [progress.note] if progress.note else []
    left = pace.left_s()
    if left is not None and not progress.finished:
        parts.append(f"about {duration(left)} left")
    return "; ".join(parts)


def duration(seconds: float) -> str:
    """A time span for people: 45 s, 12 min, 3 h 20 min, 5 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes / 60 / 24:.1f} days"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _rate(value: float) -> str:
    if value >= 10:
        return f"{value:,.0f} a second"
    return f"{value:.1f} a second" if value >= 1 else f"{value * 60:.1f} a minute"


@dataclass
class TextLines:
    """Writes a line at most every `interval_s` seconds, and always the first and last of a stage."""

    interval_s: float = 2.0
    _paces: dict[str, Pace] = field(default_factory=dict)
    _printed: dict[str, float] = field(default_factory=dict)

    def __call__(self, progress: Progress) -> None:
        pace = self._paces.setdefault(progress.stage, Pace())
        pace.hear(progress)
        now = time.monotonic()
        waited = now - self._printed.get(progress.stage, 0.0)
        if progress.total and not progress.finished and (progress.done == 0 or waited < self.interval_s):
            return
        self._printed[progress.stage] = now
        sys.stderr.write(f"  {progress.stage}: {describe(progress, pace)}\n")
        sys.stderr.flush()


def shard_progress(stage: str, unit: str, counted: tuple[str, ...]) -> Callable[[float, int, Mapping[str, int]], None]:
    """A `map_shards` progress callback that reports shards done and some of their counts."""

    def report(done: float, shards: int, counts: Mapping[str, int]) -> None:
        report_progress(stage, done, shards, unit, counts={name: counts[name] for name in counted if name in counts})

    return report

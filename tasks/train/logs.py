"""What the trainer's files say while it runs and after it failed.

In: the folder of per-rank logs that torchrun writes, and metrics.jsonl. Out: warning lines, progress, restarts, and the
message of a failure. torchrun keeps the logs of each start of the ranks apart, in `attempt_0`, `attempt_1`, ...

    raise RuntimeError(failure(folder, status))
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage.checkpoints import saved_steps
from trainer.ending import NO_RESTART, refusal

Progress = Callable[[int, int, dict[str, Any]], None]
Log = Callable[[str], None]

START_CHECKS = "start_checks.json"
TAIL_LINES = 15


class LogTail:
    """Passes on new warning and error lines of every rank's stderr."""

    def __init__(self, folder: Path, log: Log) -> None:
        self._folder = folder
        self._log = log
        self._read: dict[Path, int] = {}

    def look(self) -> None:
        for path in sorted(self._folder.rglob("stderr.log")):
            with open(path, "rb") as file:
                file.seek(begin := self._read.get(path, 0))
                whole = file.read().rpartition(b"\n")[0]
            if not whole:
                continue
            self._read[path] = begin + len(whole) + 1
            for line in whole.decode(errors="replace").splitlines():
                if re.search(r" (WARNING|ERROR|CRITICAL) rank ", line):
                    self._log(line)


class MetricsWatcher:
    """Calls `progress` when metrics.jsonl has got a newer last row; what it holds at first is an earlier launch's."""

    def __init__(self, path: Path, num_steps: int, progress: Progress | None) -> None:
        self._path = path
        self._num_steps = num_steps
        self._progress = progress
        self._seen = self._last_row()

    def look(self) -> None:
        row = self._last_row()
        if self._progress is not None and row is not None and row != self._seen:
            self._seen = row
            self._progress(row["step"], self._num_steps, row)

    def _last_row(self) -> dict[str, Any] | None:
        if not self._path.is_file():
            return None
        with open(self._path, "rb") as file:
            file.seek(max(0, self._path.stat().st_size - 8192))
            lines = file.read().split(b"\n")[:-1]  # what follows the last newline is still being written
        return json.loads(lines[-1]) if lines else None


class CheckpointWatcher:
    """Calls `saved` once for each checkpoint that becomes whole; those there at first are an earlier launch's."""

    def __init__(self, folder: str, saved: Callable[[int], None] | None) -> None:
        self._folder = folder
        self._saved = saved
        self._seen = set(saved_steps(folder))

    def look(self) -> None:
        if self._saved is None:
            return
        for step in saved_steps(self._folder):
            if step not in self._seen:
                self._seen.add(step)
                self._saved(step)


class RestartWatcher:
    """Tells of each time torchrun has started the ranks again, and why it did."""

    def __init__(self, out: Path, attempt: Path, log: Log) -> None:
        """Of the launch whose logs are in `attempt`, of the training in `out`."""
        self._out, self._attempt, self._log = out, attempt, log
        self._told = 0

    def look(self) -> None:
        happened = _restarts(self._attempt)
        if happened <= self._told or refusal(self._out):  # refused ranks only repeat why
            return
        report = (self._attempt / "torchrun.log").read_text(encoding="utf-8", errors="replace")
        causes = re.findall(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+)", report)
        for number in range(self._told, happened):
            why = "a rank ended"
            if number < len(causes):
                status, rank = int(causes[number][0]), causes[number][1]
                how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
                logs = sorted(self._attempt.glob(f"*/attempt_{number}/{rank}/stderr.log"))
                said = _last_lines(logs[0], 1) if logs and status > 0 else ""
                why = f"rank {rank} {how}" + (f" ({said})" if said else "")
            self._log(f"{why}; all ranks were started again, restart {number + 1}: from the last checkpoint")
        self._told = happened


def num_restarts(out: Path) -> int:
    """How often torchrun has started the ranks again, over all launches of the training in `out`."""
    return sum(_restarts(launch) for launch in (out / "logs").glob("*"))


def _restarts(attempt: Path) -> int:
    return max((_number(path) for path in attempt.glob("*/attempt_*")), default=0)


def _number(path: Path) -> int:
    return int(path.name.partition("_")[2])


def failure(attempt: Path, status: int) -> str:
    """What to tell the user: which rank failed, the end of its log, where the rest is."""
    report = (attempt / "torchrun.log").read_text(encoding="utf-8", errors="replace")
    rank, killed_by = _failed_rank(report)
    if rank is None and status < 0:
        killed_by = signal.Signals(-status).name
    path = _log_of(attempt, rank) or attempt / "torchrun.log"
    who = f"rank {rank}" if rank else "torchrun"
    how = f" was killed by {killed_by} (often the system, when memory runs out)" if killed_by else ""
    end = _last_lines(path, TAIL_LINES) or "(its log is empty)"
    restarts = _restarts(attempt)
    after = f", after {restarts} restarts" if restarts else ""
    return f"training failed: {who}{how}, exit status {status}{after}; log: {path}\n{end}"


def _log_of(attempt: Path, rank: str | None) -> Path | None:
    """The log of a rank's last start that did more than repeat why the one before it ended."""
    logs = sorted(attempt.rglob(f"{rank}/stderr.log"), key=lambda path: -_number(path.parents[1])) if rank else []
    telling = [path for path in logs if not any(line.startswith(NO_RESTART) for line in _lines(path))]
    return next(iter(telling or logs), None)


def _last_lines(path: Path, number: int) -> str:
    return "\n".join([line for line in _lines(path) if line.strip()][-number:])


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _failed_rank(report: str) -> tuple[str | None, str | None]:
    """The rank that failed first and the signal that killed it, from torchrun's report.

    torchrun names the rank that wrote an error first. When that error is a broken connection, another rank that was
    killed outright, and could write none, is the cause.
    """
    entries = re.findall(r"^  rank +: (\d+).*\n  exitcode +: -?\d+ \(pid: \d+\)(?: +\((\w+)\))?", report, re.MULTILINE)
    if not entries:
        return None, None
    first = report.partition("Root Cause")[2]
    if re.search(r"(reset|closed) by peer|NCCL", first):
        for rank, name in entries:
            if name and name != "SIGTERM":
                return rank, name
    rank, name = entries[-1]  # the root cause comes last
    return rank, name if name and name != "SIGTERM" else None

"""Measuring a command: CPU seconds, wall seconds and memory of the process and all it started.

CPU time is what the kernel counted for the process and every descendant that was waited for, start-up and imports
included. Memory is sampled: the resident set of the whole tree, and of the largest process in it.

    used = measured([sys.executable, "-m", "benchmarks.curate", "--job", job])
    used.cpu_s, used.peak_mib, used.output

`DiskWatch` samples what lies below a folder meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_INTERVAL_S = 0.1
_DISK_INTERVAL_S = 0.5
_MIB = 1 << 20


@dataclass(frozen=True)
class Used:
    """What a command took; `output` is what it wrote to standard output."""

    cpu_s: float
    wall_s: float
    peak_mib: float
    largest_mib: float
    output: str


def measured(command: Sequence[str], folder: Path | None = None) -> Used:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    start = time.monotonic()
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watch = _Watch(child.pid)
    said: list[str] = []
    assert child.stdout is not None
    assert child.stderr is not None
    complaints = threading.Thread(target=lambda stream: said.append(stream.read()), args=(child.stderr,))
    complaints.start()
    output = child.stdout.read()
    complaints.join()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - start
    watch.stop()
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)[:300]} ended with {child.returncode}:\n{said[0][-2000:]}")
    return Used(usage.ru_utime + usage.ru_stime, wall_s, watch.peak / _MIB, watch.largest / _MIB, output)


def since_start() -> float:
    """Wall seconds since this process was made, to a hundredth."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


class DiskWatch(threading.Thread):
    """The most bytes that lay below a folder while the block lasted: `peak`. The folder may come and go."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.peak = 0
        self._ended = threading.Event()

    def __enter__(self) -> DiskWatch:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while True:
            self.peak = max(self.peak, _bytes_below(self.folder))
            if self._ended.wait(_DISK_INTERVAL_S):
                return


def _bytes_below(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # just removed
                total += os.stat(os.path.join(place, name)).st_size
    return total


class _Watch(threading.Thread):
    """Samples the memory of a process and its descendants until stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = self.largest = 0
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(_INTERVAL_S):
            sizes = [_resident(pid) for pid in _descendants(self.pid)]
            self.peak = max(self.peak, sum(sizes))
            self.largest = max(self.largest, *sizes, 0)

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _descendants(pid: int) -> list[int]:
    """The process and all below it."""
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        try:
            for thread in os.listdir(f"/proc/{found[-1]}/task"):
                children = Path(f"/proc/{found[-1]}/task/{thread}/children").read_text()
                waiting += map(int, children.split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return found


def _resident(pid: int) -> int:
    """Bytes of a process in memory; what it shares with its parent counts for both."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")

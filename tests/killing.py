"""What tests of killed processes share: programs that say when they are ready, and who is left of a family."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from storage.processes import Process, alive, family, find

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 120.0  # far above what anything here takes, for machines that do much else


def started(program: str) -> tuple[subprocess.Popen[str], Process]:
    """A Python program in a process of its own, which has printed its first line."""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    identity = find(process.pid)
    assert identity is not None, "it ended before it was ready"
    return process, identity


def kill_parent(parent: subprocess.Popen[str], identity: Process) -> list[Process]:
    """Kill -9 one process; all that it had started."""
    children = family(identity)[1:]
    parent.kill()
    parent.communicate()
    return children


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:.0f} s for {what}"
        time.sleep(0.02)


def wait_until_gone(processes: Iterable[Process]) -> None:
    processes = list(processes)
    wait_until(lambda: not alive(processes), f"the end of {processes}")

"""Processes by pid and start time, so that a pid used again by another program is never mistaken for ours.

This lies at the bottom because everyone needs it: whoever starts a process must not leave it behind, and a lease has to
know whether its holder lives. Linux's /proc is read where there is one, `ps` elsewhere. torchrun starts every rank in a
session of its own, so killing its process group does not reach them: what is stopped here is a process and all its
descendants.

    die_with_parent(signal.SIGKILL, parent)     # in a child, first thing
    stop([Process(pid, started)], grace_s=15)
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from storage.parent import die_with_parent as die_with_parent

POLL_S = 0.1


@dataclass(frozen=True)
class Process:
    """A process of this machine; `started` is opaque and differs when a pid is used again."""

    pid: int
    started: str


def find(pid: int) -> Process | None:
    """The process that has this pid now."""
    row = _table().get(pid)
    return Process(pid, row[1]) if row else None


def machine() -> str:
    """Where pids mean the same as here: this boot of this machine and, in a container, its own pids."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    if not boot.exists():
        return platform.node()
    return f"{boot.read_text().strip()} {os.readlink('/proc/self/ns/pid')}"


def family(process: Process) -> list[Process]:
    """A process, if it is alive, and all its descendants."""
    table = _table()
    if process.pid not in table or table[process.pid][1] != process.started:
        return []
    found = [process]
    for parent in found:  # grows while it is walked
        found += [Process(pid, started) for pid, (ppid, started) in table.items() if ppid == parent.pid]
    return found


def alive(processes: Iterable[Process]) -> list[Process]:
    table = _table()
    return [process for process in processes if table.get(process.pid, (0, ""))[1] == process.started]


def stop(processes: Iterable[Process], grace_s: float) -> None:
    """SIGTERM to all that are alive, after `grace_s` seconds SIGKILL to those that still are; returns when none is.

    Interrupted while it waits, it kills at once.
    """
    waiting = alive(processes)
    try:
        _signal(waiting, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while waiting and time.monotonic() < deadline:
            time.sleep(POLL_S)
            waiting = alive(waiting)
    finally:
        _signal(waiting, signal.SIGKILL)
    while waiting:
        time.sleep(POLL_S)
        waiting = alive(waiting)


def _signal(processes: Iterable[Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            continue  # ended by itself in the meantime


def _table() -> dict[int, tuple[int, str]]:
    """pid -> (parent's pid, start time) of every process that has not ended; zombies have."""
    if Path("/proc/self/stat").exists():
        return _proc_table()
    command = ["ps", "-axo", "pid=,ppid=,state=,lstart="]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [line.split(maxsplit=3) for line in listing.splitlines()]
    return {int(row[0]): (int(row[1]), row[3]) for row in rows if not row[2].startswith("Z")}


def _proc_table() -> dict[int, tuple[int, str]]:
    table = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            text = Path(entry.path, "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended while we looked
        fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
        state, parent, started = fields[0], fields[1], fields[19]
        if state not in "ZX":
            table[int(entry.name)] = (int(parent), started)
    return table

"""Processes are stopped with all their descendants, and only while they are the ones that were meant."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tasks.train.processes import Process, alive, family, find, stop

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


def _start(code: str) -> tuple[subprocess.Popen[str], Process]:
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    started.stdout.readline()
    process = find(started.pid)
    assert process is not None
    return started, process


def test_grace_first_then_no_mercy() -> None:
    started, process = _start(STUBBORN)
    begun = time.monotonic()
    stop([process], grace_s=0.5)
    assert 0.5 <= time.monotonic() - begun < 10
    assert started.wait() == -9


def test_a_descendant_in_a_session_of_its_own_is_family(tmp_path: Path) -> None:
    parent = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], start_new_session=True)
time.sleep(60)
"""
    started, process = _start(parent)  # the line that is waited for is the child's
    members = family(process)
    assert len(members) == 2
    assert members[0] == process
    stop(members, grace_s=0.2)
    assert alive(members) == []
    started.wait()


def test_a_pid_used_again_is_left_alone() -> None:
    this = find(os.getpid())
    assert this is not None
    someone_else = Process(this.pid, "started at another time")
    assert alive([someone_else]) == []
    assert family(someone_else) == []
    stop([someone_else], grace_s=0)  # would have ended the tests


def test_an_ended_process_is_not_found() -> None:
    started = subprocess.Popen([sys.executable, "-c", ""])
    started.wait()
    assert find(started.pid) is None

"""Processes are stopped with all their descendants, and only while they are the ones that were meant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage.processes import Process, alive, family, find, stop
from tests.killing import kill_parent, started, wait_until_gone

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's death on Linux only")

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


def test_grace_first_then_no_mercy() -> None:
    stubborn, process = started(STUBBORN)
    begun = time.monotonic()
    stop([process], grace_s=0.5)
    assert 0.5 <= time.monotonic() - begun < 10
    assert stubborn.wait() == -9


def test_a_descendant_in_a_session_of_its_own_is_family(tmp_path: Path) -> None:
    parent = f"""
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], start_new_session=True)
time.sleep(60)
"""
    running, process = started(parent)  # the line that is waited for is the child's
    members = family(process)
    assert len(members) == 2
    assert members[0] == process
    stop(members, grace_s=0.2)
    assert alive(members) == []
    running.wait()


def test_a_pid_used_again_is_left_alone() -> None:
    this = find(os.getpid())
    assert this is not None
    someone_else = Process(this.pid, "started at another time")
    assert alive([someone_else]) == []
    assert family(someone_else) == []
    stop([someone_else], grace_s=0)  # would have ended the tests


def test_an_ended_process_is_not_found() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert find(ended.pid) is None


@only_linux
def test_a_child_in_a_session_of_its_own_dies_with_its_killed_parent() -> None:
    child = """
import os, signal, sys, time
from storage.processes import die_with_parent
die_with_parent(signal.SIGKILL, int(sys.argv[1]))
print("ready", flush=True)
while True:
    time.sleep(1)
"""
    program = f"""
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {child!r}, str(os.getpid())], start_new_session=True)
time.sleep(600)
"""
    left = kill_parent(*started(program))  # the line that is waited for is the child's
    assert len(left) == 1
    wait_until_gone(left)


@only_linux
def test_a_child_whose_parent_was_killed_before_it_could_ask_ends_at_once() -> None:
    program = (
        "import signal; from storage.processes import die_with_parent; die_with_parent(signal.SIGTERM, 1); input()"
    )
    child = subprocess.run([sys.executable, "-c", program], stdin=subprocess.DEVNULL, check=False)
    assert child.returncode == -signal.SIGTERM

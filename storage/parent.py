"""Dying with the parent process, for child processes that may import nothing else: this takes a millisecond.

die_with_parent(signal.SIGKILL, parent)     # in a child, first thing
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: signal.Signals, parent: int) -> None:
    """In a child process: be sent a signal as soon as the parent is gone, even by kill -9.

    Linux only (prctl's PR_SET_PDEATHSIG; it survives exec, and is not inherited); elsewhere nothing happens, and what
    outlives its parent is stopped by the next launch. The kernel watches the *thread* that started this process: it
    must live as long as the child is wanted.

    Args:
        parent: pid of the process that started this one; where it is gone already, the signal comes at once.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it ended between starting us and the line above
        os.kill(os.getpid(), number)

"""`hibari` that kills itself in the middle of a stage: `python -m tests.flows.killed_run STAGE NUMBER ARGUMENTS...`.

kill -9 comes when the process is about to write its NUMBERth file below the stage's folder, so that those before it are
whole and the rest is missing. Worker processes write other files, and are not counted.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import Any

from flows import cli

BESIDE = re.compile(r"\.lease|_attempts\.json|\.progress|__pycache__")  # written for every stage, whatever it makes


def kill_at(stage: str, number: int) -> None:
    """Watch what this process opens for writing."""
    count = 0

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event != "open" or not isinstance(arguments[1], str) or arguments[1][0] not in "wxa":
            return
        path = str(arguments[0])
        if f"/{stage}/" in path and not BESIDE.search(path):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)


if __name__ == "__main__":
    kill_at(sys.argv[1], int(sys.argv[2]))
    sys.argv = ["hibari", *sys.argv[3:]]
    cli.main()

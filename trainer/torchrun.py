"""torchrun that does not outlive whoever started it: `python -m trainer.torchrun PARENT_PID TORCHRUN_ARGUMENTS`.

When its parent is gone, even by kill -9, torchrun gets SIGTERM and passes it on to its ranks, which save a checkpoint.
The ranks learn torchrun's pid from the environment, so that they can do the same when it is torchrun that was killed.
"""

from __future__ import annotations

import os
import signal
import sys

from storage.processes import die_with_parent

PID = "HIBARI_TORCHRUN_PID"


def end_with_torchrun() -> None:
    """In a rank, before it handles SIGTERM: be sent one when torchrun is gone."""
    if agent := os.environ.get(PID):
        die_with_parent(signal.SIGTERM, int(agent))


def main() -> None:
    """torchrun itself."""
    die_with_parent(signal.SIGTERM, int(sys.argv.pop(1)))
    os.environ[PID] = str(os.getpid())
    from torch.distributed.run import main as torchrun  # after the line above: importing it takes seconds

    torchrun()


if __name__ == "__main__":
    main()

"""A deduplication that kills itself: `python -m tests.tasks.deduplicate.killed_stage AT OUT BASE SHARD...`.

kill -9 comes when the process is about to write a file, or to remove a folder, whose path contains AT. Worker processes
write other files, and are not counted. BASE is `-` for none.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from storage.artifact import Outcome
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.deduplicate import deduplicate
from tasks.refine.config import RefineConfig
from tasks.shards import ExecutorConfig


def run(shards: list[str], out: str, base: str | None, executor: ExecutorConfig) -> Outcome:
    """Deduplicate with all levels, verification and boilerplate."""
    settings = {"bands": 24, "rows": 3, "urls": True, "verify": {"enabled": True, "min_jaccard": 0.5}}
    refine = RefineConfig.model_validate({"boilerplate": {"min_documents": 2}, "min_characters": 20})
    config = DeduplicateConfig.model_validate(settings)
    return deduplicate(shards, config, refine, out=out, executor=executor, base=base, pairs_per_bin=0)


def kill_at(part: str) -> None:
    """Watch what this process opens for writing, and which folders it removes."""

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wxa"
        if (writes or event == "shutil.rmtree") and part in str(arguments[0]):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)


if __name__ == "__main__":
    at, out, base, *shards = sys.argv[1:]
    kill_at(at)
    run(shards, out, None if base == "-" else base, ExecutorConfig(workers=2))

"""How a training ended, told by small files in its folder to whoever started it; no torch.

- `stopped.json` {step}: it was told to stop, saved a checkpoint, and goes on from there when it is started again.
- `refused.json` {error}: what a restart would only run into again. torchrun restarts its ranks after any failure, and
  cannot be told not to: a rank that finds this file after a restart ends at once, with the same error.

Both are removed when a training is started, not when torchrun restarts its ranks: by `trainer.torchrun`, or under plain
torchrun by rank 0. (torchrun's own count of restarts tells the two apart on one machine only: a machine that follows
another's restart does not count it.)

    clear(out); record_stop(out, step); stopped_step(out)
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from storage.uri import write_bytes

STOPPED, REFUSED = "stopped.json", "refused.json"
NO_RESTART = "not started again: "  # what a restarted rank's log begins with where it only repeats a refusal


class TrainingRefusedError(RuntimeError):
    """Training cannot go on, and started again could not either: a guard's stop."""


REFUSALS = (ValueError, FloatingPointError, TrainingRefusedError)


def restarts_before() -> int:
    """How often torchrun has restarted its ranks; 0 without torchrun."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def clear(out: str | Path) -> None:
    """Forget how an earlier training in this folder ended."""
    for name in (STOPPED, REFUSED):
        Path(out, name).unlink(missing_ok=True)


def record_stop(out: str | Path, step: int) -> None:
    """Training was told to stop, and has a checkpoint of `step`."""
    _write(out, STOPPED, {"step": step})


def stopped_step(out: str | Path) -> int | None:
    """The step of the checkpoint that a training which was told to stop has saved; None where it was not."""
    return _read(out, STOPPED).get("step")


def record_refusal(out: str | Path, error: BaseException) -> None:
    """Training ended with an error that a restart would meet again; every rank may record its own."""
    _write(out, REFUSED, {"error": f"{type(error).__name__}: {error}"})


def refusal(out: str | Path) -> str | None:
    """The error that a training ended with before torchrun restarted its ranks, if restarting is no use."""
    return _read(out, REFUSED).get("error")


def _write(out: str | Path, name: str, content: dict[str, Any]) -> None:
    write_bytes(str(Path(out, name)), json.dumps(content).encode() + b"\n")


def _read(out: str | Path, name: str) -> dict[str, Any]:
    path = Path(out, name)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

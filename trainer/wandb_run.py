"""Weights & Biases, where a job asks for it (`train.wandb_project`, extra `hibari[wandb]`); imported only then.

One run per training: its id lies in `wandb_run_id` of the job's folder, so that a resumed training goes on in it. What
a killed training had logged after its last checkpoint is logged again under the same `step`, which is the axis of all
charts. Without a key, or where the service cannot be reached, everything is kept below the folder (`wandb sync` sends
it later), and training goes on.

    run = WandbRun(job)
    run.log(step=10, numbers={"loss": 2.1})
"""

from __future__ import annotations

import importlib
import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storage.uri import write_bytes
from trainer.config import TrainJob

logger = logging.getLogger(__name__)

RUN_ID = "wandb_run_id"


class WandbRun:
    """A run of the job's project."""

    def __init__(self, job: TrainJob) -> None:
        """
        Raises:
            ValueError: wandb is not installed.
        """
        try:
            wandb = importlib.import_module("wandb")
        except ModuleNotFoundError as error:
            raise ValueError(
                f"train.wandb_project is {job.train.wandb_project!r} and wandb is not installed: "
                f"pip install 'hibari[wandb]', or leave wandb_project out"
            ) from error
        self._run = _started(wandb, job)
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log({**numbers, "step": step})

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


def _started(wandb: Any, job: TrainJob) -> Any:
    """The run, online where there is a key and a connection."""
    out = Path(job.out)
    settings = {
        "project": job.train.wandb_project,
        "id": _run_id(out / RUN_ID),
        "name": out.name,
        "dir": str(out),
        "resume": "allow",
        "config": job.model_dump(include={"train", "model", "mixture", "seed", "num_steps", "bytes_per_token"}),
    }
    if "WANDB_MODE" in os.environ:  # offline, disabled: what the user wants
        return wandb.init(**settings)
    if wandb.api.api_key is None:
        logger.warning("no W&B key (WANDB_API_KEY, `wandb login`): logged below %s/wandb, `wandb sync` sends it", out)
        return wandb.init(**settings, mode="offline")
    try:
        return wandb.init(**settings)
    except wandb.Error as error:
        logger.warning("W&B: %s; logged below %s/wandb, `wandb sync` sends it", error, out)
        return wandb.init(**settings, mode="offline")


def _run_id(path: Path) -> str:
    if not path.is_file():
        write_bytes(str(path), secrets.token_hex(4).encode())
    return path.read_text(encoding="utf-8")

"""Train in Prefect: the initialised model and the mixture in, a checkpoint out.

Prefect launches training, never runs it: torchrun has a session of its own, its logs are files, and what ends this
task ends it too. Its unit of resumption is the step: killed, it goes on from the checkpoint that it then saves, or from
the last one before where it can save none.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefect.events import emit_event

from storage.checkpoints import FOLDER, checkpoint_uri
from storage.uri import join
from tasks.progress import report_progress
from tasks.stage import StagePlan, StageRecord, execute
from tasks.task import LivePicture, Turn, stage_task
from tasks.train.config import TrainStageConfig
from tasks.train.continued import CONTINUES, continued_checkpoint
from tasks.train.curve import draw_curve
from trainer.rows import METRICS, VALIDATION, read_rows

logger = logging.getLogger(__name__)

CURVE_S, CURVE_SHARE = 20.0, 0.01
CHECKPOINT_SAVED = "hibari.checkpoint.saved"


@stage_task
def train(
    plan: StagePlan,
    config: TrainStageConfig,
    base_model: str | None,
    languages: Mapping[str, str],
    seed: int,
    tokenizer: StageRecord,
    base: StageRecord,
    tokens: StageRecord,
    mixture: StageRecord,
) -> StageRecord:
    """Train from `base` on `mixture`; `base_model` is None where the run made its base itself.

    Where the mixture continues that of an earlier training, which the plan then records, this one goes on from that
    training's checkpoint.
    """
    from storage.artifact import Outcome
    from tasks.train.job import make_job
    from tasks.train.launch import Limits, launch, work_folder

    earlier = plan.recorded.get(CONTINUES)

    def work(out: str) -> Outcome:
        job = make_job(
            config,
            base_model=base_model or join(base.uri, "base"),
            model=join(base.uri, "model"),
            tokenizer=join(tokenizer.uri, "tokenizer"),
            languages=languages,
            tokens=tokens,
            mixture=mixture,
            seed=seed,
            out=out,
            fingerprint=plan.fingerprint,
            continued=continued_checkpoint(**earlier) if earlier else None,
        )
        return launch(
            job,
            out=out,
            nproc=config.parallel.world_size,
            progress=_reporter(work_folder(out)),
            log=logger.warning,
            saved=_announcer(plan.name, str(work_folder(out) / FOLDER), job.num_steps),
            limits=Limits(_grace_s(config), config.timeout_s, config.max_restarts),
        )

    return execute(plan, work, needs=[tokenizer, base, tokens, mixture])


def _grace_s(config: TrainStageConfig) -> float:
    """Under a worker less time: a cancelled run is to be gone soon, and Prefect kills one that is not."""
    deployed = "PREFECT__FLOW_RUN_ID" in os.environ
    return min(config.cancel_grace_s, config.stop_grace_s) if deployed else config.stop_grace_s


def _announcer(run: str, folder: str, num_steps: int) -> Callable[[int], None]:
    """Emits an event for each checkpoint; the deployment `evaluation` waits for those that are not the last."""

    def announce(step: int) -> None:
        last = step == num_steps
        emit_event(
            CHECKPOINT_SAVED,
            resource={
                "prefect.resource.id": f"hibari.run.{run}",
                "prefect.resource.name": run,
                "hibari.last": str(last).lower(),
            },
            payload={"run": run, "step": step, "checkpoint": checkpoint_uri(folder, step), "last": last},
        )

    return announce


def _reporter(folder: Path) -> Callable[[int, int, Mapping[str, Any]], None]:
    """Tells of each step, and draws the learning curve again every so often and at the end."""
    picture = LivePicture("learning-curve", "bits per byte and learning rate over the steps")
    turn = Turn(CURVE_S, CURVE_SHARE)

    def report(step: int, steps: int, row: Mapping[str, Any]) -> None:
        counts = {"tokens": row["consumed_tokens"]}
        loss = "not finite" if row["loss"] is None else f"{row['loss']:.3f}"
        report_progress("train", step, steps, "steps", f"loss {loss}", counts)
        if turn.has_come(step == steps):
            metrics, validation = (read_rows(folder / name) for name in (METRICS, VALIDATION))
            picture.show(draw_curve(metrics, validation, steps))

    return report

"""Train in Prefect: the initialised model and the mixture in, a checkpoint out.

Prefect launches training, never runs it: torchrun has a session of its own, its logs are files, and what ends this
task ends it too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from storage.uri import join
from tasks.progress import report_progress
from tasks.stage import StagePlan, StageRecord, execute
from tasks.task import stage_task
from tasks.train.config import TrainStageConfig

logger = logging.getLogger(__name__)


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
    """Train from `base` on `mixture`; `base_model` is None where the run made its base itself."""
    from storage.artifact import Outcome
    from tasks.train.job import make_job
    from tasks.train.launch import launch

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
        )
        return launch(
            job,
            out=out,
            nproc=config.parallel.world_size,
            progress=_report,
            log=logger.warning,
            grace_s=config.stop_grace_s,
            timeout_s=config.timeout_s,
        )

    return execute(plan, work, needs=[tokenizer, base, tokens, mixture])


def _report(step: int, steps: int, row: Mapping[str, Any]) -> None:
    note = f"loss {row['loss']:.3f}, {row['tokens_per_second']:,.0f} tokens/s"
    report_progress("train", step, steps, "steps", note)

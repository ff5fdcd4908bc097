"""Curate in Prefect: WARC files in, Japanese documents and a ledger out."""

from __future__ import annotations

from tasks.curate.config import CurateConfig
from tasks.progress import shard_progress
from tasks.shards import ExecutorConfig
from tasks.stage import StagePlan, StageRecord, execute
from tasks.task import stage_task


@stage_task
def curate(plan: StagePlan, config: CurateConfig, executor: ExecutorConfig) -> StageRecord:
    from tasks.curate.curate import curate as curate_warcs

    progress = shard_progress("curate", "WARC files", "records")
    return execute(plan, lambda out: curate_warcs(config, out=out, executor=executor, progress=progress))

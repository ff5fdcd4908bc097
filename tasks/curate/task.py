"""Curate in Prefect: WARC files in, Japanese documents and a ledger out."""

from __future__ import annotations

from tasks.curate.config import CurateConfig
from tasks.progress import shard_progress
from tasks.shards import ExecutorConfig
from tasks.stage import StagePlan, StageRecord, execute
from tasks.task import stage_task


@stage_task
def curate(plan: StagePlan, config: CurateConfig, executor: ExecutorConfig) -> StageRecord:
    """Curate the run's WARC files, or take newly tombstoned pages out of what was made before."""
    from storage.artifact import Outcome
    from storage.tombstones import TOMBSTONES, tombstones_of
    from tasks.curate.curate import curate as curate_warcs
    from tasks.curate.retract import find_earlier
    from tasks.curate.reuse import find_curated

    def work(out: str) -> Outcome:
        return curate_warcs(
            config,
            out=out,
            executor=executor,
            progress=shard_progress("curate", "WARC files", ("records", "documents")),
            tombstones=tombstones_of(plan.uri, plan.inputs.get(TOMBSTONES)),
            earlier=None if plan.force else find_earlier(plan),
            curated=None if plan.force else find_curated(plan, config),
        )

    return execute(plan, work)

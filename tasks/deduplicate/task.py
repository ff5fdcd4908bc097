"""Deduplicate in Prefect: documents in, the corpus and every dropped copy's twin out."""

from __future__ import annotations

from storage.artifact import data_files
from tasks.deduplicate.config import DeduplicateConfig
from tasks.progress import shard_progress
from tasks.refine.config import RefineConfig
from tasks.shards import ExecutorConfig
from tasks.stage import StagePlan, StageRecord, execute
from tasks.task import stage_task


@stage_task
def deduplicate(
    plan: StagePlan,
    config: DeduplicateConfig,
    refine: RefineConfig,
    executor: ExecutorConfig,
    documents: StageRecord,
) -> StageRecord:
    """Keep one of every cluster of copies among `documents`, and refine what is kept."""
    from tasks.deduplicate.deduplicate import deduplicate as deduplicate_documents

    progress = shard_progress("deduplicate", "steps of shards", ("documents", "kept"))
    return execute(
        plan,
        lambda out: deduplicate_documents(
            data_files(documents.uri, "documents/"), config, refine, out=out, executor=executor, progress=progress
        ),
        needs=[documents],
    )

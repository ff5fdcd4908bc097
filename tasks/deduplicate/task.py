"""Deduplicate in Prefect: documents in, the corpus and every dropped copy's twin out."""

from __future__ import annotations

from storage.artifact import Outcome, read_manifest
from storage.uri import join
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
    base = join(plan.uri.rsplit("/", 1)[0], config.onto) if config.onto else None

    def work(out: str) -> Outcome:
        digests = _digests(documents.uri)
        return deduplicate_documents(
            list(digests), config, refine, out=out, executor=executor, progress=progress, base=base, digests=digests
        )

    return execute(plan, work, needs=[documents])


def _digests(curated: str) -> dict[str, str]:
    """URI and sha256 of the files of documents of a complete artifact, as its manifest has them."""
    manifest = read_manifest(curated)
    if manifest is None:
        raise FileNotFoundError(f"no complete artifact at {curated}")
    found = {entry.path: entry.sha256 for entry in manifest.files if entry.path.startswith("documents/")}
    return {join(curated, path): found[path] for path in sorted(found)}

"""Binarize in Prefect: the corpus and the other sources in, token files out, training and validation apart.

Its unit of resumption is the file, or a stretch of a large one: killed, it tokenises those that it had not finished;
merging them starts again.
"""

from __future__ import annotations

from collections.abc import Sequence

from storage.uri import expand_glob, join
from tasks.binarize.config import CORPUS, BinarizeConfig, SourceConfig
from tasks.progress import shard_progress
from tasks.shards import ExecutorConfig
from tasks.stage import StagePlan, StageRecord, execute
from tasks.task import stage_task


@stage_task
def binarize(
    plan: StagePlan,
    config: BinarizeConfig,
    sources: Sequence[SourceConfig],
    executor: ExecutorConfig,
    corpus: StageRecord,
    tokenizer: StageRecord,
) -> StageRecord:
    """Tokenise `corpus` and every other source with `tokenizer`."""
    from storage.artifact import Outcome
    from storage.corpus import corpus_shards
    from storage.sources import SourceLayout
    from storage.tombstones import TOMBSTONES, tombstones_of
    from tasks.binarize.binarize import SourceInput
    from tasks.binarize.binarize import binarize as binarize_sources

    def source_input(source: SourceConfig) -> SourceInput:
        if source.name == CORPUS:
            return SourceInput(source.name, source.language, tuple(corpus_shards(corpus.uri)))
        files = tuple(found for uri in source.documents or [] for found in expand_glob(uri))
        return SourceInput(source.name, source.language, files, SourceLayout(**source.reading))

    def work(out: str) -> Outcome:
        return binarize_sources(
            [source_input(source) for source in sources],
            join(tokenizer.uri, "tokenizer"),
            config,
            out=out,
            executor=executor,
            progress=shard_progress("binarize", "files", ("documents_read",)),
            tombstones=tombstones_of(plan.uri, plan.inputs.get(TOMBSTONES)),
        )

    return execute(plan, work, needs=[corpus, tokenizer])

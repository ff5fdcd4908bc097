"""Expand in Prefect: the corpus in, the base tokenizer with Japanese pieces added out.

Its unit of resumption is the stage: killed, it reads its sample and learns the pieces again.
"""

from __future__ import annotations

from collections.abc import Iterator

from tasks.expand.config import ExpandConfig
from tasks.stage import StagePlan, StageRecord, execute
from tasks.task import stage_task


@stage_task
def expand(
    plan: StagePlan, config: ExpandConfig, validation_ratio: float, seed: int, corpus: StageRecord
) -> StageRecord:
    from storage.corpus import corpus_shards, corpus_texts
    from tokenizer.expand import ExpandOptions
    from tokenizer.expand import expand as expand_tokenizer
    from tokenizer.sample import learnable

    def texts() -> Iterator[str]:
        for shard in corpus_shards(corpus.uri):
            yield from learnable(corpus_texts(shard), validation_ratio)

    options = ExpandOptions(**config.model_dump(exclude={"base", "licence"}))
    return execute(plan, lambda out: expand_tokenizer(config.base, texts, options, out=out, seed=seed), needs=[corpus])

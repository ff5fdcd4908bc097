"""Initialize in Prefect: the base model and the expanded tokenizer in, a model with fitting embeddings out.

Its unit of resumption is the stage: killed, it writes the whole model again.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from storage.uri import join
from tasks.initialize.config import InitializeConfig
from tasks.stage import StagePlan, StageRecord, execute
from tasks.task import stage_task


@stage_task
def initialize(
    plan: StagePlan,
    config: InitializeConfig,
    validation_ratio: float,
    seed: int,
    corpus: StageRecord,
    tokenizer: StageRecord,
) -> StageRecord:
    from storage.artifact import Outcome
    from storage.corpus import CorpusShard, corpus_shards, corpus_texts
    from tokenizer.initialize import initialize as initialize_embeddings
    from tokenizer.new_rows import RowOptions
    from tokenizer.random_model import RandomModel
    from tokenizer.sample import learnable

    reads_corpus = "deduplicate" in plan.inputs  # not without new pieces, nor where their logits are not shifted

    def texts(shard: CorpusShard) -> Iterator[str]:
        return learnable(corpus_texts(shard), validation_ratio)

    def work(out: str) -> Outcome:
        random = None if isinstance(config.base_model, str) else RandomModel(**config.base_model.random.model_dump())
        shards = corpus_shards(corpus.uri) if reads_corpus else []
        return initialize_embeddings(
            config.folder,
            random,
            tokenizer=join(tokenizer.uri, "tokenizer"),
            out=out,
            seed=seed,
            options=RowOptions(**config.row_options),
            shards=[partial(texts, shard) for shard in shards],
        )

    return execute(plan, work, needs=[tokenizer, corpus] if reads_corpus else [tokenizer])

"""Initialize in Prefect: the base model and the expanded tokenizer in, a model with fitting embeddings out.

Its unit of resumption is the stage: killed, it writes the whole model again.
"""

from __future__ import annotations

from storage.uri import join
from tasks.initialize.config import InitializeConfig
from tasks.stage import StagePlan, StageRecord, execute
from tasks.task import stage_task


@stage_task
def initialize(plan: StagePlan, config: InitializeConfig, seed: int, tokenizer: StageRecord) -> StageRecord:
    from storage.artifact import Outcome
    from tokenizer.initialize import initialize as initialize_embeddings
    from tokenizer.random_model import RandomModel

    def work(out: str) -> Outcome:
        random = None if isinstance(config.base_model, str) else RandomModel(**config.base_model.random.model_dump())
        return initialize_embeddings(
            config.folder, random, tokenizer=join(tokenizer.uri, "tokenizer"), out=out, seed=seed
        )

    return execute(plan, work, needs=[tokenizer])

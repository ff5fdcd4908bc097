"""Mix in Prefect: token files and weights in, the order of all training samples out.

Its unit of resumption is the stage: killed, it plans all sources again.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks.mix.config import MixConfig
from tasks.stage import StagePlan, StageRecord, execute
from tasks.task import stage_task
from trainer.config import TrainConfig


@stage_task
def mix(
    plan: StagePlan,
    config: MixConfig,
    weights: Mapping[str, float],
    train: TrainConfig,
    seed: int,
    tokens: StageRecord,
    ceilings: Mapping[str, float] | None = None,
) -> StageRecord:
    """Plan `train`'s samples: `weights` (source name -> share) of the training tokens that `tokens` holds.

    `ceilings`: source name -> most epochs, for sources that state their own.
    """
    from tasks.mix.mix import mix as mix_sources

    return execute(
        plan,
        lambda out: mix_sources(
            tokens.uri,
            weights,
            config,
            seq_len=train.seq_len,
            global_batch=train.global_batch,
            batch_ramp=train.batch_ramp,
            seed=seed,
            out=out,
            ceilings=ceilings,
        ),
        needs=[tokens],
    )

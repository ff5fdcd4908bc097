"""Export in Prefect: the last checkpoint, or the one that the plan names, in, a Hugging Face folder out.

Its unit of resumption is the stage: killed, it writes the whole folder again.
"""

from __future__ import annotations

from storage.checkpoints import saved_checkpoint
from storage.uri import join, localized, staged
from tasks.export.config import ExportConfig
from tasks.stage import StagePlan, StageRecord, execute
from tasks.task import stage_task


@stage_task
def export(plan: StagePlan, config: ExportConfig, base: StageRecord, checkpoint: StageRecord) -> StageRecord:
    """Write a checkpoint as the folder that training started from, `base`, is written.

    The last one is named by the record of a finished training, `checkpoint`. An earlier one is whole when its own
    manifest is there, so it can be exported while training still runs.
    """
    from storage.artifact import Outcome

    step = plan.literals.get("step")

    def work(out: str) -> Outcome:
        from trainer.export import export as export_checkpoint  # torch takes seconds; a reused stage needs none

        if step is None:
            source = join(checkpoint.uri, checkpoint.details["checkpoint"])
        else:
            source = saved_checkpoint(plan.recorded["checkpoint"])
        with (
            localized(source) as trained,
            localized(join(base.uri, "model")) as model,
            staged(out) as folder,
        ):
            return export_checkpoint(trained, model=model, tokenizer=model, out=folder, dtype=config.dtype)

    return execute(plan, work, needs=[base, checkpoint] if step is None else [base])

"""Export in Prefect: the last checkpoint in, a Hugging Face folder out."""

from __future__ import annotations

from storage.uri import join, localized, staged
from tasks.export.config import ExportConfig
from tasks.stage import StagePlan, StageRecord, execute
from tasks.task import stage_task


@stage_task
def export(plan: StagePlan, config: ExportConfig, base: StageRecord, checkpoint: StageRecord) -> StageRecord:
    """Write the last checkpoint as the folder that training started from, `base`, is written."""
    from storage.artifact import Outcome
    from trainer.export import export as export_checkpoint

    def work(out: str) -> Outcome:
        with (
            localized(join(checkpoint.uri, checkpoint.details["checkpoint"])) as trained,
            localized(join(base.uri, "model")) as model,
            staged(out) as folder,
        ):
            return export_checkpoint(trained, model=model, tokenizer=model, out=folder, dtype=config.dtype)

    return execute(plan, work, needs=[base, checkpoint])

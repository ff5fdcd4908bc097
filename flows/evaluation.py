"""Score the checkpoints of a run as training saves them, and show how the scores move.

Each checkpoint goes through the pipeline with its step, so that what is done is not done again; the run's own last
evaluation (base, initialised and trained model) is the last checkpoint's. Deployed, this runs every night and whenever
training saves a checkpoint.

    evaluation(run)             # every saved checkpoint without scores
    evaluation(run, step=100)   # this one
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run

from flows.checkpoints import by_checkpoint, is_trained, score_rows, unscored_steps
from flows.config import RunConfig
from flows.pipeline import pipeline
from flows.plan import make_plan
from flows.selection import Selection
from flows.worker import end_with_worker
from storage.uri import join
from tasks.report.checkpoints_page import PAGE, checkpoint_tables, write_checkpoints
from tasks.report.comparison_charts import draw_checkpoints
from tasks.report.tables import as_markdown
from tasks.stage import StageError
from tasks.task import LivePicture, shown

logger = logging.getLogger(__name__)

LAST_STAGES = ("export", "evaluate", "report")


def _flow_run_name() -> str:
    step = flow_run.parameters["step"]
    return f"{flow_run.parameters['run'].label}, " + ("every checkpoint" if step is None else f"step {step}")


@flow(
    name="evaluation",
    flow_run_name=_flow_run_name,
    on_running=[end_with_worker],
    validate_parameters=True,
    persist_result=False,
)
def evaluation(run: RunConfig, step: int | None = None, run_file: str = "") -> list[dict[str, Any]]:
    """Score one checkpoint, or all that have none yet, and publish all scores so far.

    Args:
        run: the run file's content.
        step: of the checkpoint; None: every saved one without scores, and the last where training has ended.
        run_file: how to name the run file in the rerun commands; else the record that the run leaves.

    Returns:
        Rows as `flows.checkpoints.score_rows` gives them.

    Raises:
        StageError: a checkpoint could not be scored; the others were.
    """
    failures = []
    for number in [*unscored_steps(run), run.num_steps] if step is None else [step]:
        try:
            score_checkpoint(run, number, run_file)
        except StageError as error:
            failures.append(f"step {number}: {error}")
    rows = score_rows(run)
    publish(run, rows)
    if failures:
        raise StageError("\n".join(failures))
    return rows


def score_checkpoint(run: RunConfig, step: int, run_file: str) -> None:
    """Export and evaluate one checkpoint as a child flow run.

    Raises:
        StageError: it is not saved (any more), or cannot be scored.
    """
    if step == run.num_steps:
        if not is_trained(make_plan(run)):
            logger.info("step %d is the last: the run scores it itself when training has ended", step)
            return
        selection = Selection(only=LAST_STAGES)
    else:
        selection = Selection(step=step)
    pipeline.with_options(flow_run_name=f"{run.label}, step {step}")(run, selection, run_file)


def checkpoints_uri(run: RunConfig) -> str:
    """The folder of the page of a run's checkpoints."""
    return join(run.root, "checkpoints", f"{run.name}-{run.variant}" if run.variant else run.name)


def publish(run: RunConfig, rows: Sequence[dict[str, Any]]) -> None:
    """The scores as a page with exports below the run's root, and in Prefect.

    There they are a table under the key `<name>-checkpoints`, the same as Markdown with the page's place under
    `<name>-checkpoints-matrix`, and a picture under `<name>-checkpoints-curve`.
    """
    key = f"{run.name}-{run.variant}-checkpoints" if run.variant else f"{run.name}-checkpoints"
    description = f"{run.label}: scores of the checkpoints, with intervals"
    shown(create_table_artifact, by_checkpoint(rows), key=key, description=description)
    if rows:
        LivePicture(f"{key}-curve", description).show(draw_checkpoints(rows, run.tokens_after(run.num_steps)))
        out = checkpoints_uri(run)
        write_checkpoints(run.label, rows, out)
        parts = [f"**{table.title}**\n\n{as_markdown(table)}" for table in checkpoint_tables(rows)]
        text = f"{description}. Page: `{join(out, PAGE)}`\n\n" + "\n".join(parts)
        shown(create_markdown_artifact, text, key=f"{key}-matrix", description=description)

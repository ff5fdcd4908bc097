"""Run the pipeline from the command line: show the plan, find or start a Prefect server, show progress, sum up.

run_pipeline(load_run("configs/demo.yaml"), Selection(), "configs/demo.yaml", Console())
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from flows.checkpoints import is_scored, is_trained, require_checkpoint, score_rows, score_table, unscored_steps
from flows.config import RunConfig
from flows.plan import Plan, make_plan
from flows.records import record_run
from flows.selection import Selection
from flows.status import run_status, status_table
from tasks.progress import Pace, Progress, TextLines, describe, listening
from tasks.stage import StageRecord

if TYPE_CHECKING:
    from prefect import Flow

P = ParamSpec("P")
R = TypeVar("R")


def show_plan(run: RunConfig, selection: Selection, run_file: str, console: Console) -> Plan:
    """Print what is complete and what a run would do.

    Raises:
        ConfigError: inputs are missing, or the checkpoint of the selection's step is.
    """
    plan = make_plan(run, selection, run_file)
    require_checkpoint(plan)
    statuses = run_status(plan)
    console.print(status_table(statuses, f"{run.label} in {run.root}"))
    to_do = [s.plan.stage for s in statuses if s.plan.selected and (s.state != "complete" or s.plan.force)]
    console.print("to do: " + (", ".join(to_do) or "nothing, every selected stage is complete"))
    return plan


def run_pipeline(run: RunConfig, selection: Selection, run_file: str, console: Console) -> list[StageRecord]:
    """Bring every selected stage to completion.

    Returns:
        The records of the ten stages; an empty list when there was nothing to do.

    Raises:
        ConfigError: inputs are missing, or the checkpoint of the selection's step is.
        StageError: a stage failed; what was finished before it stays finished.
    """
    plan = make_plan(run, selection, run_file)
    require_checkpoint(plan)
    statuses = run_status(plan)
    if all(status.state == "complete" and not status.plan.force for status in statuses if status.plan.selected):
        console.print(status_table(statuses, f"{run.label} in {run.root}"))
        console.print("nothing to do: every selected stage is complete")
        record_run(run, plan, selection, run_file)  # else the pipeline does
        return []
    connect(console)
    started = time.monotonic()
    from flows.pipeline import pipeline

    with progress_shown():
        records = announced(pipeline, console)(run, selection, run_file)
    console.print(status_table(run_status(plan), f"{run.label} in {run.root}"))
    done = [record.stage for record in records if record.status == "done"]
    reused = sum(record.status == "reused" for record in records)
    seconds = f"{time.monotonic() - started:,.0f} s"
    console.print(f"done: {', '.join(done) or 'nothing'}; {reused} reused; {seconds}", highlight=False)
    return records


def run_evaluation(run: RunConfig, step: int | None, run_file: str, console: Console) -> None:
    """Score the checkpoint of `step`, or every saved one without scores, and print all scores so far.

    Raises:
        ConfigError: inputs are missing, or the checkpoint of `step` is.
        StageError: a checkpoint could not be scored; the others were.
    """
    plan = make_plan(run, Selection(step=step))
    require_checkpoint(plan)
    to_do = unscored_steps(run) if step is None else [step]
    if step is None and is_trained(plan):
        to_do.append(run.num_steps)
    to_do = [number for number in to_do if not is_scored(run, plan, number)]
    if to_do:
        console.print(f"to score: the checkpoints of steps {', '.join(map(str, to_do))}", highlight=False)
        connect(console)
        from flows.evaluation import evaluation

        with progress_shown():
            rows = announced(evaluation, console)(run, step, run_file)
    else:
        console.print("nothing to do: no saved checkpoint is without scores")
        rows = score_rows(run)
    console.print(score_table(rows, f"{run.label} in {run.root}"))


def connect(console: Console) -> None:
    """Find a Prefect server or start our own, and say which; before anything imports prefect."""
    from flows.server import ensure_api

    url, own = ensure_api()
    console.print(f"Prefect: {'our own server, for this run' if own else 'server'} at {url}", highlight=False)


def announced(flow: Flow[P, R], console: Console) -> Flow[P, R]:
    """The flow, made to say where in Prefect's UI it can be watched as soon as it runs."""
    from prefect.utilities.urls import url_for

    def say(flow: Any, flow_run: Any, state: Any) -> None:
        console.print(f"watch: {url_for('flow-run', obj_id=flow_run.id)}", highlight=False, soft_wrap=True)

    return flow.with_options(on_running=[*flow.on_running_hooks, say])


@contextmanager
def progress_shown() -> Iterator[None]:
    """Bars on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        with listening(TextLines()):
            yield
        return
    with Bars(BarColumn(20), TextColumn("{task.description}"), console=Console(stderr=True)) as bars:
        shown: dict[str, tuple[TaskID, Pace]] = {}

        def update(progress: Progress) -> None:
            if progress.stage not in shown:
                for earlier, _ in shown.values():  # stages follow one another, so those without a known length are done
                    bars.update(earlier, completed=1, total=1)
                shown[progress.stage] = (bars.add_task(progress.stage, total=None), Pace())
            bar, pace = shown[progress.stage]
            pace.hear(progress)
            says = f"{progress.stage}: {describe(progress, pace)}"
            if progress.total:
                bars.update(bar, completed=progress.done, total=progress.total, description=says)
            else:
                bars.update(bar, description=says)

        with listening(update):
            yield

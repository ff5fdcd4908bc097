"""Run the pipeline from the command line: show the plan, find or start a Prefect server, show progress, sum up.

run_pipeline(load_run("configs/demo.yaml"), Selection(), "configs/demo.yaml", Console())
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from flows.config import RunConfig, dump_run
from flows.plan import Plan, Selection, make_plan, run_record_uri
from flows.status import run_status, status_table
from storage.uri import write_bytes
from tasks.progress import Progress, TextLines, listening
from tasks.stage import StageRecord


def show_plan(run: RunConfig, selection: Selection, run_file: str, console: Console) -> Plan:
    """Print what is complete and what a run would do.

    Raises:
        ConfigError: inputs are missing.
    """
    plan = make_plan(run, selection, run_file)
    statuses = run_status(plan)
    console.print(status_table(statuses, f"{run.name} in {run.root}"))
    to_do = [s.plan.stage for s in statuses if s.plan.selected and (s.state != "complete" or s.plan.force)]
    console.print("to do: " + (", ".join(to_do) or "nothing, every selected stage is complete"))
    return plan


def run_pipeline(run: RunConfig, selection: Selection, run_file: str, console: Console) -> list[StageRecord]:
    """Bring every selected stage to completion.

    Returns:
        The records of the ten stages; an empty list when there was nothing to do.

    Raises:
        ConfigError: inputs are missing.
        StageError: a stage failed; what was finished before it stays finished.
    """
    plan = make_plan(run, selection, run_file)
    statuses = run_status(plan)
    if all(status.state == "complete" and not status.plan.force for status in statuses if status.plan.selected):
        console.print(status_table(statuses, f"{run.name} in {run.root}"))
        console.print("nothing to do: every selected stage is complete")
        return []
    write_bytes(run_record_uri(run), dump_run(run).encode())
    from flows.server import ensure_api

    url, own = ensure_api()
    console.print(f"Prefect: {'our own server, for this run' if own else 'server'} at {url}", highlight=False)
    started = time.monotonic()
    from flows.pipeline import pipeline

    with progress_shown():
        records = pipeline(run, selection, run_file)
    console.print(status_table(run_status(plan), f"{run.name} in {run.root}"))
    done = [record.stage for record in records if record.status == "done"]
    reused = sum(record.status == "reused" for record in records)
    console.print(f"done: {', '.join(done)}; {reused} reused; {time.monotonic() - started:,.0f} s", highlight=False)
    return records


@contextmanager
def progress_shown() -> Iterator[None]:
    """Bars on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        with listening(TextLines()):
            yield
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        shown: dict[str, TaskID] = {}

        def update(progress: Progress) -> None:
            if progress.stage not in shown:
                shown[progress.stage] = bars.add_task(progress.stage, unit=progress.unit, note="")
            bars.update(
                shown[progress.stage],
                completed=progress.done,
                total=progress.total or None,
                unit=progress.unit,
                note=progress.note,
            )

        with listening(update):
            yield

"""What the `task.py` of every stage shares: how a stage shows itself in Prefect.

A stage is one visible task run named after it. While it works, a progress artifact says how far it is, how fast it
goes and how long it will take, and the run's log gets such a line now and then. When it ends there are a table
and a short markdown, or, when it failed, what to read and what to type. Keys are stable, so that a stage's history
over runs is one page: `<stage>-progress`, `<stage>-counts`, `<stage>-artifact`, `<stage>-failure`.

Showing is not working: a server that does not answer costs a warning, never the stage.

    @stage_task
    def curate(plan: StagePlan, config: CurateConfig) -> StageRecord: ...
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, cast
from uuid import UUID

import httpx
from prefect import Task, get_run_logger, task
from prefect.artifacts import (
    create_image_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from tasks.progress import Pace, Progress, describe, listening
from tasks.stage import StageError, StagePlan, StageRecord
from tasks.summary import failure_markdown, markdown, overview_row, table_rows

logger = logging.getLogger(__name__)

P = ParamSpec("P")

# Every update is an event in the server's database: the longer a stage runs, the rarer they get.
PROGRESS_S, PROGRESS_SHARE = 2.0, 0.002
LOG_S, LOG_SHARE = 20.0, 0.01


def _once(record: logging.LogRecord) -> bool:
    """The task run's log has the traceback of a failed stage; the flow run's repeats the message only."""
    if record.exc_info and isinstance(record.exc_info[1], StageError):
        record.exc_info = None
    return True


logging.getLogger("prefect.flow_runs").addFilter(_once)


def stage_task(function: Callable[P, StageRecord]) -> Task[P, StageRecord]:
    """Make a Prefect task of a stage's adapter, whose first parameter is its plan.

    Prefect's own result cache is off: whether a stage is done is what its manifest says.
    """

    @wraps(function)
    def run_and_publish(*args: P.args, **kwargs: P.kwargs) -> StageRecord:
        plan = cast(StagePlan, args[0])
        live = LiveProgress(plan.stage)
        try:
            with listening(live):
                record = function(*args, **kwargs)
        except StageError as error:
            shown(create_markdown_artifact, failure_markdown(plan, error), key=f"{plan.stage}-failure")
            raise
        if record.complete:
            live.end(record)
            publish(plan, record)
        return record

    name = function.__name__
    adapt = task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)
    return adapt(run_and_publish)


def publish(plan: StagePlan, record: StageRecord) -> None:
    """A table of what became of the input and a short markdown."""
    title = f"{plan.name} / {record.stage}"
    if rows := table_rows(record):
        shown(create_table_artifact, rows, key=f"{record.stage}-counts", description=title)
    shown(create_markdown_artifact, markdown(plan, record), key=f"{record.stage}-artifact", description=title)


def publish_overview(name: str, title: str, records: Sequence[StageRecord]) -> None:
    """All stages of a run in one table, shown with the flow run, under `<name>-stages`."""
    rows = [overview_row(record) for record in records]
    shown(create_table_artifact, rows, key=f"{name}-stages", description=title)


def shown(show: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Show something in the UI; None where the server could not be told."""
    try:
        return show(*args, **kwargs)
    except httpx.HTTPError as error:
        logger.warning("the Prefect server could not be told: %s: %s", type(error).__name__, error)
        return None


class LiveProgress:
    """Keeps a stage's progress artifact, and its lines in the run's log, up to date while it works."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._pace = Pace()
        self._artifact: UUID | None = None
        self._percent = 0.0
        self._says = ""
        self._artifact_turn = Turn(PROGRESS_S, PROGRESS_SHARE)
        self._log_turn = Turn(LOG_S, LOG_SHARE)

    def __call__(self, progress: Progress) -> None:
        if progress.stage != self._stage:
            return
        self._pace.hear(progress)
        if progress.total:
            self._percent = min(100.0, 100 * progress.done / progress.total)
        self._says = f"{self._stage}: {describe(progress, self._pace)}"
        if self._artifact_turn.has_come(progress.finished):
            self._show(self._says)
        if self._log_turn.has_come(progress.finished):
            get_run_logger().info(self._says)

    def end(self, record: StageRecord) -> None:
        """The stage is complete; one that was so before has no progress to show."""
        if self._artifact is not None:
            self._percent = 100.0
            self._show(f"{self._says}; {record.status}")

    def _show(self, says: str) -> None:
        if self._artifact is None:
            self._artifact = shown(create_progress_artifact, self._percent, f"{self._stage}-progress", says)
        else:
            shown(update_progress_artifact, self._artifact, self._percent, says)


class Turn:
    """Whether it is time again: at once, then every `least_s` seconds or `share` of the time so far, the longer."""

    def __init__(self, least_s: float, share: float) -> None:
        self._least_s = least_s
        self._share = share
        self._began = time.monotonic()
        self._last: float | None = None

    def has_come(self, anyway: bool = False) -> bool:
        now = time.monotonic()
        wait = max(self._least_s, self._share * (now - self._began))
        if not anyway and self._last is not None and now - self._last < wait:
            return False
        self._last = now
        return True


class LivePicture:
    """A picture in the UI that is drawn again while a stage works."""

    def __init__(self, key: str, description: str) -> None:
        self._key = key
        self._description = description
        self._artifact: UUID | None = None

    def show(self, png: bytes) -> None:
        url = "data:image/png;base64," + base64.b64encode(png).decode()
        if self._artifact is None:
            self._artifact = shown(create_image_artifact, url, key=self._key, description=self._description)
        else:
            shown(get_client(sync_client=True).update_artifact, self._artifact, ArtifactUpdate(data=url))

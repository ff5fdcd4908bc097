"""What the `task.py` of every stage shares: how a stage shows itself in Prefect.

A stage is one visible task run named after it. When it ends, its counts are published as a table under a stable
key, so that a stage's history over runs is one page.

    @stage_task
    def curate(plan: StagePlan, config: CurateConfig) -> StageRecord: ...
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, cast

from prefect import Task, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from tasks.stage import StagePlan, StageRecord

P = ParamSpec("P")


def stage_task(function: Callable[P, StageRecord]) -> Task[P, StageRecord]:
    """Make a Prefect task of a stage's adapter, whose first parameter is its plan.

    Prefect's own result cache is off: whether a stage is done is what its manifest says.
    """

    @wraps(function)
    def run_and_publish(*args: P.args, **kwargs: P.kwargs) -> StageRecord:
        record = function(*args, **kwargs)
        if record.complete:
            publish(cast(StagePlan, args[0]), record)
        return record

    name = function.__name__
    adapt = task(name=name, task_run_name=name, cache_policy=NO_CACHE, persist_result=False)
    return adapt(run_and_publish)


def publish(plan: StagePlan, record: StageRecord) -> None:
    """A table of counts and a short markdown, under the keys `<stage>-counts` and `<stage>-artifact`."""
    rows: list[dict[str, Any]] = [{"count": name, "value": f"{value:,}"} for name, value in record.counts.items()]
    create_table_artifact(table=rows, key=f"{record.stage}-counts", description=f"{plan.name}: {record.stage}")
    create_markdown_artifact(
        key=f"{record.stage}-artifact",
        markdown=(
            f"**{plan.name} / {record.stage}**: {record.status}, {record.seconds:,.1f} s\n\n"
            f"- artifact: `{record.uri}`\n- fingerprint: `{record.fingerprint[:12]}`\n"
            f"- content: `{record.content_digest[:12]}`\n- rerun: `{plan.rerun}`\n"
        ),
    )

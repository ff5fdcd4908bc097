"""Report in Prefect: everything the run made in, one HTML page out.

Its unit of resumption is the stage: killed, it makes the whole page again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.stage import StagePlan, StageRecord, execute
from tasks.task import stage_task


@stage_task
def report(plan: StagePlan, run: Mapping[str, Any], stages: Sequence[StageRecord]) -> StageRecord:
    from tasks.report.report import build_report

    artifacts = {record.stage: record.uri for record in stages}
    licences = plan.literals["licences"]
    return execute(plan, lambda out: build_report(artifacts, dict(run), licences, out=out), needs=stages)

"""A sweep: the variants of a run, one after another through the pipeline, and their comparison.

Each variant is a flow run of its own, named "<run> / <variant>". One that fails does not stop the others; the same
command again does what is left.

    sweep_variants(load_sweep("configs/sweep-tokenizer.yaml"))
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.comparison import compare, comparison_uri
from flows.evaluation import score_checkpoint
from flows.pipeline import pipeline
from flows.plan import run_record_uri
from flows.variants import Sweep, sweep_plans
from tasks.report import formats
from tasks.report.comparison_markdown import column_name, line_name, markdown
from tasks.stage import StageError
from tasks.task import shown

logger = logging.getLogger(__name__)


@flow(name="sweep", flow_run_name="{sweep.name}", validate_parameters=True, persist_result=False)
def sweep_variants(sweep: Sweep) -> dict[str, float]:
    """Run and score every variant, then write and publish the comparison.

    Returns:
        Variant -> seconds it took now.

    Raises:
        ConfigError: inputs are missing.
        StageError: variants failed; the others are complete, and the comparison is written.
    """
    plans = sweep_plans(sweep)
    seconds: dict[str, float] = {}
    failures: dict[str, list[str]] = {}
    for name in sweep.runs:
        started = time.monotonic()
        failures[name] = _run_variant(sweep, name)
        seconds[name] = time.monotonic() - started
    facts = compare(sweep, plans, failures)
    publish(sweep, facts)
    if failed := {name: messages for name, messages in failures.items() if messages}:
        told = "\n".join(f"variant {name}: {message}" for name, messages in failed.items() for message in messages)
        raise StageError(f"{len(failed)} of {len(sweep.runs)} variants failed; the others are complete\n{told}")
    return seconds


def _run_variant(sweep: Sweep, name: str) -> list[str]:
    """Bring one variant and its checkpoints to completion; what failed."""
    run = sweep.runs[name]
    run_file = run_record_uri(run, name)
    failed = []
    try:
        pipeline.with_options(flow_run_name=run.label)(run, run_file=run_file)
    except Exception as error:
        message = str(error) if isinstance(error, StageError) else f"{type(error).__name__}: {error}"
        logger.error("variant %s failed, the next one starts: %s", name, message)  # its own flow run has the traceback
        return [message]
    for step in sweep.steps[name]:
        try:
            score_checkpoint(run, step, run_file)
        except StageError as error:
            logger.error("variant %s, step %d: %s", name, step, error)
            failed.append(f"step {step}: {error}")
    return failed


def publish(sweep: Sweep, facts: Mapping[str, Any]) -> None:
    """The comparison as a table and a markdown, under the keys `<name>-scores` and `<name>-comparison`."""
    description = f"sweep {sweep.name}: {comparison_uri(sweep)}/comparison.html"
    shown(create_table_artifact, _rows(facts), key=f"{sweep.name}-scores", description=description)
    shown(create_markdown_artifact, markdown(facts), key=f"{sweep.name}-comparison", description=description)


def _rows(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table of scores, one dictionary per line."""
    rows = []
    for line in facts["lines"]:
        if line["model"] != "initialized":
            scores = {column_name(column): line["scores"].get(column["key"]) for column in facts["columns"]}
            cells = {name: formats.UNKNOWN if score is None else formats.cell(score) for name, score in scores.items()}
            rows.append({"variant": line_name(line), "tokens": formats.count(line["tokens"]), **cells})
    return rows

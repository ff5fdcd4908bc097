"""Run a sweep from the command line: show what is shared and what is to do, run it, sum up.

run_sweep(load_sweep("configs/sweep-tokenizer.yaml"), Console())
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from flows.comparison import compare, comparison_uri
from flows.plan import Plan, plan_at_step, run_record_uri
from flows.records import record_run
from flows.runner import connect, progress_shown
from flows.variants import Sweep, shared_stages, sweep_plans
from storage.artifact import read_manifest
from storage.uri import join
from tasks.report.formats import duration
from tasks.stage import STAGES, StagePlan


def show_sweep(sweep: Sweep, console: Console) -> None:
    """Print for every variant what it shares, what is complete and what a run would do.

    Raises:
        ConfigError: inputs are missing.
    """
    plans = sweep_plans(sweep)
    console.print(sweep_table(sweep, plans))
    _print_to_do(_to_do(sweep, plans), console)


def run_sweep(sweep: Sweep, console: Console) -> None:
    """Bring every variant to completion and write the comparison.

    Raises:
        ConfigError: inputs are missing.
        StageError: variants failed; the others are complete, and the comparison is written.
    """
    plans = sweep_plans(sweep, {name: run_record_uri(run, name) for name, run in sweep.runs.items()})
    for name, run in sweep.runs.items():
        record_run(run, plans[name], None, run_record_uri(run, name))
    to_do = _to_do(sweep, plans)
    _print_to_do(to_do, console)
    started = time.monotonic()
    seconds: Mapping[str, float] = {}
    try:
        if any(to_do.values()):
            connect(console)
            from flows.sweep import sweep_variants

            with progress_shown():
                seconds = sweep_variants(sweep)
        else:
            compare(sweep, plans, failures={})
    finally:
        console.print(sweep_table(sweep, plans, seconds))
        page = join(comparison_uri(sweep), "comparison.html")
        console.print(f"comparison: {page}; {time.monotonic() - started:,.0f} s", highlight=False, soft_wrap=True)


def sweep_table(sweep: Sweep, plans: Mapping[str, Plan], seconds: Mapping[str, float] | None = None) -> Table:
    """Stages and checkpoints by variant: the time an artifact took, the variant it is shared with, or still to do."""
    table = Table(title=f"{sweep.name} in {sweep.root}", title_justify="left")
    table.add_column("")
    for name in plans:
        table.add_column(name, justify="right")
    shared = shared_stages(plans)
    for stage in STAGES:
        table.add_row(stage, *(_cell(getattr(plan, stage), shared[name][stage]) for name, plan in plans.items()))
    for step in sorted({step for steps in sweep.steps.values() for step in steps}):
        scores = {name: plan_at_step(sweep.runs[name], plan, step).evaluate for name, plan in plans.items()}
        table.add_row(f"step {step}", *(_cell(scores[name]) if step in sweep.steps[name] else "" for name in plans))
    table.add_section()
    table.add_row("made for it", *(_time(plan, shared[name], own=True) for name, plan in plans.items()))
    table.add_row("shared", *(_time(plan, shared[name], own=False) for name, plan in plans.items()))
    if seconds:
        table.add_row("now", *(duration(seconds[name]) if name in seconds else "" for name in plans))
    return table


def _to_do(sweep: Sweep, plans: Mapping[str, Plan]) -> dict[str, list[str]]:
    """Variant -> stages that are not complete and that no earlier variant will make, and steps without scores."""
    shared = shared_stages(plans)
    left: dict[str, list[str]] = {}
    for name, plan in plans.items():
        run = sweep.runs[name]
        left[name] = [stage.stage for stage in plan if not shared[name][stage.stage] and not _is_complete(stage)]
        left[name] += [
            f"step {step}" for step in sweep.steps[name] if not _is_complete(plan_at_step(run, plan, step).evaluate)
        ]
    return left


def _print_to_do(to_do: Mapping[str, list[str]], console: Console) -> None:
    if not any(to_do.values()):
        console.print("nothing to do: every variant is complete")
    for name, left in to_do.items():
        if left:
            console.print(f"to do for {name}: {', '.join(left)}", highlight=False)


def _cell(stage: StagePlan, owner: str | None = None) -> str:
    if owner:
        return f"[dim]= {owner}[/]"
    manifest = read_manifest(stage.uri)
    return duration(manifest.seconds) if manifest else "[yellow]to do[/]"


def _time(plan: Plan, shared: Mapping[str, str | None], own: bool) -> str:
    """Time of the stages that are the variant's own, or of those that it shares."""
    made = [read_manifest(stage.uri) for stage in plan if (shared[stage.stage] is None) == own]
    return duration(sum(manifest.seconds for manifest in made if manifest))


def _is_complete(stage: StagePlan) -> bool:
    return read_manifest(stage.uri) is not None

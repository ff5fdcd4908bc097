"""The checkpoints of a run: which are saved, which have been scored, and how the scores move over the steps.

Every checkpoint but the last is exported and scored by a `Selection` with its step; the last is what the run's own
export and evaluate are for. Read from folder names and manifests, so also while training goes on.

    for step in unscored_steps(run):
        pipeline(run, Selection(step=step))
    rows = score_rows(run)      # one per (step, model, task, profile, metric, language)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Table

from flows.config import ConfigError, RunConfig
from flows.plan import Plan, checkpoint_folder, make_plan, plan_at_step, run_record_uri
from storage.artifact import read_manifest
from storage.checkpoints import saved_checkpoint, saved_steps
from storage.uri import listing
from tasks.report.artifacts import RunArtifacts
from tasks.report.benchmark_tables import AVERAGE
from tasks.report.formats import language
from tasks.report.score_curves import TRAINED, is_benchmark
from tasks.train.continued import CONTINUES, continued_checkpoint

# What is shown of a checkpoint's held-out text and probe, over whole languages, beside the benchmarks' headline scores
# and their averages; the rest is in its scores.jsonl.
SHOWN = {"bits_per_byte": "bits per byte", "accuracy": "probe"}
_MODELS = ("base", "initialized", TRAINED)


def unscored_steps(run: RunConfig) -> list[int]:
    """Steps of saved checkpoints without scores, but for the last step, which the run scores itself."""
    plan = make_plan(run)
    saved = saved_steps(checkpoint_folder(plan.train))
    return [step for step in saved if step != run.num_steps and not is_scored(run, plan, step)]


def scored_steps(run: RunConfig, plan: Plan) -> list[int]:
    """Steps of all checkpoints that have scores, in order; those that were deleted since are known by their records."""
    known = {*_recorded_steps(run), *saved_steps(checkpoint_folder(plan.train)), run.num_steps}
    return [step for step in sorted(known) if step <= run.num_steps and is_scored(run, plan, step)]


def is_scored(run: RunConfig, plan: Plan, step: int) -> bool:
    """Whether the checkpoint of `step` has scores."""
    return read_manifest(plan_at_step(run, plan, step).evaluate.uri) is not None


def require_checkpoint(plan: Plan) -> None:
    """Make sure that the checkpoints which a plan uses are there, where they are still needed.

    One is exported by a plan with a step; from another, of an earlier training, this one goes on.

    Raises:
        ConfigError: one is not there; with the steps that are saved.
    """
    needed = []
    if (uri := plan.export.recorded.get("checkpoint")) is not None and read_manifest(plan.export.uri) is None:
        needed.append(uri)
    elif (earlier := plan.train.recorded.get(CONTINUES)) and plan.train.selected and not _has_begun(plan):
        needed.append(continued_checkpoint(**earlier))
    for uri in needed:
        try:
            saved_checkpoint(uri)
        except ValueError as error:
            raise ConfigError([str(error)]) from error


def _has_begun(plan: Plan) -> bool:
    """Whether training has checkpoints of its own."""
    return is_trained(plan) or bool(saved_steps(checkpoint_folder(plan.train)))


def is_trained(plan: Plan) -> bool:
    """Whether training has ended."""
    return read_manifest(plan.train.uri) is not None


def score_rows(run: RunConfig) -> list[dict[str, Any]]:
    """The scores of the run's models before training and at every scored checkpoint, over whole languages.

    Returns:
        Rows of `step`, `tokens` (trained on by then), `model`, `task`, `profile`, `kind`, `label`, `metric`, `unit`,
        `language`, `n`, `value`, `low` and `high`. The base and the initialised model, which the run's own evaluation
        holds, stand at step 0.
    """
    rows = []
    plan = make_plan(run)
    for step in scored_steps(run, plan):
        made = RunArtifacts.read({"evaluate": plan_at_step(run, plan, step).evaluate.uri})
        for score in made.json_lines("evaluate", "scores.jsonl"):
            if _is_shown(score):
                at = step if score["model"] == TRAINED else 0
                rows.append({
                    "step": at,
                    "tokens": run.tokens_after(at),
                    **{name: score[name] for name in ("model", "task", "metric", "language", "value")},
                    **{name: score.get(name) for name in ("profile", "kind", "label", "unit", "n", "tasks", "missing")},
                    "low": score["ci_low"],
                    "high": score["ci_high"],
                })  # fmt: skip
    return sorted(rows, key=_reading_order)


def _is_shown(score: dict[str, Any]) -> bool:
    if score["category"] is not None or score.get("subset", "all") != "all" or score["value"] is None:
        return False
    return bool(score["headline"]) if is_benchmark(score) else score["metric"] in SHOWN


def by_checkpoint(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per model and step, a column per measure: `1.704 [1.664, 1.754]`, accuracies as shares of one."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for row in rows:
        line = found.setdefault(
            (row["step"], row["model"]), {"checkpoint": _checkpoint(row), "tokens": f"{row['tokens']:,}"}
        )
        interval = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
        line[_column(row)] = f"{row['value']:.3f}{interval}"
    return list(found.values())


def score_table(rows: Sequence[dict[str, Any]], title: str) -> Group:
    """The same for the terminal: a table of held-out text and probe, and one per profile and language of benchmarks."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        name = f"{language(row['language'])}, profile {row['profile']}, %" if is_benchmark(row) else title
        parts.setdefault(name, []).append(row)
    own = [row for row in rows if not is_benchmark(row)]
    tables = [_table(by_checkpoint(own), title)] if own or not rows else []
    return Group(*tables, *(_table(_in_percent(found), name) for name, found in parts.items() if name != title))


def _in_percent(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As `by_checkpoint`, but narrow: `48.1 [45, 51]`, for many tasks side by side."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for row in rows:
        interval = "" if row["low"] is None else f" [{100 * row['low']:.0f}, {100 * row['high']:.0f}]"
        name = AVERAGE if row["task"] == AVERAGE else row["label"] or row["task"]
        line = found.setdefault((row["step"], row["model"]), {"checkpoint": _checkpoint(row)})
        line[name] = f"{100 * row['value']:.1f}{interval}"
    return list(found.values())


def _table(lines: Sequence[dict[str, Any]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    columns = list(dict.fromkeys(name for line in lines for name in line))
    for name in columns:
        table.add_column(name, justify="left" if name == "checkpoint" else "right", no_wrap=name == "checkpoint")
    for line in lines:
        table.add_row(*(line.get(name, "").replace(" [", "\n[") for name in columns))  # the interval below its value
    return table


def _checkpoint(row: dict[str, Any]) -> str:
    """`step 1,200`, or the model before training."""
    return f"step {row['step']:,}" if row["model"] == TRAINED else row["model"]


def _column(row: dict[str, Any]) -> str:
    """`ja bits per byte`, `JSQuAD strict`, `ja average strict`."""
    if not is_benchmark(row):
        return f"{row['language']} {SHOWN[row['metric']]}"
    label = f"{row['language']} average" if row["task"] == AVERAGE else row["label"] or row["task"]
    return f"{label} {row['profile']}"


def _reading_order(row: dict[str, Any]) -> tuple[int, int, int, str, bool, str]:
    """By step; base before initialised before trained; what is no benchmark first; Japanese before English."""
    model = _MODELS.index(row["model"])
    metric = len(SHOWN) if is_benchmark(row) else list(SHOWN).index(row["metric"])
    profile = row["profile"] if is_benchmark(row) else ""
    return row["step"], model, metric, profile, row["language"] != "ja", row["language"]


def _recorded_steps(run: RunConfig) -> set[int]:
    """Steps of the checkpoints that have a run record of their own."""
    folder, _, name = run_record_uri(run, run.variant or "").removesuffix(".yaml").rpartition("/")
    pattern = re.compile(re.escape(name) + r"@step-(\d+)\.json")
    return {int(found[1]) for file in listing(folder) if (found := pattern.fullmatch(file))}

"""Any two evaluated models, task by task: differences on the same items, or why there are none.

In: the example rows of two models by task and profile, with the version of each task's form; out: rows with both
values, the difference, its tests and a verdict; rows of averages over the tasks that could be compared; and for each
that could not, why. The p-values of the headline metrics are corrected for the number of benchmarks of a profile
(Holm); `verdict` is better or worse where the corrected p-value is below 5 %, else empty.

    found = compare_models(Answered("base", theirs), Answered("trained", ours), EvaluateConfig(), seed=7)
    found.rows[0]["difference"], found.rows[0]["p_holm"], found.refused
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tasks.evaluate.averages import averages
from tasks.evaluate.benchmark import Benchmark
from tasks.evaluate.comparison import Sampled, average, compare_sampled, sample_models
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.score_fields import AVERAGE, Row, average_fields, correct, difference_fields, rounded
from tasks.evaluate.scored_tasks import ExampleRows, ScoredTask, groups, right_choice, scored_task, with_columns
from tasks.evaluate.significance import ALPHA

MIN_DIFFERENCE = 0.0005  # half of what tables show: a tenth of a percent, a thousandth of a bit per byte


@dataclass(frozen=True)
class Answered:
    """What one model was asked, and what came of it.

    Attributes:
        label: as messages call the model.
        examples: key of a task (`tasks.evaluate.scored_tasks`) -> example rows.
        versions: key -> version of the form that asked and judged, where it is known.
    """

    label: str
    examples: Mapping[str, ExampleRows]
    versions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Compared:
    """Two models side by side.

    Attributes:
        rows: of every comparable task, metric and language, then of the averages.
        refused: `task`, `profile`, `label` and `why` of every other task of either.
    """

    rows: list[Row]
    refused: list[Row]


class _Headline(NamedTuple):
    """A benchmark's first metric for both models."""

    task: ScoredTask
    theirs: Sampled
    ours: Sampled


def compare_models(
    reference: Answered,
    compared: Answered,
    config: EvaluateConfig,
    *,
    seed: int,
    benchmarks: Mapping[str, Benchmark] | None = None,
) -> Compared:
    """The compared model's scores minus the reference's, paired item by item.

    Args:
        config: whose `resamples` and `confidence` count.
        benchmarks: by name, where they are not those of the suite.
    """
    rows: list[Row] = []
    refused: list[Row] = []
    headlines: dict[str, dict[str, _Headline]] = {}
    for key in dict.fromkeys([*reference.examples, *compared.examples]):
        task = scored_task(key, config.profile, benchmarks)
        why = why_not_comparable(key, task, reference, compared)
        if why is not None:
            refused.append({"task": task.name, "profile": task.profile, "label": task.label, "why": why})
            continue
        theirs = reference.examples[key]
        by_id = {row["id"]: row for row in compared.examples[key]}
        ours = [by_id[row["id"]] for row in theirs]
        for row, pair in _task_rows(task, theirs, ours, config, seed):
            rows.append(row)
            if task.is_benchmark and row["headline"]:
                headlines.setdefault(task.profile, {})[task.name] = _Headline(task, *pair)
    for profile, found in headlines.items():
        rows += _average_rows(profile, found, config)
    correct(rows, ("profile",))
    for row in rows:
        row["verdict"] = _verdict(row)
    return Compared(rows, refused)


def why_not_comparable(key: str, task: ScoredTask, reference: Answered, compared: Answered) -> str | None:
    """What differs in what two models were asked of a task; None where nothing does."""
    answered = [model for model in (reference, compared) if model.examples.get(key)]
    if len(answered) < 2:
        return _only_one(key, task, reference, compared)
    versions = [model.versions.get(key, task.version) for model in answered]
    if versions[0] != versions[1]:
        return (
            f"version {versions[0]} of the task asked {reference.label}, version {versions[1]} {compared.label}: "
            "evaluate the older one again"
        )
    if any(version != task.version for version in versions):
        return f"both were asked by version {versions[0]} of the task, this is version {task.version}: evaluate again"
    theirs, ours = ({row["id"]: row["prompt_hash"] for row in model.examples[key]} for model in answered)
    if theirs.keys() != ours.keys():
        return _other_items(reference.label, set(theirs), compared.label, set(ours))
    other = sum(ours[item] != asked for item, asked in theirs.items())
    if other:
        return f"{other:,} of {len(theirs):,} prompts differ: other shots, another prompt file, or a changed text"
    corrected = _other_golds(*(model.examples[key] for model in answered))
    if corrected:
        return f"{corrected:,} of {len(theirs):,} right answers differ: another version of the benchmark's file"
    return None


def _other_golds(theirs: ExampleRows, ours: ExampleRows) -> int:
    """Items whose right class or choice is another; of free answers the row holds the closest of several only."""
    before, after = (
        {row["id"]: right_choice(row) for row in rows if row.get("predicted") is not None} for rows in (theirs, ours)
    )
    return sum(right != after[item] for item, right in before.items() if item in after)


def _only_one(key: str, task: ScoredTask, reference: Answered, compared: Answered) -> str:
    asked, other = (reference, compared) if reference.examples.get(key) else (compared, reference)
    profiles = [name.partition("-")[2] for name in other.examples if name.partition("-")[0] == task.name]
    if task.is_benchmark and profiles:
        return f"{asked.label} was asked in profile {task.profile}, {other.label} in {', '.join(profiles)} only"
    return f"only {asked.label} was asked"


def _other_items(theirs_label: str, theirs: set[str], ours_label: str, ours: set[str]) -> str:
    if theirs < ours or ours < theirs:
        sizes = f"{theirs_label} was asked {len(theirs):,} items, {ours_label} {len(ours):,}"
        return f"{sizes}, the fewer among the more: evaluate both with the same limit"
    only = f"{len(theirs - ours):,} items are of {theirs_label} alone, {len(ours - theirs):,} of {ours_label}"
    return f"{only}, {len(theirs & ours):,} of both: other files"


def _task_rows(
    task: ScoredTask, theirs: ExampleRows, ours: ExampleRows, config: EvaluateConfig, seed: int
) -> Sequence[tuple[Row, tuple[Sampled, Sampled]]]:
    """Each metric over each whole language, with both models' samples (theirs, ours)."""
    models = {"theirs": with_columns(task, theirs), "ours": with_columns(task, ours)}
    rows = []
    for group in groups(theirs):
        if group.category is not None:
            continue
        chosen = {model: group.of(examples) for model, examples in models.items()}
        sampled = sample_models(task.metrics, chosen, resamples=config.resamples, seed=seed, name=group.name(task))
        for metric in task.metrics:
            pair = sampled["theirs"][metric.name], sampled["ours"][metric.name]
            row = {
                "task": task.name,
                "task_version": task.version,
                "profile": task.profile,
                "label": task.label,
                "kind": task.kind,
                "metric": metric.name,
                "unit": metric.unit,
                "lower_is_better": metric.lower_is_better,
                "headline": metric is task.metrics[0],
                "language": group.language,
                "category": None,
                "n": len(group.chosen),
                "mde_unpaired": rounded(pair[0].mde_unpaired),
                **_pair_fields(*pair, config),
            }
            rows.append((row, pair))
    return rows


def _average_rows(profile: str, headlines: Mapping[str, _Headline], config: EvaluateConfig) -> Sequence[Row]:
    rows = []
    for found in averages([headline.task for headline in headlines.values()]):
        theirs = average([headlines[name].theirs for name in found.tasks])
        ours = average([headlines[name].ours for name in found.tasks])
        more = {"lower_is_better": False, "mde_unpaired": None}
        rows.append(average_fields(found, profile) | more | _pair_fields(theirs, ours, config))
    return rows


def _pair_fields(theirs: Sampled, ours: Sampled, config: EvaluateConfig) -> Row:
    compared = compare_sampled(ours, theirs, confidence=config.confidence)
    values = {"reference_value": rounded(theirs.value), "value": rounded(ours.value)}
    return values | difference_fields(compared, theirs)


def _verdict(row: Mapping[str, Any]) -> str:
    """Better or worse where chance is an unlikely reason; an average, one of few, needs no correction.

    An average's interval has to exclude zero as well: it knows of tasks that both models have all wrong, of which the
    resamples say nothing.

    A difference that rounding hides is neither: of two models without a single matching 4-gram, BLEU still tells one
    from the other, by its smoothing.
    """
    p = row["p_bootstrap"] if row["task"] == AVERAGE else row["p_holm"]
    if p is None or p >= ALPHA or abs(row["difference"]) < MIN_DIFFERENCE:
        return ""
    if row["task"] == AVERAGE and row["difference_low"] <= 0 <= row["difference_high"]:
        return ""
    return "better" if (row["difference"] < 0) == row["lower_is_better"] else "worse"

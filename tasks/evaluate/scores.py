"""From per-example rows to scores: values, intervals, averages, and each model beside the base.

In: the example rows of every model and task; out: score rows, one per (model, task, profile, metric, language,
category, subset), as `scores.jsonl` holds them, and the table of a few headline figures that a terminal or a page
shows. Category None is all of a language; subset "clean" and "dirty" are the examples that the training corpus does
not and does hold. Differences are model minus base, paired on the same examples (`tasks.evaluate.comparison`);
`relative` is the difference divided by the base's value. `p_holm` corrects the headline metrics' p-values of a model
for the number of benchmarks of the profile (the project's own measures are corrected among themselves). Rows of task
"average" hold the mean of headline metrics (`tasks.evaluate.averages`); their `n` is the number of tasks. Without a
base there are no differences; `difference_rows` pairs any two models afterwards.

    rows = score_rows({"base": {"jsquad-strict": [...]}, "trained": {...}}, config, seed=7)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tasks.evaluate.averages import averages
from tasks.evaluate.benchmark import Benchmark
from tasks.evaluate.comparison import Sampled, average, compare_sampled, sample_models
from tasks.evaluate.config import ContaminationConfig, EvaluateConfig
from tasks.evaluate.diagnostics import collapsed
from tasks.evaluate.score_fields import (
    AVERAGE,
    Row,
    average_fields,
    correct,
    difference_fields,
    estimate_fields,
    rounded,
)
from tasks.evaluate.scored_tasks import METRICS, ExampleRows, ScoredTask, groups, scored_task, with_columns

__all__ = ["BASE", "METRICS", "difference_rows", "headline_table", "held_items", "score_rows"]

BASE = "base"
AVERAGE_VERSION = 1

Held = Mapping[str, Mapping[str, bool | None]]  # task -> id -> the corpus holds it; None: nobody can say


def score_rows(
    examples: Mapping[str, Mapping[str, ExampleRows]],
    config: EvaluateConfig,
    *,
    seed: int,
    held: Held | None = None,
    benchmarks: Mapping[str, Benchmark] | None = None,
) -> list[Row]:
    """All scores of all models.

    Args:
        examples: model -> key of a task (`tasks.evaluate.scored_tasks`) -> rows, the same examples in the same order.
        held: of each benchmark the items that the training corpus holds (`held_items`); None: not looked for.
        benchmarks: by name, where they are not those of the suite.
    """
    backend = f"{config.backend}-{config.dtype}"
    keys = list(dict.fromkeys(key for tasks in examples.values() for key in tasks))
    tables = {
        key: _TaskScores(
            scored_task(key, config.profile, benchmarks),
            {model: tasks[key] for model, tasks in examples.items() if key in tasks},
            config,
            seed,
            held,
        )
        for key in keys
    }
    rows = []
    for model, tasks in examples.items():
        for key in tasks:
            by = backend if tables[key].task.is_benchmark else f"transformers-{config.dtype}"
            rows += [{"model": model, **row, "backend": by} for row in tables[key].rows(model)]
        own = [tables[key] for key in tasks]
        base = [tables[key] for key in examples.get(BASE, {})]
        rows += [{"model": model, **row, "backend": backend} for row in _average_rows(model, own, base, config)]
    correct(rows, ("model", "profile"))
    return rows


class _TaskScores:
    """One task of all models, resampled together group by group."""

    def __init__(
        self,
        task: ScoredTask,
        models: Mapping[str, ExampleRows],
        config: EvaluateConfig,
        seed: int,
        held: Held | None,
    ) -> None:
        self.task, self.config = task, config
        self.models = {model: with_columns(task, rows) for model, rows in models.items()}
        first = next(iter(self.models.values()))
        for model, rows in self.models.items():
            same = [row["id"] for row in rows] == [row["id"] for row in first]
            assert same, f"{task.name}: {model} saw other examples"
        dirty = held.get(task.name, {}) if held is not None and task.is_benchmark else None
        self.groups = list(groups(first, dirty))
        self.sampled = [
            sample_models(
                task.metrics,
                {model: group.of(rows) for model, rows in self.models.items()},
                resamples=config.resamples,
                seed=seed,
                name=group.name(task),
            )
            for group in self.groups
        ]

    def rows(self, model: str) -> Iterator[Row]:
        """Score rows of one model but for what it is called."""
        for group, sampled in zip(self.groups, self.sampled, strict=True):
            own = group.of(self.models[model])
            told = {"flags": flag_counts(own), "collapsed": collapsed(own, self.task.classes)}
            for metric in self.task.metrics:
                score = sampled[model][metric.name]
                row: Row = {
                    "task": self.task.name,
                    "task_version": self.task.version,
                    "profile": self.task.profile,
                    "metric": metric.name,
                    "unit": metric.unit,
                    "language": group.language,
                    "category": group.category,
                    "n": score.num,
                    **estimate_fields(score.estimate(self.config.confidence), "value", "ci_low", "ci_high"),
                }
                if BASE in sampled and model != BASE:
                    row |= _beside(score, sampled[BASE][metric.name], self.config)
                yield row | {
                    "label": self.task.label,
                    "kind": self.task.kind,
                    "headline": metric is self.task.metrics[0],
                    "subset": group.subset,
                    "mde_unpaired": rounded(score.mde_unpaired),
                    **told,
                }

    def headline(self, model: str) -> Sampled:
        """The first metric over all examples; of benchmarks, which have one language."""
        whole = next(
            sampled
            for group, sampled in zip(self.groups, self.sampled, strict=True)
            if group.category is None and group.subset == "all"
        )
        return whole[model][self.task.metrics[0].name]


def _average_rows(
    model: str, own: Sequence[_TaskScores], base: Sequence[_TaskScores], config: EvaluateConfig
) -> Iterator[Row]:
    """The averages of each profile; beside the base's where that has all of the same tasks."""
    for profile in dict.fromkeys(table.task.profile for table in own if table.task.is_benchmark):
        tables = {table.task.name: table for table in own if table.task.profile == profile}
        others = {table.task.name for table in base if table.task.profile == profile}
        for found in averages([table.task for table in tables.values()]):
            chosen = [tables[name] for name in found.tasks]
            score = average([table.headline(model) for table in chosen])
            row = average_fields(found, profile) | {
                "task_version": AVERAGE_VERSION,
                "subset": "all",
                "flags": {},
                "collapsed": None,
                **estimate_fields(score.estimate(config.confidence), "value", "ci_low", "ci_high"),
            }
            if model != BASE and others.issuperset(found.tasks):
                row |= _beside(score, average([table.headline(BASE) for table in chosen]), config)
            yield row


def _beside(ours: Sampled, theirs: Sampled, config: EvaluateConfig) -> Row:
    return difference_fields(compare_sampled(ours, theirs, confidence=config.confidence), theirs)


def difference_rows(
    key: str,
    ours: ExampleRows,
    theirs: ExampleRows,
    config: EvaluateConfig,
    *,
    seed: int,
    benchmarks: Mapping[str, Benchmark] | None = None,
) -> list[Row]:
    """Our scores minus theirs, paired on the same examples, one row per (metric, language, category).

    Empty where the two were asked different things: other documents, or other questions.
    """
    asked = [[(row["id"], row["prompt_hash"]) for row in rows] for rows in (ours, theirs)]
    if asked[0] != asked[1]:
        return []
    task = scored_task(key, config.profile, benchmarks)
    pair = {"ours": with_columns(task, ours), "theirs": with_columns(task, theirs)}
    rows = []
    for group in groups(ours):
        models = {model: group.of(own) for model, own in pair.items()}
        sampled = sample_models(task.metrics, models, resamples=config.resamples, seed=seed, name=group.name(task))
        for metric in task.metrics:
            compared = compare_sampled(
                sampled["ours"][metric.name], sampled["theirs"][metric.name], confidence=config.confidence
            )
            rows.append(
                {"task": task.name, "metric": metric.name, "language": group.language, "category": group.category}
                | estimate_fields(compared.difference, "difference", "difference_low", "difference_high")
            )
    return rows


def headline_table(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Model -> figures over whole languages.

    The project's own measures with all metrics, `ja_bits_per_byte`, `probe_ja_accuracy`; of benchmarks the headline,
    `jsquad-strict_character_f1`; and `ja_average-strict`.
    """
    table: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row["category"] is None and row["subset"] == "all":
            name = f"{row['language']}_{row['metric']}"
            if row["task"] == "hibari_probe":
                name = f"probe_{name}"
            elif row["task"] == AVERAGE:
                name = f"{name}-{row['profile']}"
            elif row["task"] != "bits_per_byte":
                if not row["headline"]:
                    continue
                name = f"{row['task']}-{row['profile']}_{row['metric']}"
            table[row["model"]][name] = row["value"]
    return dict(table)


def held_items(
    rows: Iterable[Mapping[str, Any]],
    config: ContaminationConfig,
    unknown: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, dict[str, bool | None]]:
    """Task -> id -> whether the training corpus holds the item; items that are not there are clean.

    Args:
        rows: of `task`, `id` and `overlap`, as contamination.jsonl has them.
        unknown: task -> ids of items too short to tell.
    """
    from tasks.evaluate.contamination import is_dirty

    found: dict[str, dict[str, bool | None]] = defaultdict(dict)
    for row in rows:
        found[row["task"]][row["id"]] = is_dirty(row["overlap"], config)
    for task, ids in (unknown or {}).items():
        found[task] |= dict.fromkeys(ids)
    return dict(found)


def flag_counts(rows: ExampleRows) -> dict[str, int]:
    """Flag -> examples that have it."""
    return dict(sorted(Counter(flag for row in rows for flag in row.get("flags", ())).items()))

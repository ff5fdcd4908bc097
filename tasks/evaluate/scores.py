"""From per-example rows to scores: values, intervals, and each model beside the base.

In: the example rows of `bits_per_byte` and `probe`; out: score rows, one per (model, task, metric,
language, category), as `scores.jsonl` holds them, and the table of a few headline figures that a terminal
or a page shows. Category None is all of a language. Differences are model minus base, paired on the same
examples (`tasks.evaluate.intervals`); `relative` is the difference divided by the base's value. Without a base there
are none; `difference_rows` pairs any two models afterwards.

    rows = score_rows({"base": {"bits_per_byte": [...]}, "trained": {...}}, config, seed=7)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.intervals import Estimate, Floats, paired_difference, ratio_estimate, resample_weights

BASE = "base"
TASK_VERSION = 1

ExampleRows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Metric:
    """A metric is a sum over examples of one column, divided by that of another (None: by their number)."""

    name: str
    unit: str
    numerator: str
    denominator: str | None = None


METRICS: Mapping[str, tuple[Metric, ...]] = {
    "bits_per_byte": (Metric("bits_per_byte", "bits/byte", "bits", "bytes"),),
    "hibari_probe": (
        Metric("accuracy", "share", "score"),
        Metric("accuracy_per_byte", "share", "score_per_byte"),
        Metric("margin", "bits/byte", "margin"),
    ),
}


def score_rows(
    examples: Mapping[str, Mapping[str, ExampleRows]], config: EvaluateConfig, *, seed: int
) -> list[dict[str, Any]]:
    """All scores of all models; `examples` is model -> task -> rows, the same examples in the same order."""
    rows = []
    for model, tasks in examples.items():
        for task, own in tasks.items():
            base = examples[BASE][task] if BASE in examples else None
            if base is not None:
                assert [row["id"] for row in own] == [row["id"] for row in base], f"{task}: {model} saw other examples"
            for language, category, chosen in _groups(own):
                weights = _weights(task, language, category, len(chosen), config, seed)
                for metric in METRICS[task]:
                    ours = _columns(metric, own, chosen)
                    estimate = ratio_estimate(*ours, weights, confidence=config.confidence)
                    row: dict[str, Any] = {
                        "model": model,
                        "task": task,
                        "task_version": TASK_VERSION,
                        "profile": config.profile,
                        "backend": f"transformers-{config.dtype}",
                        "metric": metric.name,
                        "unit": metric.unit,
                        "language": language,
                        "category": category,
                        "n": len(chosen),
                        **_fields(estimate, "value", "ci_low", "ci_high"),
                    }
                    if base is not None and model != BASE:
                        theirs = _columns(metric, base, chosen)
                        paired = paired_difference(ours, theirs, weights, confidence=config.confidence)
                        row |= _fields(paired, "difference", "difference_low", "difference_high")
                        before = estimate.value - paired.value
                        row["relative"] = round(paired.value / before, 6) if before else None
                    rows.append(row)
    return rows


def difference_rows(
    task: str, ours: ExampleRows, theirs: ExampleRows, config: EvaluateConfig, *, seed: int
) -> list[dict[str, Any]]:
    """Our scores minus theirs, paired on the same examples, one row per (metric, language, category).

    Empty where the two were asked different things: other documents, or other questions.
    """
    asked = [[(row["id"], row["prompt_hash"]) for row in rows] for rows in (ours, theirs)]
    if asked[0] != asked[1]:
        return []
    rows = []
    for language, category, chosen in _groups(ours):
        weights = _weights(task, language, category, len(chosen), config, seed)
        for metric in METRICS[task]:
            columns = _columns(metric, ours, chosen), _columns(metric, theirs, chosen)
            paired = paired_difference(*columns, weights, confidence=config.confidence)
            key: dict[str, Any] = {"task": task, "metric": metric.name, "language": language, "category": category}
            rows.append(key | _fields(paired, "difference", "difference_low", "difference_high"))
    return rows


def headline_table(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Model -> figures over whole languages: `ja_bits_per_byte`, `probe_ja_accuracy`, `probe_ja_margin`..."""
    table: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row["category"] is None:
            name = f"{row['language']}_{row['metric']}"
            table[row["model"]][name if row["task"] == "bits_per_byte" else f"probe_{name}"] = row["value"]
    return dict(table)


def _weights(
    task: str, language: str, category: str | None, num_examples: int, config: EvaluateConfig, seed: int
) -> NDArray[np.int64]:
    """The resamples of a group of examples, the same for every model and every pair of models."""
    name = f"{task}/{language}/{category or ''}"
    return resample_weights(num_examples, config.resamples, seed=seed, name=name)


def _groups(rows: ExampleRows) -> Iterator[tuple[str, str | None, list[int]]]:
    """(language, category, indices of its rows); category None is the whole language."""
    groups: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row["language"], None].append(index)
        if "category" in row:
            groups[row["language"], row["category"]].append(index)
    for (language, category), chosen in groups.items():
        yield language, category, chosen


def _columns(metric: Metric, rows: ExampleRows, chosen: Sequence[int]) -> tuple[Floats, Floats]:
    numerators = np.array([rows[index][metric.numerator] for index in chosen], np.float64)
    if metric.denominator is None:
        return numerators, np.ones_like(numerators)
    return numerators, np.array([rows[index][metric.denominator] for index in chosen], np.float64)


def _fields(estimate: Estimate, *names: str) -> dict[str, float | None]:
    values = (estimate.value, estimate.low, estimate.high)
    return {name: None if value is None else round(value, 6) for name, value in zip(names, values, strict=True)}

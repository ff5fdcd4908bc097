"""The report's scores of held-out text and the probe: every model beside the base, with intervals, and the summary.

In: `scores.jsonl` of evaluate (one row per model, task, metric, language and category; differences are model minus
base, paired on the same examples). Out: JSON-like facts: a line per measure, with a score per model.

    facts = scores(made, run)
    facts["measures"][0]["label"], facts["measures"][0]["scores"]["trained"]["value"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.report import formats
from tasks.report.artifacts import RunArtifacts
from tasks.report.benchmark_tables import average_headlines
from tasks.report.evaluation_files import measure_rows

BASE, INITIALIZED, TRAINED = "base", "initialized", "trained"
_METRICS = {
    "bits_per_byte": ("bits per byte", "lower is better"),
    "accuracy": ("probe, right answers", "higher is better"),
    "margin": ("probe, margin of the right answer", "bits per byte, higher is better"),
    "accuracy_per_byte": ("probe, right answers", "choices compared per byte, higher is better"),
}
_LANGUAGES = ("ja", "en")
_SUMMARY = ("bits_per_byte", "accuracy", "margin")
_FIELDS = ("value", "ci_low", "ci_high", "difference", "difference_low", "difference_high", "unit", "metric")

Rows = Sequence[Mapping[str, Any]]


def scores(made: RunArtifacts, run: Mapping[str, Any]) -> dict[str, Any]:
    """All scores: `measures` over whole languages, `categories` of the probe, `headline` in words."""
    written = made.json_lines("evaluate", "scores.jsonl")
    rows = measure_rows(written)
    measures = _measures([row for row in rows if row.get("category") is None])
    section = run.get("evaluate")
    settings = section if isinstance(section, Mapping) else {}
    categories = _measures([row for row in rows if row.get("category") and row.get("metric") == "accuracy"])
    models = _models(rows)
    return {
        "models": models,
        "measures": measures,
        "categories": categories,
        "category_models": [name for name in models if any(name in measure["scores"] for measure in categories)],
        "summary": [measure for measure in measures if measure["metric"] in _SUMMARY] or _unknown(),
        "headline": [text for code in _LANGUAGES if (text := _headline(measures, code))] + average_headlines(written),
        "device": made.detail("evaluate", "device"),
        "counts": dict(made.counts("evaluate")),
        **{name: settings.get(name) for name in ("confidence", "resamples", "window", "stride", "dtype")},
    }


def _models(rows: Rows) -> list[str]:
    """Base, initialised and trained, then whatever else was scored."""
    found = list(dict.fromkeys(row["model"] for row in rows))
    known = [BASE, INITIALIZED, TRAINED]
    return known + [name for name in found if name not in known]


def _measures(rows: Rows) -> list[dict[str, Any]]:
    """A line for each metric, language and category, with what each model scored."""
    grouped: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        key = (row["metric"], row["language"], row.get("category") or "")
        grouped.setdefault(key, {})[row["model"]] = row
    measures = []
    for metric, language, category in sorted(grouped, key=_order):
        models = grouped[metric, language, category]
        label, direction = _METRICS.get(metric, (formats.words(metric), ""))
        base = models.get(BASE, {}).get("value")
        measures.append({
            "metric": metric,
            "language": language,
            "category": category,
            "label": label,
            "direction": direction,
            "n": next((row["n"] for row in models.values() if row.get("n") is not None), None),
            "scores": {
                name: {**{field: row.get(field) for field in _FIELDS}, "base_value": base}
                for name, row in models.items()
            },
        })  # fmt: skip
    return measures


def _order(key: tuple[str, str, str]) -> tuple[int, int, str, str, str]:
    metric, language, category = key
    metrics, languages = list(_METRICS), list(_LANGUAGES)
    return (
        metrics.index(metric) if metric in metrics else len(metrics),
        languages.index(language) if language in languages else len(languages),
        metric,
        language,
        category,
    )


def _unknown() -> list[dict[str, Any]]:
    """The summary's lines for a run that was not evaluated."""
    return [
        {
            "metric": metric,
            "language": code,
            "category": "",
            "label": label,
            "direction": direction,
            "n": None,
            "scores": {},
        }
        for metric, (label, direction) in _METRICS.items()
        if metric in _SUMMARY
        for code in _LANGUAGES
    ]


def _headline(measures: Sequence[Mapping[str, Any]], language: str) -> str | None:
    """`Japanese: 1.704 → 1.395 bits per byte, −18.1 % against the base (−19.9 % to −16.4 %).`"""
    for measure in measures:
        trained = measure["scores"].get(TRAINED)
        if measure["metric"] != "bits_per_byte" or measure["language"] != language or trained is None:
            continue
        interval = formats.difference_interval(trained)
        return (
            f"{formats.language(language)}: {formats.decimal(trained['base_value'])} → {formats.cell(trained)} bits "
            f"per byte, {formats.difference(trained)} against the base{f' ({interval})' if interval else ''}."
        )
    return None

"""A sweep's scores of held-out text and the probe as lines and columns: values, the best of a column, differences.

In: `scores.jsonl` of every variant and checkpoint. Out: JSON-like facts. A line is a model (the base, a variant before
training, a variant at a step), a column a measure over a language, a probe category, or the mean of its neighbours;
a column's key is `metric/language/category`.

    lines = score_lines(variants, made)
    lines[0]["scores"]["bits_per_byte/ja/"]["value"], lines[0]["scores"]["bits_per_byte/ja/"]["best"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.report.artifacts import RunArtifacts
from tasks.report.evaluation_files import measure_rows

if TYPE_CHECKING:
    from tasks.report.comparison import VariantRun

# metric -> (label, lower is better, factor for charts)
MEASURES = {"bits_per_byte": ("bits per byte", True, 1), "accuracy": ("probe", False, 100)}
MEAN = "mean"
_LANGUAGES = ("ja", "en")
_FIELDS = ("value", "ci_low", "ci_high", "unit", "metric")

Line = dict[str, Any]
Column = dict[str, Any]


def score_lines(variants: Sequence[VariantRun], made: Mapping[str, RunArtifacts]) -> list[Line]:
    """The base model, then each variant before training and at every scored step.

    Returns:
        `label`, `variant`, `model`, `step`, `tokens`, `scores`: column key -> value, interval, `best`. The base stands
        there once, and again for a variant whose base, or whose held-out text, is another.
    """
    bases: list[Line] = []
    lines: list[Line] = []
    for variant in variants:
        rows = made[variant.name].json_lines("evaluate", "scores.jsonl")
        base = _line(variant, "base", 0, rows)
        if base["scores"] and all(base["scores"] != other["scores"] for other in bases):
            bases.append(base | {"label": f"base model of {variant.name}" if bases else "base model"})
        lines.append(_line(variant, "initialized", 0, rows))
        for step, uri in sorted(variant.checkpoints.items()):
            earlier = RunArtifacts.read({"evaluate": uri}).json_lines("evaluate", "scores.jsonl")
            lines.append(_line(variant, "trained", step, earlier))
        lines.append(_line(variant, "trained", variant.num_steps, rows))
    found = [line for line in bases + lines if line["scores"]]
    for line in found:
        line["scores"] |= _means(line["scores"])
    _mark_best(found)
    return found


def main_columns(lines: Sequence[Line]) -> list[Column]:
    """Every measure over whole languages, each group followed by its mean."""
    columns = []
    for metric, (label, lower, scale) in MEASURES.items():
        languages = _languages(lines, metric)
        wanted = [*languages, None] if len(languages) > 1 else languages
        columns += [_column(metric, code, "", label, lower, scale) for code in wanted]
    return columns


def category_columns(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The probe's categories: for each language its columns, the last of them the whole language."""
    _, lower, scale = MEASURES["accuracy"]
    tables = []
    for code in _languages(lines, "accuracy"):
        keys = dict.fromkeys(key for line in lines for key in line["scores"] if key.startswith(f"accuracy/{code}/"))
        names = [key.rsplit("/", 1)[1] for key in keys if not key.endswith("/")]
        columns = [_column("accuracy", code, name, name, lower, scale) for name in sorted(names)]
        tables.append({"language": code, "columns": [*columns, _column("accuracy", code, "", "all", lower, scale)]})
    return [table for table in tables if len(table["columns"]) > 1]


def differences(variants: Sequence[VariantRun], lines: Sequence[Line]) -> list[Line]:
    """Each line of a later variant minus the first variant's at as many tokens.

    Returns:
        `label`, `variant`, `step`, `tokens`, `scores`: column key -> `difference`, its interval and `verdict`: better
        or worse where the interval excludes zero, else empty.
    """
    of_first = {line["tokens"]: line for line in lines if line["variant"] == variants[0].name and _is_trained(line)}
    by_name = {variant.name: variant for variant in variants}
    found = []
    for line in lines:
        first = of_first.get(line["tokens"])
        if not _is_trained(line) or line["variant"] == variants[0].name or first is None:
            continue
        scores = {}
        for row in measure_rows(by_name[line["variant"]].differences.get(line["step"], ())):
            key = _key(row["metric"], row["language"], row["category"])
            score = line["scores"].get(key)
            if score is not None and key in first["scores"]:
                scores[key] = {
                    **{name: row[name] for name in ("difference", "difference_low", "difference_high")},
                    "unit": score["unit"],
                    "metric": score["metric"],
                    "base_value": first["scores"][key]["value"],
                    "verdict": _verdict(row),
                }
        found.append({name: line[name] for name in ("label", "variant", "step", "tokens")} | {"scores": scores})
    return [line for line in found if line["scores"]]


def _line(variant: VariantRun, model: str, step: int, rows: Sequence[Mapping[str, Any]]) -> Line:
    scores = {
        _key(row["metric"], row["language"], row["category"]): {name: row.get(name) for name in _FIELDS}
        for row in measure_rows(rows)
        if row["model"] == model and row["metric"] in MEASURES and row["value"] is not None
    }
    tokens = variant.tokens_after(step)
    named = {"label": variant.name, "variant": variant.name, "model": model}
    return named | {"step": step, "tokens": tokens, "scores": scores}


def _means(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The mean over languages of each metric that more than one language has."""
    means = {}
    for metric in MEASURES:
        whole = [scores[key] for key in scores if key.startswith(f"{metric}/") and key.endswith("/")]
        if len(whole) > 1:
            value = sum(score["value"] for score in whole) / len(whole)
            means[_key(metric, MEAN, None)] = {**whole[0], "value": value, "ci_low": None, "ci_high": None}
    return means


def _mark_best(lines: Sequence[Line]) -> None:
    """`best` on the best value of each column, and on all that share it, unless all do; before training left out."""
    compared = [line["scores"] for line in lines if line["model"] != "initialized"]
    for key in {key for line in lines for key in line["scores"]}:
        values = [scores[key]["value"] for scores in compared if key in scores]
        lower = MEASURES[key.split("/", 1)[0]][1]
        best = (min if lower else max)(values) if len(set(values)) > 1 else None
        for line in lines:
            if key in line["scores"]:
                line["scores"][key]["best"] = line["model"] != "initialized" and line["scores"][key]["value"] == best


def _verdict(row: Mapping[str, Any]) -> str:
    low, high = row["difference_low"], row["difference_high"]
    if low is None or low <= 0 <= high:
        return ""
    return "better" if (high < 0) == MEASURES[row["metric"]][1] else "worse"


def _languages(lines: Sequence[Line], metric: str) -> list[str]:
    """Japanese, English, then others by their code."""
    found = {key.split("/")[1] for line in lines for key in line["scores"] if key.startswith(f"{metric}/")} - {MEAN}
    return sorted(found, key=lambda code: (_LANGUAGES.index(code) if code in _LANGUAGES else len(_LANGUAGES), code))


def _column(metric: str, language: str | None, category: str, label: str, lower: bool, scale: int) -> Column:
    key = _key(metric, language or MEAN, category)
    return {"key": key, "metric": metric, "language": language, "label": label, "lower": lower, "scale": scale}


def _key(metric: str, language: str, category: str | None) -> str:
    return f"{metric}/{language}/{category or ''}"


def _is_trained(line: Line) -> bool:
    return line["model"] == "trained"

"""Which charts the page has: from the facts of `report.json` to SVGs, no chart where there is nothing to draw.

drawings(facts)["learning_curve"]  # ['<svg ...>']
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.report import charts
from tasks.report.formats import difference_in_unit, language, words

_PANELS = {"bits_per_byte": "bits per byte", "accuracy": "probe, right answers in %"}
_DIFFERENCES = {"bits_per_byte": "bits per byte, change in %", "accuracy": "probe, right answers, change in points"}
_MEASURES = {
    "tokens_per_second": "tokens/s, all ranks",
    "memory_gib": "memory of rank 0, GiB",
    "grad_norm": "gradient norm",
}
_SHOWN_OF_DATE = {"day": slice(5, None), "month": slice(2, None), "year": slice(None)}  # `03-17`, `24-03`, `2024`

Facts = Mapping[str, Any]


def drawings(facts: Facts) -> dict[str, list[str]]:
    """The charts of each place on the page, none, one or several."""
    curve = facts["training"]["curve"]
    return {
        "corpus": _histograms(facts["card"]),
        "clusters": _clusters(facts["duplicates"]),
        "s_curve": _s_curve(facts["duplicates"]["s_curve"]),
        "learning_curve": _learning_curve(curve),
        "validation": _validation(facts["training"]["validation"]),
        "steps": _over_steps(curve),
        "scores": _scores(facts["scores"]),
        "differences": _differences(facts["scores"]),
    }


def _histograms(card: Facts) -> list[str]:
    unit = card["dates"]["unit"]
    dates = [(bar["from"][_SHOWN_OF_DATE[unit]], bar["count"]) for bar in card["dates"]["bars"]]
    lengths = [(_short(bar["from"]), bar["count"]) for bar in card["lengths"]["bars"]]
    scores = [(f"{bar['from']:.2f}", bar["count"]) for bar in card["language_scores"]]
    drawn = (
        (dates, f"{unit} of fetching"),
        (lengths, "characters, from"),
        (scores, "language score, from"),
    )
    return [charts.histogram(bars, quantity) for bars, quantity in drawn if bars]


def _clusters(found: Facts) -> list[str]:
    bars = [(row["size"].replace(" to ", "–").replace(" or more", "+"), row["clusters"]) for row in found["sizes"]]
    return [charts.histogram(bars, "documents in the cluster", "clusters", powers=True)] if bars else []


def _s_curve(found: Facts) -> list[str]:
    """From well below the curve's middle on, where it rises."""
    if not found["curve"]:
        return []
    points = [(point["mean_jaccard"], point["observed"], point["standard_error"]) for point in found["points"]]
    lowest = min([found["middle"], *(similarity for similarity, *_ in points)])
    return [charts.s_curve(found["curve"], points, max(0.0, round(lowest - 0.15, 1)))]


def _learning_curve(curve: Facts) -> list[str]:
    losses = {language(code): values for code, values in curve["losses"].items()}
    return [charts.learning_curve(curve["steps"], losses, curve["measures"]["lr"])] if curve["steps"] else []


def _validation(held_out: Facts) -> list[str]:
    """A language's line; one point is in the table already."""
    lines = {language(code): values for code, values in held_out["values"].items()}
    unit = "bits per byte" if held_out["measure"] == "bits_per_byte" else "loss, nats per token"
    drawn = len(held_out["steps"]) > 1
    return [charts.over_steps(held_out["steps"], lines, f"held-out {unit}")] if drawn else []


def _over_steps(curve: Facts) -> list[str]:
    series = [({unit: curve["measures"][name]}, unit) for name, unit in _MEASURES.items()]
    series.insert(1, ({words(name): values for name, values in curve["tflops"].items()}, "TFLOPS per device"))
    known = [(lines, unit) for lines, unit in series if any(v is not None for line in lines.values() for v in line)]
    return [charts.over_steps(curve["steps"], lines, unit) for lines, unit in known]


def _scores(scores: Facts) -> list[str]:
    panels = []
    for measure in scores["measures"]:
        if measure["metric"] in _PANELS:
            scale = 100 if measure["metric"] == "accuracy" else 1
            rows = [
                (model, *(_scaled(found[field], scale) for field in ("value", "ci_low", "ci_high")))
                for model in scores["models"]
                if (found := measure["scores"].get(model)) and found["value"] is not None
            ]
            panels.append((f"{language(measure['language'])}, {_PANELS[measure['metric']]}", rows))
    panels = [panel for panel in panels if panel[1]]
    return [charts.intervals(panels, "Scores of each model with their intervals")] if panels else []


def _differences(scores: Facts) -> list[str]:
    """The trained model's paired differences from the base, in the units of the tables."""
    panels = []
    for metric, title in _DIFFERENCES.items():
        rows: list[charts.Row] = []
        for measure in scores["measures"]:
            found = measure["scores"].get("trained") or {}
            value = difference_in_unit(found, "difference")
            if measure["metric"] == metric and value is not None:
                low, high = (difference_in_unit(found, f"difference_{end}") for end in ("low", "high"))
                rows.append((language(measure["language"]), value, low, high))
        if rows:
            panels.append((title, rows))
    label = "Differences of the trained model from the base with their intervals"
    return [charts.intervals(panels, label, from_zero=True)] if panels else []


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def _short(number: int) -> str:
    """`1,500`, `20k`, `3M`: what fits below a bar."""
    if number >= 1_000_000:
        return f"{number / 1_000_000:g}M"
    return f"{number / 1000:g}k" if number >= 10_000 else f"{number:,}"

"""Charts of scores over training: each measure by the tokens trained on, a line per variant or model.

In: plain numbers. Out: inline SVG for the comparison page, or a PNG on white for the Prefect UI.

    svg = measure_curve("Japanese, bits per byte", 1.7, {"16k": [(0, 2.1), (40_960, 1.5)]})
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tasks.report.charts import MUTED, SERIES, WIDTH, inline_svg, styled
from tasks.report.formats import language

Points = Sequence[tuple[int, float]]

# A sweep may have more variants than a chart has colours that can be told apart: then dashes, then dots.
_DASHES = ("-", "--", ":")
_MARKERS = ("o", "s", "^")
_METRICS = {"bits_per_byte": "bits per byte", "accuracy": "probe, right answers"}


def measure_curve(title: str, base: float | None, variants: Mapping[str, Points]) -> str:
    """One measure of every variant over tokens; the base model is a horizontal line.

    Args:
        title: measure with its unit.
        variants: name -> (tokens trained on, value), in order of tokens.
    """
    with styled({"svg.hashsalt": title}):
        figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
        axes = figure.subplots()
        draw_measure(axes, base, variants)
        axes.set_ylabel(title)
        axes.set_xlim(left=0)
        axes.set_xlabel("tokens trained on")
        columns = 3 if len(variants) < 7 else 4
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, handlelength=2.4, columnspacing=1.2)
        return inline_svg(figure, f"{title}, over tokens trained on, of each variant")


def draw_checkpoints(rows: Sequence[Mapping[str, Any]], num_steps: int) -> bytes:
    """The scores of one run's checkpoints over its steps, as a PNG: a panel per language and measure.

    Args:
        rows: of `step`, `model`, `metric`, `language`, `value`; at least one.
        num_steps: where the axis ends.
    """
    panels: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        panels.setdefault((row["metric"], row["language"]), []).append(row)
    with styled({}):
        figure = Figure(figsize=(8, 2.4 * len(panels)), dpi=90, layout="constrained", facecolor="white")
        for axes, (metric, code) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
            found = panels[metric, code]
            base = next((row["value"] for row in found if row["model"] == "base"), None)
            points = [(row["step"], row["value"]) for row in found if row["model"] != "base"]
            draw_measure(axes, base, {"trained": points} if points else {})
            axes.set_title(f"{language(code)}, {_METRICS[metric]}")
            axes.set_xlim(0, num_steps * 1.02)
        axes.set_xlabel("optimizer step")
        figure.axes[0].legend(loc="best")
        png = io.BytesIO()
        figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def draw_measure(axes: Axes, base: float | None, lines: Mapping[str, Points]) -> None:
    """The base as a line across, and each line with its points marked."""
    if base is not None:
        axes.axhline(base, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)), label="base model")
    for number, (name, points) in enumerate(lines.items()):
        around = number // len(SERIES) % len(_DASHES)
        axes.plot(
            [at for at, _ in points],
            [value for _, value in points],
            color=SERIES[number % len(SERIES)],
            linestyle=_DASHES[around],
            marker=_MARKERS[around],
            markersize=5,
            label=name,
        )
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))


def short_count(value: float) -> str:
    """A number of tokens on an axis: `0`, `40k`, `2.5M`, `100B`."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"

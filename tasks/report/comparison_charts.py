"""Charts of scores over training: each measure by the tokens trained on, a line per variant or model.

In: plain numbers. Out: inline SVG for the comparison page, or a PNG on white for the Prefect UI.

    svg = measure_curve("Japanese, bits per byte", 1.7, {"16k": [(0, 2.1), (40_960, 1.5)]})
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tasks.report.charts import MUTED, SERIES, WIDTH, inline_svg, styled
from tasks.report.score_curves import Curve, Points, score_curves

# A sweep may have more variants than a chart has colours that can be told apart: then dashes, then dots.
_DASHES = ("-", "--", ":")
_MARKERS = ("o", "s", "^")
_PUBLISHED_MARKERS = ("D", "P", "v", "X")
_MAX_COLUMNS = 3  # of panels


def curve_charts(curves: Iterable[Curve]) -> list[Markup]:
    """A chart of each curve, for a page."""
    return [Markup(measure_curve(curve.title, curve.base, curve.lines, curve.published)) for curve in curves]


def measure_curve(
    title: str, base: float | None, variants: Mapping[str, Points], published: Mapping[str, Points] | None = None
) -> str:
    """One measure of every variant over tokens; the base model is a horizontal line.

    Args:
        title: measure with its unit.
        variants: name -> (tokens trained on, value), in order of tokens.
        published: the same of models that others trained and measured; hollow and grey.
    """
    with styled({"svg.hashsalt": title}):
        figure = Figure(figsize=(WIDTH, 3.3), layout="constrained")
        axes = figure.subplots()
        draw_measure(axes, base, variants)
        _draw_published(axes, published or {})
        axes.set_ylabel(title)
        axes.set_xlim(left=0)
        axes.set_xlabel("tokens trained on")
        columns = 4 if len(variants) > 6 else 3
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, handlelength=2.4, columnspacing=1.2)
        return inline_svg(figure, f"{title}, over tokens trained on, of each variant")


def draw_checkpoints(rows: Sequence[Mapping[str, Any]], last_tokens: int) -> bytes:
    """The scores of one run's checkpoints over tokens, as a PNG: a panel per measure, averages first.

    Args:
        rows: of `tokens`, `model`, `metric`, `language`, `value`, and of benchmarks what `score_curves` reads.
        last_tokens: where the axis ends.
    """
    curves = score_curves(rows)
    columns = min(_MAX_COLUMNS, math.ceil(len(curves) / 4)) or 1
    lines = math.ceil(len(curves) / columns) or 1
    with styled({}):
        size = (8 if columns == 1 else 4.4 * columns, 2.4 * lines)
        figure = Figure(figsize=size, dpi=90, layout="constrained", facecolor="white")
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, curve in zip(panels, curves, strict=False):
            draw_measure(axes, curve.base, curve.lines)
            _draw_published(axes, curve.published)
            axes.set_title(curve.title)
            axes.set_xlim(0, max(last_tokens, *(at for points in curve.lines.values() for at, _ in points)) * 1.02)
        for axes in panels[len(curves) :]:
            axes.set_axis_off()
        for axes in panels[max(0, len(curves) - columns) : len(curves)]:
            axes.set_xlabel("tokens trained on")
        handles = {
            label: line for axes in panels for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        if len(curves) > 1:
            figure.legend(handles.values(), handles, loc="outside upper left", ncols=4)
        elif curves:
            panels[0].legend(loc="best")
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


def _draw_published(axes: Axes, published: Mapping[str, Points]) -> None:
    for number, (name, points) in enumerate(published.items()):
        axes.plot(
            [at for at, _ in points],
            [value for _, value in points],
            linestyle="none",
            marker=_PUBLISHED_MARKERS[number % len(_PUBLISHED_MARKERS)],
            markersize=6,
            markerfacecolor="none",
            markeredgecolor=MUTED,
            clip_on=False,
            label=name,
        )


def short_count(value: float) -> str:
    """A number of tokens on an axis: `0`, `40k`, `2.5M`, `100B`."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"

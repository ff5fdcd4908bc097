"""Charts as inline SVG: the learning curve, measures over the steps, histograms, scores with their intervals, S-curves.

In: plain numbers. Out: an `<svg>` element for an HTML page: text stays text in the page's own font, colours are CSS
variables of the page (so a dark page has dark charts), and nothing refers to anything outside. The same numbers give
the same bytes: ids are hashed with a fixed salt and no date is written. Drawn by matplotlib, laid out with the DejaVu
Sans that it ships, so that the machine's fonts do not matter.

    svg = learning_curve([1, 2, 3], {"Japanese": [3.1, 2.9, 2.8]}, [0.1, 0.2, 0.1])
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from tasks.report.formats import scientific

Values = Sequence[float | None]
Row = tuple[str, float, float | None, float | None]
Panel = tuple[str, Sequence[Row]]
Point = tuple[float, float, float]

WIDTH = 5.6  # inches; 72 units of the SVG each
# Light colours as drawn, and the page's variable that takes their place.
_INK, MUTED, _GRID = "#1d2329", "#5b6570", "#dde2e7"
SERIES = ("#0b62c4", "#b8500a", "#2b7a4b", "#7a3fb0")
MODEL_COLORS = {"base": MUTED, "initialized": SERIES[1], "trained": SERIES[0]}
_VARIABLES = {
    _INK: "--ink",
    MUTED: "--muted",
    _GRID: "--grid",
    **{color: f"--series-{number}" for number, color in enumerate(SERIES, 1)},
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": _INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def learning_curve(steps: Sequence[int], losses: Mapping[str, Values], lr: Values) -> str:
    """Loss of each language over the steps, and the learning rate below it.

    Each language has its single points, faint, and their running mean over a twentieth of the steps.
    """
    with styled({"svg.hashsalt": "learning curve"}):
        figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 2))
        for color, (name, values) in zip(cycle(SERIES), losses.items(), strict=False):
            known = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
            if known:
                at, ys = zip(*known, strict=True)
                above.plot(
                    at, ys, linestyle="none", marker=".", markersize=4, markeredgewidth=0, color=color, alpha=0.4
                )
                above.plot(at, running_mean(ys, max(1, len(steps) // 20)), color=color, label=name)
        above.set_ylabel("loss, nats per token")
        if losses:
            # Above the plot, where it hides nothing.
            above.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.98), ncols=min(3, len(losses)))
        known_lr = [(step, value) for step, value in zip(steps, lr, strict=True) if value is not None]
        if known_lr:
            below.plot(*zip(*known_lr, strict=True), color=MUTED)
        below.set_ylabel("learning rate")
        below.set_ylim(bottom=0)
        below.yaxis.set_major_locator(MaxNLocator(3))
        below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: scientific(value)))
        _step_axis(below)
        return inline_svg(figure, "Loss per language and learning rate over the optimizer steps")


def intervals(panels: Sequence[Panel], label: str, *, from_zero: bool = False) -> str:
    """Values side by side: for each panel a row per name, a dot at its value and a line over its interval.

    Args:
        panels: (title with unit, rows of (name, value, low, high)).
        label: what the chart shows, for those who cannot see it.
        from_zero: the values are differences; a line marks zero.
    """
    with styled({"svg.hashsalt": label, "axes.grid.axis": "x", "axes.spines.left": False}):
        rows = sum(len(scores) for _, scores in panels)
        figure = Figure(figsize=(WIDTH, 0.34 * rows + 0.8 * len(panels)))
        figure.set_layout_engine(ConstrainedLayoutEngine(h_pad=0.1))  # a title belongs to the panel below it
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[len(scores) + 0.6 for _, scores in panels])
        for panel, (title, scores) in zip(axes[:, 0], panels, strict=True):
            _draw_intervals(panel, title, scores)
            if from_zero:
                panel.axvline(0, color=MUTED, linewidth=1.2, zorder=0)
        return inline_svg(figure, label)


def over_steps(steps: Sequence[int], series: Mapping[str, Values], unit: str) -> str:
    """A small chart of one measure over the steps, a line for each name; where there is only one, no legend."""
    with styled({"svg.hashsalt": unit}):
        figure = Figure(figsize=(WIDTH, 2.3), layout="constrained")
        axes = figure.subplots()
        for color, (name, values) in zip(cycle(SERIES), series.items(), strict=False):
            known = [(step, value) for step, value in zip(steps, values, strict=True) if value is not None]
            if known:
                axes.plot(*zip(*known, strict=True), color=color, label=name, marker="." if len(known) == 1 else None)
        if len(series) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.98), ncols=2)
        axes.set_ylabel(unit)
        axes.margins(y=0.1)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(_tick))
        _step_axis(axes)
        return inline_svg(figure, f"{unit} over the optimizer steps")


def histogram(
    bars: Sequence[tuple[str, int]], quantity: str, counted: str = "documents", *, powers: bool = False
) -> str:
    """How many have which quantity: a bar for each (where it begins, number); about seven bars are labelled.

    Args:
        counted: what the numbers are of.
        powers: the numbers are on a logarithmic scale.
    """
    with styled({"svg.hashsalt": quantity, "axes.grid.axis": "y"}):
        figure = Figure(figsize=(WIDTH, 2.3), layout="constrained")
        axes = figure.subplots()
        axes.bar(range(len(bars)), [count for _, count in bars], width=0.86, color=SERIES[0], linewidth=0)
        every = max(1, math.ceil(len(bars) / 7))
        axes.set_xticks(range(0, len(bars), every), [label for label, _ in bars[::every]])
        axes.set_xlim(-0.8, max(len(bars), 3) - 0.2)  # a lone bar does not fill the chart
        axes.tick_params(axis="x", length=0)
        axes.set_xlabel(quantity)
        axes.set_ylabel(counted)
        if powers:
            axes.set_yscale("log")
            axes.set_ylim(bottom=0.5)  # one is more than nothing
            axes.yaxis.set_major_locator(LogLocator(10, numticks=5))
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        return inline_svg(figure, f"{counted.capitalize()} by {quantity}")


def s_curve(curve: Sequence[tuple[float, float]], points: Sequence[Point], first: float) -> str:
    """How likely two documents are found to be near-duplicates, over their Jaccard similarity.

    Args:
        curve: (similarity, probability) by theory.
        points: (similarity, observed probability, standard error); drawn with two standard errors either way.
        first: the similarity at which the chart begins.
    """
    with styled({"svg.hashsalt": "S-curve"}):
        figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
        axes = figure.subplots()
        axes.plot(*zip(*curve, strict=True), color=MUTED, label="theory")
        if points:
            at, observed, errors = zip(*points, strict=True)
            axes.errorbar(
                at, observed, yerr=[2 * error for error in errors], color=SERIES[0], label="measured",
                linestyle="none", marker="o", markersize=5, elinewidth=1.6, capsize=3,
            )  # fmt: skip
            axes.legend(loc="upper left")
        axes.set_xlim(first, 1.005)
        axes.set_ylim(-0.04, 1.06)
        axes.set_xlabel("Jaccard similarity of two documents")
        axes.set_ylabel("share of pairs found")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        return inline_svg(figure, "Share of pairs found over their Jaccard similarity")


@contextmanager
def styled(own: Any) -> Iterator[None]:
    """Draw in our style, whatever the user's matplotlibrc says, and leave theirs as it was."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**_STYLE, **own})
        yield


def _draw_intervals(axes: Axes, title: str, scores: Sequence[Row]) -> None:
    for row, (model, value, low, high) in enumerate(scores):
        color = MODEL_COLORS.get(model, SERIES[3])
        if low is not None and high is not None:
            axes.plot([low, high], [row, row], color=color, linewidth=2.5, solid_capstyle="round")
        axes.plot([value], [row], color=color, marker="o", markersize=7)
    axes.set_title(title)
    axes.set_yticks(range(len(scores)), [model for model, *_ in scores])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(scores) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(6))


def _step_axis(axes: Axes) -> None:
    axes.set_xlabel("optimizer step")
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _tick(value: float, _: int) -> str:
    """`1,200` or `0.015`: as many digits as the scale needs."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and the `window - 1` before it, of fewer at the beginning."""
    return [sum(part) / len(part) for end in range(1, len(values) + 1) if (part := values[max(0, end - window) : end])]


def inline_svg(figure: Figure, label: str) -> str:
    """The figure as an SVG element that takes its size, font and colours from the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    view_box = re.search(r'viewBox="[^"]+"', svg)
    assert view_box, "matplotlib writes a viewBox"
    body = svg[svg.index(">") + 1 :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"(/?)>', r"<g\1>", body)  # two charts on one page would share these names
    body = re.sub(r"font-family: [^;\"]+", "font-family: inherit", body)
    for color, variable in _VARIABLES.items():
        body = body.replace(color, f"var({variable})")
    return f'<svg role="img" aria-label="{label}" {view_box[0]}>{body}'

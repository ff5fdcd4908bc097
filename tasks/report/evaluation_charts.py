"""Charts of benchmarks: averages with their intervals, and our scores beside published ones.

In: `Table`s of `benchmark_tables`. Out: inline SVG, as `tasks.report.charts` makes it.

    svg = beside_published(table)
"""

from __future__ import annotations

from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tasks.report.charts import MODEL_COLORS, MUTED, SERIES, WIDTH, Panel, Row, inline_svg, intervals, styled
from tasks.report.tables import Column, Table

_HOLLOW = ("o", "D", "s", "^", "v", "P")  # published models: shapes, all grey
_FILLED = ("o", "s", "^", "D")


def averages_chart(table: Table) -> str:
    """A panel per average, a row per model, in percent."""
    panels: list[Panel] = []
    for at, column in enumerate(table.columns[1:], 1):
        rows: list[Row] = []
        for row in table.rows:
            cell = row[at]
            if isinstance(cell.value, float):
                rows.append((str(row[0].value), 100 * cell.value, _percent(cell.low), _percent(cell.high)))
        if rows:
            panels.append((f"{column.label} average, {column.group}, %", rows))
    return intervals(panels, "Averages of each model with their intervals")


def beside_published(table: Table) -> str:
    """A row per task: ours as filled marks with their intervals, published ones hollow and grey.

    Args:
        table: of `published_table`: columns grouped into ours and theirs.
    """
    ours = [(at, column) for at, column in enumerate(table.columns) if column.group == "ours"]
    theirs = [(at, column) for at, column in enumerate(table.columns) if column.group not in ("", "ours")]
    label = f"Our scores of {len(table.rows)} tasks beside published ones"
    with styled({"svg.hashsalt": label, "axes.grid.axis": "both", "axes.spines.left": False}):
        figure = Figure(figsize=(WIDTH, 0.42 * len(table.rows) + 1.5), layout="constrained")
        axes = figure.subplots()
        handles = _draw_theirs(axes, table, theirs) + _draw_ours(axes, table, ours)
        axes.set_yticks(range(len(table.rows)), [str(row[0].value) for row in table.rows])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(table.rows) - 0.4, -0.6)
        axes.set_xlim(0, 100)
        axes.set_xlabel("score in %")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        figure.legend(handles=handles, loc="outside upper left", ncols=3, columnspacing=1.2, handletextpad=0.3)
        return inline_svg(figure, label)


def _draw_theirs(axes: Axes, table: Table, columns: list[tuple[int, Column]]) -> list[Line2D]:
    handles = []
    for (at, column), marker in zip(columns, cycle(_HOLLOW), strict=False):
        points = [(100 * value, row) for row, cells in enumerate(table.rows)
                  if isinstance(value := cells[at].value, float)]  # fmt: skip
        handles += axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            linestyle="none",
            marker=marker,
            markersize=6,
            markerfacecolor="none",
            markeredgecolor=MUTED,
            label=column.label,
        )
    return handles


def _draw_ours(axes: Axes, table: Table, columns: list[tuple[int, Column]]) -> list[Line2D]:
    """Slightly one below the other, so that their intervals do not hide each other."""
    handles = []
    for number, (at, column) in enumerate(columns):
        color = MODEL_COLORS.get(column.label, SERIES[(number + 2) % len(SERIES)])
        offset = 0.16 * (number - (len(columns) - 1) / 2)
        for row, cells in enumerate(table.rows):
            low, high = cells[at].low, cells[at].high
            if low is not None and high is not None:
                axes.plot([100 * low, 100 * high], [row + offset] * 2, color=color, linewidth=2)
        points = [(100 * value, row + offset) for row, cells in enumerate(table.rows)
                  if isinstance(value := cells[at].value, float)]  # fmt: skip
        handles += axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            linestyle="none",
            marker=_FILLED[number // len(SERIES) % len(_FILLED)],
            markersize=6,
            color=color,
            label=column.label,
        )
    return handles


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value

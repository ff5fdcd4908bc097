"""A table that is shown on a page and exported: one object, so that HTML, CSV, JSON and LaTeX hold the same figures.

In: columns with a kind each, and rows of cells: a value, its interval, whether it is the best of its column. Out: text
for the page (`shown`), CSV and JSON with unrounded values, LaTeX for `booktabs`. The same table gives the same bytes.

    table = Table("averages", "Averages", (Column("model", "model"), Column("ja", "Japanese", "score")), rows)
    write_exports([table], out)    # tables/averages.csv, .json, .tex
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from storage.uri import join, write_bytes
from tasks.report import formats

Kind = Literal["text", "score", "points", "bits", "signed", "count", "size", "duration"]
_POINTS = 100


@dataclass(frozen=True)
class Column:
    """A column: `name` in exports, `label` on pages, `group` above it, `note` below it.

    `kind`: score (a share of one, shown in percent without the sign), points (a difference of two), bits (bits per
    byte), signed (a difference of two), count, size (of any magnitude), duration (seconds); text is as it is.
    """

    name: str
    label: str
    kind: Kind = "text"
    group: str = ""
    note: str = ""
    lower_is_better: bool = False

    @property
    def is_number(self) -> bool:
        return self.kind != "text"


@dataclass(frozen=True)
class Cell:
    """A value with its interval; `mark` follows it (an asterisk), `verdict` is better, worse or empty."""

    value: float | str | None = None
    low: float | None = None
    high: float | None = None
    best: bool = False
    mark: str = ""
    verdict: str = ""


UNKNOWN = Cell()


@dataclass(frozen=True)
class Table:
    """Rows of as many cells as there are columns; the first column names the row."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), f"{self.name}: a row lacks a cell"

    def full_label(self, column: Column) -> str:
        """A column's label, behind its group where another column is called the same."""
        alone = sum(other.label == column.label for other in self.columns) == 1
        return column.label if alone or not column.group else f"{column.group}, {column.label}"

    @property
    def groups(self) -> list[tuple[str, int]]:
        """(group, columns below it) from left to right; empty where no column has one."""
        found: list[tuple[str, int]] = []
        for column in self.columns:
            if found and found[-1][0] == column.group:
                found[-1] = (column.group, found[-1][1] + 1)
            else:
                found.append((column.group, 1))
        return found if any(name for name, _ in found) else []


_SHOWN: dict[Kind, Callable[[Any], str]] = {
    "text": str,
    "score": lambda value: formats.decimal(_POINTS * value, 1),
    "points": lambda value: formats.signed(_POINTS * value, 1),
    "bits": formats.decimal,
    "signed": formats.signed,
    "count": formats.count,
    "size": formats.significant,
    "duration": formats.duration,
}


def shown(cell: Cell, column: Column) -> str:
    """A cell's value as the page writes it."""
    return formats.UNKNOWN if cell.value is None else _SHOWN[column.kind](cell.value) + cell.mark


def interval(cell: Cell, column: Column) -> str:
    """A cell's interval, `45.2 to 51.0`; empty where there is none."""
    if cell.low is None or cell.high is None:
        return ""
    return f"{_SHOWN[column.kind](cell.low)} to {_SHOWN[column.kind](cell.high)}"


def with_best(table: Table, rows: Sequence[int] | None = None) -> Table:
    """The best value of each column of scores marked, and all that share it, unless all rows do.

    Args:
        rows: those compared; None: all.
    """
    chosen = range(len(table.rows)) if rows is None else rows
    best: dict[int, float] = {}
    for at, column in enumerate(table.columns):
        if column.kind in ("score", "bits"):
            values = [value for row in chosen if isinstance(value := table.rows[row][at].value, float)]
            if len(set(values)) > 1:
                best[at] = (min if column.lower_is_better else max)(values)
    marked = []
    for number, row in enumerate(table.rows):
        marked.append(tuple(
            replace(cell, best=number in chosen and at in best and cell.value == best[at])
            for at, cell in enumerate(row)
        ))  # fmt: skip
    return replace(table, rows=tuple(marked))


def as_csv(table: Table) -> str:
    """One line a row, values unrounded; `<name>_low` and `<name>_high` beside a column that has intervals."""
    bounded = [any(row[at].low is not None for row in table.rows) for at in range(len(table.columns))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = []
    for column, has_interval in zip(table.columns, bounded, strict=True):
        header += [column.name, *([f"{column.name}_low", f"{column.name}_high"] if has_interval else [])]
    writer.writerow(header)
    for row in table.rows:
        line: list[Any] = []
        for cell, has_interval in zip(row, bounded, strict=True):
            line += [cell.value, *([cell.low, cell.high] if has_interval else [])]
        writer.writerow(["" if value is None else value for value in line])
    return text.getvalue()


def as_json(table: Table) -> dict[str, Any]:
    """The same as JSON-like values: a row is a mapping from column to text, or to value, bounds and marks."""
    rows = []
    for row in table.rows:
        line: dict[str, Any] = {}
        for cell, column in zip(row, table.columns, strict=True):
            more = {name: found for name, found in asdict(cell).items() if found and name != "value"}
            bounds = {} if cell.low is None else {"low": cell.low, "high": cell.high}
            line[column.name] = {"value": cell.value, **more, **bounds} if column.is_number else cell.value
        rows.append(line)
    columns = [asdict(column) for column in table.columns]
    return {"name": table.name, "title": table.title, "note": table.note, "columns": columns, "rows": rows}


def from_json(data: Mapping[str, Any]) -> Table:
    """The inverse of `as_json`."""
    columns = tuple(Column(**column) for column in data["columns"])
    rows = []
    for line in data["rows"]:
        values = ((line[column.name], column.is_number) for column in columns)
        rows.append(tuple(Cell(**value) if is_number else Cell(value) for value, is_number in values))
    return Table(data["name"], data["title"], columns, tuple(rows), data["note"])


def as_latex(table: Table) -> str:
    """A `tabular` for the package booktabs: the best bold, intervals small; Japanese needs LuaLaTeX or upLaTeX."""
    lines = [f"% {line}" for line in f"{table.title}\n{table.note}".splitlines() if line]
    lines = [line.replace("\u00a0", " ") for line in lines]
    lines.append(r"\begin{tabular}{" + "".join("r" if column.is_number else "l" for column in table.columns) + "}")
    lines.append(r"\toprule")
    if table.groups:
        spans = [rf"\multicolumn{{{width}}}{{c}}{{{latex(name)}}}" if name else "& " * (width - 1) for name, width in
                 table.groups]  # fmt: skip
        lines.append(" & ".join(spans) + r" \\")
        lines += _rules(table.groups)
    lines.append(" & ".join(latex(column.label) for column in table.columns) + r" \\")
    lines.append(r"\midrule")
    for row in table.rows:
        lines.append(" & ".join(_latex_cell(*pair) for pair in zip(row, table.columns, strict=True)) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def as_markdown(table: Table) -> str:
    """A table of Markdown, values without intervals, the best bold."""
    lines = ["| " + " | ".join(_pipe(column.label) for column in table.columns) + " |"]
    lines.append("| " + " | ".join("---:" if column.is_number else "---" for column in table.columns) + " |")
    for row in table.rows:
        cells = [_pipe(shown(*pair)) for pair in zip(row, table.columns, strict=True)]
        bold = [f"**{text}**" if cell.best else text for text, cell in zip(cells, row, strict=True)]
        lines.append("| " + " | ".join(bold) + " |")
    return "\n".join(lines) + "\n"


def write_exports(tables: Sequence[Table], out: str) -> list[str]:
    """Every table as `tables/<name>.csv`, `.json` and `.tex` below `out`; their relative paths."""
    paths = []
    for table in tables:
        data = json.dumps(as_json(table), ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        for suffix, text in (("csv", as_csv(table)), ("json", data), ("tex", as_latex(table))):
            paths.append(f"tables/{table.name}.{suffix}")
            write_bytes(join(out, paths[-1]), text.encode())
    return paths


_LATEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\u00a0": "~",
    "\u2212": "$-$",
    "\u2013": "--",
    "\u2191": r"$\uparrow$",
    "\u2193": r"$\downarrow$",
    "\u2265": r"$\geq$",
    "*": r"$^{*}$",
    **{sign: "\\" + sign for sign in "#$%&_"},
}
_LATEX_SIGN = re.compile("|".join(re.escape(sign) for sign in _LATEX))


def latex(text: str) -> str:
    """Text in which LaTeX sees nothing but text; line breaks and control characters become spaces."""
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", text)
    return _LATEX_SIGN.sub(lambda found: _LATEX[found[0]], plain)


def _latex_cell(cell: Cell, column: Column) -> str:
    text = latex(shown(cell, column))
    if cell.best:
        text = rf"\textbf{{{text}}}"
    if cell.low is None or cell.high is None:
        return text
    ends = "--".join(latex(_SHOWN[column.kind](end)) for end in (cell.low, cell.high))
    return rf"{text} {{\scriptsize ({ends})}}"


def _rules(groups: Sequence[tuple[str, int]]) -> list[str]:
    """A rule below each named group of columns."""
    rules, first = [], 1
    for name, width in groups:
        if name:
            rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        first += width
    return ["".join(rules)] if rules else []


def _pipe(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

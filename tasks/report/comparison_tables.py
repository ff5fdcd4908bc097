"""A sweep's tables of held-out text, the probe and costs for export, from the figures of the comparison's page.

tables = comparison_tables(facts)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.report.comparison_markdown import column_name, line_name
from tasks.report.tables import UNKNOWN, Cell, Column, Kind, Table

_VARIANT_COLUMNS: tuple[tuple[str, Kind], ...] = (
    ("steps", "count"),
    ("tokens", "count"),
    ("vocab", "count"),
    ("new_pieces", "count"),
    ("tokens_per_character", "size"),
    ("parameters", "count"),
    ("tokens_per_second", "size"),
    ("memory_gib", "size"),
    ("train_seconds", "size"),
    ("flops", "size"),
)


def comparison_tables(facts: Mapping[str, Any]) -> list[Table]:
    """Scores, probe categories, differences from the first variant, and what each variant cost."""
    lines = [line for line in facts["lines"] if line["model"] != "initialized"]
    own = [column for column in facts["columns"] if column["language"] is not None]
    against = f"Against {facts['first']}, paired on the same examples"
    found = [
        _lines("variants", "Scores of the variants", lines, facts["columns"]),
        *(_lines(f"probe-{table['language']}", f"Probe by category, {table['language']}", lines, table["columns"])
          for table in facts["categories"]),
        _differences("against-first", against, facts["differences"], own),
        _costs(facts["variants"]),
    ]  # fmt: skip
    return [table for table in found if table.rows]


def _lines(name: str, title: str, lines: Sequence[Mapping[str, Any]], columns: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for line in lines:
        scores = (line["scores"].get(column["key"]) for column in columns)
        cells = [
            Cell(s["value"], s["ci_low"], s["ci_high"], s.get("best", False)) if s else UNKNOWN for s in scores
        ]  # fmt: skip
        rows.append((*_named(line), *cells))
    return Table(name, title, (*_names(), *(_column(column) for column in columns)), tuple(rows))


def _differences(
    name: str, title: str, lines: Sequence[Mapping[str, Any]], columns: Sequence[Mapping[str, Any]]
) -> Table:
    rows = []
    for line in lines:
        scores = (line["scores"].get(column["key"]) for column in columns)
        cells = [
            Cell(s["difference"], s["difference_low"], s["difference_high"], verdict=s["verdict"]) if s else UNKNOWN
            for s in scores
        ]
        rows.append((*_named(line), *cells))
    return Table(name, title, (*_names(), *(_column(column, difference=True) for column in columns)), tuple(rows))


def _costs(variants: Sequence[Mapping[str, Any]]) -> Table:
    columns = (Column("variant", "variant"), *(Column(n, n.replace("_", " "), kind) for n, kind in _VARIANT_COLUMNS))
    rows = [(Cell(v["name"]), *(Cell(v[name]) for name, _ in _VARIANT_COLUMNS)) for v in variants]
    return Table("cost", "Vocabulary, speed, cost", columns, tuple(rows))


def _names() -> tuple[Column, Column]:
    return Column("variant", "variant"), Column("tokens", "tokens seen", "count")


def _named(line: Mapping[str, Any]) -> tuple[Cell, Cell]:
    return Cell(line_name(line)), Cell(line["tokens"])


def _column(column: Mapping[str, Any], *, difference: bool = False) -> Column:
    kind: Kind = "score" if column["metric"] == "accuracy" else "bits"
    if difference:
        kind = "points" if kind == "score" else "signed"
    name = column["key"].strip("/").replace("/", "_")
    return Column(name, column_name(column), kind, lower_is_better=column["lower"])

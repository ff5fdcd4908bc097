"""The checkpoints of one run on one self-contained page: the matrix of checkpoints and tasks, and curves over tokens.

In: rows of scores as `flows.checkpoints.score_rows` gives them. Out: `checkpoints.html` (nothing loaded from anywhere),
`checkpoints.csv` (every row), `checkpoints.json` (every table), and each table as `tables/<name>.csv`, `.json`, `.tex`.

    write_checkpoints("swallow-7b", rows, "runs/checkpoints/swallow-7b")
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from storage.uri import join, write_bytes
from tasks.report.benchmark_tables import average_table, score_tables
from tasks.report.comparison_charts import curve_charts
from tasks.report.measure_tables import measure_table
from tasks.report.page import render_page
from tasks.report.rows_csv import in_words, rows_csv
from tasks.report.score_curves import TRAINED, is_benchmark, score_curves
from tasks.report.tables import Column, Table, as_json, with_best, write_exports

PAGE = "checkpoints.html"

Rows = Sequence[Mapping[str, Any]]


def write_checkpoints(name: str, rows: Rows, out: str) -> list[str]:
    """Write the page and its exports below `out`; their relative paths."""
    tables = checkpoint_tables(rows)
    charts = curve_charts(score_curves(rows))
    facts = {"name": name, "num_checkpoints": len({row["step"] for row in rows if row["model"] == TRAINED})}
    page = render_page(PAGE, facts, tables=tables, charts=charts)
    data = json.dumps(facts | {"tables": [as_json(table) for table in tables]}, ensure_ascii=False, indent=1)
    written = {PAGE: page, "checkpoints.csv": rows_csv(rows, nested=in_words), "checkpoints.json": data + "\n"}
    for path, text in written.items():
        write_bytes(join(out, path), text.encode())
    return [*written, *write_exports(tables, out)]


def checkpoint_tables(rows: Rows) -> list[Table]:
    """A line per model before training and per checkpoint; the best of a column among base and checkpoints."""
    renamed = [
        {**row, "model": checkpoint_name(row), "headline": True, "ci_low": row["low"], "ci_high": row["high"]}
        for row in rows
    ]  # fmt: skip
    benchmarks = [row for row in renamed if is_benchmark(row)]
    found = [measure_table(renamed), average_table(benchmarks), *score_tables(benchmarks)]
    return [_of_checkpoints(table) for table in found if table]


def checkpoint_name(row: Mapping[str, Any]) -> str:
    """`base`, `step 1,000`."""
    return f"step {row['step']:,}" if row["model"] == TRAINED else str(row["model"])


def _of_checkpoints(table: Table) -> Table:
    """A table of models as one of checkpoints, whose best is marked; the initialised model is not compared."""
    columns = (Column("checkpoint", "checkpoint"), *table.columns[1:])
    compared = [number for number, row in enumerate(table.rows) if row[0].value != "initialized"]
    return with_best(replace(table, columns=columns), compared)

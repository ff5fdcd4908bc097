"""What `hibari evaluate compare` found, on one self-contained page and as CSV, JSON and LaTeX.

In: the facts of `flows.score_comparison.gather_comparison`: rows of every compared model beside its reference, what
could not be compared, scores over tokens, settings that differ. Out: `comparison.html`, `comparison.json` (every
figure), `comparison.csv` (every row), and each table as `tables/<name>.csv`, `.json`, `.tex`.

    write_score_comparison(facts, "out/comparison")
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from storage.uri import join, write_bytes
from tasks.report.comparison_benchmarks import compared_benchmarks, compared_measures
from tasks.report.comparison_charts import curve_charts
from tasks.report.comparison_markdown import setting
from tasks.report.evaluation_files import Row
from tasks.report.page import render_page
from tasks.report.rows_csv import in_words, rows_csv
from tasks.report.score_curves import score_curves
from tasks.report.tables import Table, as_json, as_markdown, from_json, write_exports

TEMPLATE = "score_comparison.html"
PAGE = "comparison.html"


def write_score_comparison(facts: Mapping[str, Any], out: str) -> list[str]:
    """Write the page and its exports below `out`; their relative paths."""
    tables = comparison_tables(facts)
    curves = curve_charts(curve for curve in score_curves(facts["scaling"]) if curve.num_points > 1)
    page = render_page(TEMPLATE, {**facts, "name": title(facts)}, {"setting": setting}, tables=tables, charts=curves)
    data = {**facts, "tables": [as_json(table) for table in tables]}
    text = json.dumps(data, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False) + "\n"
    written = {PAGE: page, "comparison.json": text, "comparison.csv": rows_csv(facts["rows"], nested=in_words)}
    for path, content in written.items():
        write_bytes(join(out, path), content.encode())
    return [*written, *write_exports(tables, out)]


def title(facts: Mapping[str, Any]) -> str:
    """What is compared with what."""
    others = list(dict.fromkeys(row["model"] for row in facts["rows"]))
    named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return f"{named or 'nothing'} against {facts['reference']}"


def comparison_tables(facts: Mapping[str, Any]) -> list[Table]:
    """Held-out text and probe, averages and scores of both sides, differences from the reference."""
    differences: Sequence[Row] = facts["rows"]
    rows = _both_sides(differences)
    found = compared_benchmarks(rows, differences, (), against=facts["reference"])
    measures = compared_measures(rows, differences, against=facts["reference"])
    return [*(from_json(table) for table in found["tables"]), *measures]


def markdown(facts: Mapping[str, Any]) -> str:
    """The tables for a terminal or a pull request."""
    parts = [f"# {title(facts)}"]
    parts += [f"## {table.title}\n\n{as_markdown(table)}\n{table.note}" for table in comparison_tables(facts)]
    parts += [f"- not compared: {row['model']}, {row['label']}: {row['why']}" for row in facts["refused"]]
    return "\n\n".join(parts) + "\n"


def _both_sides(differences: Sequence[Row]) -> list[Row]:
    """Every reference and every compared model as score rows, each measure of a model once."""
    found: dict[tuple[Any, ...], Row] = {}
    for side, value in (("reference", "reference_value"), ("model", "value")):
        for row in differences:
            key = tuple(row[name] for name in (side, "task", "profile", "metric", "language", "category"))
            bare = {name: kept for name, kept in row.items() if not name.startswith("difference")}
            found.setdefault(key, {**bare, "model": row[side], "value": row[value]})
    return list(found.values())

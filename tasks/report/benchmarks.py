"""Everything that a page shows of an evaluation's benchmarks, as JSON-like facts.

In: the files of an evaluation. Out: tables (averages, scores, differences, published ones beside them, what was asked,
clean and dirty, diagnostics), warnings in words, what is peculiar to each benchmark, and examples. None where no
benchmark was scored.

    facts = benchmark_facts(EvaluationFiles.read(uri))
    facts["tables"][0]["name"], facts["warnings"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tasks.report import benchmark_diagnostics as diagnostics
from tasks.report import benchmark_tables as tables
from tasks.report.benchmark_examples import example_facts
from tasks.report.evaluation_charts import averages_chart, beside_published
from tasks.report.evaluation_files import EvaluationFiles, Row, benchmark_rows
from tasks.report.published import load_published
from tasks.report.tables import Table, as_json, from_json

# Where on the page a table stands, by the beginning of its name.
_PLACES = (
    "averages", "categories", "scores-", "further-", "differences-", "published", "other-metrics", "tasks",
    "contamination", "diagnostics", "tokens", "times", "held-out",
)  # fmt: skip


def benchmark_facts(files: EvaluationFiles, *, published: bool = True) -> dict[str, Any] | None:
    """Tables, warnings, notes and examples; None where no benchmark was scored."""
    rows = benchmark_rows(files.scores)
    if not rows:
        return None
    keys = diagnostics.task_keys(rows)
    models = tables.models_of(rows)
    labels = {row["task"]: row.get("label") or row["task"] for row in rows}
    return {
        "models": models,
        "tables": [as_json(table) for table in _tables(files, rows, published) if table],
        "warnings": diagnostics.warnings_of(rows, files),
        "notes": diagnostics.benchmark_notes(rows, files),
        "examples": [{"label": labels[found["task"]], **found} for found in example_facts(files, keys, models)],
    }


def _tables(files: EvaluationFiles, rows: Sequence[Row], published: bool) -> list[Table | None]:
    return [
        tables.average_table(rows),
        tables.category_table(files.scores),
        *tables.score_tables(rows),
        *tables.difference_tables(rows),
        tables.published_table(rows, load_published()) if published else None,
        tables.other_metrics_table(rows),
        diagnostics.task_table(rows, files),
        diagnostics.subset_table(files),
        diagnostics.flag_table(files),
        diagnostics.token_table(rows, files),
        diagnostics.time_table(rows, files),
    ]


def shown_tables(facts: Mapping[str, Any] | None) -> dict[str, list[Table]]:
    """Place on the page -> its tables; every place is there."""
    found: dict[str, list[Table]] = {place.rstrip("-"): [] for place in _PLACES}
    for data in (facts or {}).get("tables", ()):
        place = next(place for place in _PLACES if data["name"].startswith(place))
        found[place.rstrip("-")].append(from_json(data))
    return found


def benchmark_charts(places: Mapping[str, Sequence[Table]]) -> dict[str, list[Markup]]:
    """The charts of `shown_tables`: averages with their intervals, and ours beside published scores."""
    return {
        "averages": [Markup(averages_chart(table)) for table in places["averages"]],
        "published": [Markup(beside_published(table)) for table in places["published"]],
    }

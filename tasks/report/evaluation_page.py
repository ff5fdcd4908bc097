"""One evaluation on one self-contained page, and its tables as CSV, JSON and LaTeX.

In: an evaluate artifact, or the folder that `hibari evaluate model` wrote. Out: `evaluation.html` (nothing loaded from
anywhere, no script), `scores.csv` (every score row), `scores.json` (every figure of the page but times), `scores.tex`
(the score tables), and each table as `tables/<name>.csv`, `.json`, `.tex`. The bytes are a function of the evaluation's
files.

    write_pages("runs/evaluate/demo-0123456789ab", "out/evaluation")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from storage.uri import join, write_bytes
from tasks.report.benchmarks import benchmark_charts, benchmark_facts, shown_tables
from tasks.report.evaluation_files import EvaluationFiles
from tasks.report.measure_tables import measure_table
from tasks.report.page import render_page
from tasks.report.rows_csv import rows_csv
from tasks.report.tables import as_json, as_latex, write_exports

PAGE = "evaluation.html"
# Columns of scores.csv: those first that say what a row is; what else rows have follows.
_FIRST = (
    "model", "task", "label", "profile", "language", "category", "kind", "metric", "unit", "headline", "subset", "n",
    "value", "ci_low", "ci_high", "difference", "difference_low", "difference_high", "relative",
)  # fmt: skip
_NAVIGATION = (
    ("averages", "Averages"),
    ("scores", "Scores"),
    ("differences", "Against the base"),
    ("published", "Beside published scores"),
    ("tasks", "What was asked"),
)
_IN_LATEX = ("averages", "scores", "further", "categories", "differences")


def write_pages(artifact: str, out: str, published: bool = True) -> list[str]:
    """Write the page and all exports below `out`.

    Args:
        artifact: folder or URI of an evaluation.
        published: set the authors' published scores beside ours, where a profile imitates their harness.

    Returns:
        The relative paths written.

    Raises:
        ValueError: nothing was scored there.
    """
    files = EvaluationFiles.read(artifact)
    facts = gather(files, published=published)
    places = shown_tables(facts)
    everything = [table for found in places.values() for table in found]
    latex = "\n".join(as_latex(table) for place in _IN_LATEX for table in places[place])
    # The same evaluation made again has the same scores, and took another time.
    timeless = {**facts, "tables": [table for table in facts["tables"] if table["name"] != "times"]}
    data = json.dumps(timeless, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False) + "\n"
    written = {PAGE: render(facts), "scores.csv": score_csv(files), "scores.json": data, "scores.tex": latex}
    for name, text in written.items():
        write_bytes(join(out, name), text.encode())
    return [*written, *write_exports(everything, out)]


def gather(files: EvaluationFiles, *, published: bool = True) -> dict[str, Any]:
    """Every figure of the page, as JSON-like values."""
    benchmarks = benchmark_facts(files, published=published) or {
        "models": [],
        "tables": [],
        "warnings": [],
        "notes": [],
        "examples": [],
    }
    measures = measure_table(files.scores)
    manifest = files.manifest
    return {
        "name": manifest.name if manifest else files.uri.rstrip("/").rpartition("/")[2],
        **benchmarks,
        "models": files.models,
        "tables": [*benchmarks["tables"], *([as_json(measures)] if measures else [])],
        "backends": sorted({row["backend"] for row in files.scores if row.get("backend")}),
        "device": manifest.details.get("device") if manifest else None,
        "seconds": manifest.seconds if manifest else None,
    }


def render(facts: Mapping[str, Any]) -> str:
    """The page of these figures."""
    places = shown_tables(facts)
    charts = benchmark_charts(places)
    return render_page(PAGE, facts, places=places, benchmarks=facts, benchmark_charts=charts, navigation=_NAVIGATION)


def score_csv(files: EvaluationFiles) -> str:
    """Every score row, those of subsets too, as they are in scores.jsonl; mappings as JSON."""
    return rows_csv([*files.scores, *files.subsets], first=_FIRST)

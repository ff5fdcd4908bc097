"""The comparison of a sweep: its variants on one page, in the form of the Swallow authors' ablation tables.

In: the artifacts of every variant, the scores of its earlier checkpoints, and differences between variants paired on
the same examples. Out: `comparison.html` (self-contained, like the report), `comparison.json` with every figure on
it, `comparison.md` with the tables, and each table as `tables/<name>.csv`, `.json`, `.tex`. Rows are the base model and
each variant at each scored step, columns are measures and task categories; the best of a column is marked. The bytes
are a function of the artifacts.

    build_comparison("tokenizer-ablation", [VariantRun("16k", ...), VariantRun("32k", ...)], out="runs/sweeps/x")
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from storage.uri import join, write_bytes
from tasks.report.artifacts import RunArtifacts
from tasks.report.comparison_benchmarks import benchmark_curves, benchmark_tables, sweep_benchmarks
from tasks.report.comparison_charts import measure_curve
from tasks.report.comparison_markdown import markdown, setting
from tasks.report.comparison_scores import category_columns, differences, main_columns, score_lines
from tasks.report.comparison_tables import comparison_tables
from tasks.report.comparison_variants import changed_fields, stage_matrix, totals, variant_facts
from tasks.report.formats import language
from tasks.report.page import render_page
from tasks.report.tables import write_exports

PAGE = "comparison.html"


@dataclass(frozen=True)
class VariantRun:
    """One variant of a sweep as the comparison reads it.

    Attributes:
        run: the resolved run file, as JSON-like values.
        artifacts: stage -> URI of its artifact, made or not.
        tokens_after: a step -> tokens trained on when it is done.
        checkpoints: step -> URI of the scores of an earlier checkpoint than the last.
        shared: stage -> the earlier variant that has the same artifact, None where it is this one's own.
        differences: step -> rows of `difference`, `difference_low`, `difference_high` against the first variant at the
            same number of tokens, by `task`, `metric`, `language`, `category`.
        failures: what kept the variant or one of its checkpoints from being scored.
    """

    name: str
    run: Mapping[str, Any]
    artifacts: Mapping[str, str]
    num_steps: int
    tokens_after: Callable[[int], int]
    checkpoints: Mapping[int, str] = field(default_factory=dict)
    shared: Mapping[str, str | None] = field(default_factory=dict)
    differences: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    failures: Sequence[str] = ()


def build_comparison(name: str, variants: Sequence[VariantRun], *, out: str) -> dict[str, Any]:
    """Write the files below `out`.

    Returns:
        Every figure of the page, as in comparison.json.

    Raises:
        ValueError: a manifest of another schema version.
    """
    facts = gather(name, variants)
    write_bytes(join(out, PAGE), render(facts).encode())
    write_bytes(join(out, "comparison.md"), markdown(facts).encode())
    data = json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    write_bytes(join(out, "comparison.json"), data.encode() + b"\n")
    write_exports([*comparison_tables(facts), *benchmark_tables(facts["benchmarks"])], out)
    return facts


def gather(name: str, variants: Sequence[VariantRun]) -> dict[str, Any]:
    """Every figure of the page, as JSON-like values."""
    made = {variant.name: RunArtifacts.read(variant.artifacts) for variant in variants}
    lines = score_lines(variants, made)
    rows = [variant_facts(variant, made[variant.name]) for variant in variants]
    stages = stage_matrix(variants, made)
    return {
        "name": name,
        "run": str(variants[0].run.get("name", "run")),
        "first": variants[0].name,
        "variants": rows,
        "failures": [{"variant": variant.name, "message": text} for variant in variants for text in variant.failures],
        "columns": main_columns(lines),
        "categories": category_columns(lines),
        "lines": lines,
        "differences": differences(variants, lines),
        "benchmarks": sweep_benchmarks(variants, made),
        "changed": changed_fields(variants),
        "stages": stages,
        "totals": totals(rows, stages),
    }


def render(facts: Mapping[str, Any]) -> str:
    """The page of these figures."""
    charts = [*(Markup(svg) for svg in curves(facts)), *benchmark_curves(facts["benchmarks"])]
    tables = benchmark_tables(facts["benchmarks"])
    return render_page(PAGE, facts, {"setting": setting}, charts=charts, benchmark_tables=tables)


def curves(facts: Mapping[str, Any]) -> list[str]:
    """A chart for each measure that more than the base has."""
    drawn = []
    for column in facts["columns"]:
        if column["language"] is None:
            continue
        base = None
        points: dict[str, list[tuple[int, float]]] = {variant["name"]: [] for variant in facts["variants"]}
        for line in facts["lines"]:
            score = line["scores"].get(column["key"])
            if score is None:
                continue
            if line["model"] == "base":
                base = score["value"] * column["scale"] if base is None else base
            else:
                points[line["variant"]].append((line["tokens"], score["value"] * column["scale"]))
        if points := {variant: found for variant, found in points.items() if found}:
            title = f"{language(column['language'])}, {column['label']}{' in %' if column['scale'] == 100 else ''}"
            drawn.append(measure_curve(title, base, points))
    return drawn

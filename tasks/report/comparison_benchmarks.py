"""The benchmarks of several runs side by side: tables, paired differences, curves over tokens.

In: score rows of every compared model, and difference rows between them (`difference`, its interval, `p_holm`), each
with the name of its `model`; rows over tokens with `source` and `tokens`. Out: JSON-like facts with tables and curves.

    facts = compared_benchmarks(rows, differences, scaling, against="16k")
    facts["tables"][0]["name"], facts["curves"][0]["title"]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from tasks.report.artifacts import RunArtifacts
from tasks.report.benchmark_tables import (
    average_table,
    category_table,
    difference_tables,
    score_tables,
)
from tasks.report.comparison_charts import curve_charts
from tasks.report.evaluation_files import Row, benchmark_rows
from tasks.report.measure_tables import measure_difference_table, measure_table
from tasks.report.score_curves import TRAINED, Curve, is_benchmark, score_curves
from tasks.report.tables import Table, as_json, from_json

if TYPE_CHECKING:
    from tasks.report.comparison import VariantRun


def compared_benchmarks(
    rows: Sequence[Row], differences: Sequence[Row], scaling: Sequence[Row], *, against: str
) -> dict[str, Any]:
    """Tables and curves of what was compared; both empty where no benchmark was scored.

    Args:
        against: the model that the differences are from.
    """
    own = benchmark_rows(rows)
    tables = [
        average_table(own),
        *score_tables(own),
        category_table(rows),
        *difference_tables(benchmark_rows(differences), against=against),
    ]
    curves = score_curves([row for row in scaling if is_benchmark(row)])
    return {"tables": [as_json(table) for table in tables if table], "curves": [asdict(curve) for curve in curves]}


def compared_measures(rows: Sequence[Row], differences: Sequence[Row], *, against: str) -> list[Table]:
    """The same tables of held-out text and the probe."""
    found = [measure_table(rows), measure_difference_table(differences, against=against)]
    return [table for table in found if table]


def sweep_benchmarks(variants: Sequence[VariantRun], made: Mapping[str, RunArtifacts]) -> dict[str, Any]:
    """`compared_benchmarks` of a sweep's variants: the base, each variant at each scored step, against the first."""
    bases: list[Row] = []
    trained: list[Row] = []
    differences: list[Row] = []
    for variant in variants:
        for step, row in _score_rows(variant, made[variant.name]):
            if row["model"] == TRAINED:
                tokens = variant.tokens_after(step)
                trained.append({**row, "model": _name(variant, step), "source": variant.name, "tokens": tokens})
            elif row["model"] == "base" and not any(_same(other, row) for other in bases):
                bases.append({**row, "tokens": 0})
        for step, found in variant.differences.items():
            differences += [{**row, "model": _name(variant, step)} for row in found if is_benchmark(row)]
    scaling = [*bases, *({**row, "model": TRAINED} for row in trained)]
    return compared_benchmarks([*bases, *trained], differences, scaling, against=variants[0].name)


def benchmark_tables(facts: Mapping[str, Any]) -> list[Table]:
    """The tables of such facts."""
    return [from_json(table) for table in facts["tables"]]


def benchmark_curves(facts: Mapping[str, Any]) -> list[Markup]:
    """The charts of such facts."""
    return curve_charts(Curve(**curve) for curve in facts["curves"])


def _score_rows(variant: VariantRun, made: RunArtifacts) -> Iterator[tuple[int, Row]]:
    """(step, headline row) of a variant's checkpoints in order, its own last evaluation behind them."""
    for step, uri in sorted(variant.checkpoints.items()):
        earlier = RunArtifacts.read({"evaluate": uri}).json_lines("evaluate", "scores.jsonl")
        yield from ((step, row) for row in benchmark_rows(earlier) if row["headline"])
    last = made.json_lines("evaluate", "scores.jsonl")
    yield from ((variant.num_steps, row) for row in benchmark_rows(last) if row["headline"])


def _name(variant: VariantRun, step: int) -> str:
    return variant.name if step == variant.num_steps else f"{variant.name}, step {step:,}"


def _same(one: Row, other: Row) -> bool:
    """Whether two rows are of the same measure."""
    names = ("task", "profile", "metric", "language")
    return all(one[name] == other[name] for name in names)

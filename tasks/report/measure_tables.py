"""Bits per byte of held-out text and the probe's right answers as tables: models as rows, languages as columns.

measure_table(files.scores).rows
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.report import formats
from tasks.report.benchmark_tables import LANGUAGES, difference_cell, score_cell
from tasks.report.evaluation_files import Row, measure_rows
from tasks.report.tables import Cell, Column, Kind, Table, with_best

_MEASURES: Mapping[str, tuple[str, Kind]] = {"bits_per_byte": ("bits per byte", "bits"), "accuracy": ("probe", "score")}


def measure_table(rows: Sequence[Row]) -> Table | None:
    """Bits per byte of held-out text and the probe's right answers, over whole languages."""
    found, keys = _measures([row for row in rows if row["value"] is not None])
    if not found:
        return None
    columns = [
        Column(f"{metric}_{code}", formats.language(code), kind, label, lower_is_better=metric == "bits_per_byte")
        for metric, code in keys
        for label, kind in [_MEASURES[metric]]
    ]
    models = list(dict.fromkeys(model for model, _, _ in found))
    lines = tuple((Cell(model), *(score_cell(found.get((model, *key))) for key in keys)) for model in models)
    note = "Bits per byte of held-out text: lower is better. Probe: right answers in percent."
    table = Table("held-out", "Held-out text and probe", (Column("model", "model"), *columns), lines, note)
    return with_best(table)


def measure_difference_table(rows: Sequence[Row], *, against: str) -> Table | None:
    """The same minus the model `against`: bits per byte as they are, right answers in points."""
    found, keys = _measures([row for row in rows if row.get("difference") is not None])
    if not found:
        return None
    columns = [
        Column(f"{metric}_{code}", formats.language(code), "signed" if kind == "bits" else "points", label)
        for metric, code in keys
        for label, kind in [_MEASURES[metric]]
    ]
    models = list(dict.fromkeys(model for model, _, _ in found))
    lower = {"bits_per_byte": True}
    lines = tuple(
        (Cell(m), *(difference_cell(_oriented(found.get((m, *key)), lower.get(key[0], False))) for key in keys))
        for m in models
    )
    note = "Paired on the same documents and questions, with intervals. Fewer bits per byte are better."
    title = f"Held-out text and probe against {against}"
    return Table("differences-held-out", title, (Column("model", "model"), *columns), lines, note)


def _measures(rows: Sequence[Row]) -> tuple[dict[tuple[str, str, str], Row], list[tuple[str, str]]]:
    """(model, metric, language) -> its row, and (metric, language) in order."""
    own = [row for row in measure_rows(rows) if row["metric"] in _MEASURES and row.get("category") is None]
    found = {(row["model"], row["metric"], row["language"]): row for row in own}
    there = {key[1:] for key in found}
    return found, [(metric, code) for metric in _MEASURES for code in LANGUAGES if (metric, code) in there]


def _oriented(row: Row | None, lower_is_better: bool) -> Row | None:
    return None if row is None else {**row, "lower_is_better": lower_is_better}

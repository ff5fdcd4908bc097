"""Scores over tokens: which curves there are and in which order, where published points fit, the checkpoints' page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.checkpoints import by_checkpoint, score_table
from tasks.report.checkpoints_page import checkpoint_tables, write_checkpoints
from tasks.report.comparison_charts import draw_checkpoints
from tasks.report.score_curves import score_curves
from tests.tasks.report.made_up_benchmarks import score_rows
from tests.tasks.report.test_report import Page

TASKS = ("jsquad", "jnli", "gsm8k")
KEPT = ("model", "task", "metric", "language", "value", "profile", "kind", "label", "unit", "n", "tasks", "missing")


def checkpoint_rows(tokens_per_step: int, profiles: tuple[str, ...] = ("strict",)) -> list[dict[str, Any]]:
    """As `flows.checkpoints.score_rows` gives them: the base at 0, a checkpoint at steps 2 and 4."""
    rows = []
    bits = {"task": "bits_per_byte", "metric": "bits_per_byte", "language": "ja", "kind": "bits", "profile": "strict"}
    for step, model, value in ((0, "base", 1.7), (0, "initialized", 1.9), (2, "trained", 1.5), (4, "trained", 1.4)):
        at = {"step": step, "tokens": step * tokens_per_step, "model": model, "value": value}
        rows.append({**dict.fromkeys(KEPT), **at, **bits, "unit": "bits/byte", "low": value - 0.1, "high": value + 0.1})
    for number, step in enumerate((0, 2, 4)):
        for row in score_rows(("base", "trained"), profiles, TASKS, shift=0.02 * number - 0.04):
            if row["headline"] and row["subset"] == "all" and (row["model"] == "base") == (step == 0):
                at = {"step": step, "tokens": step * tokens_per_step, "low": row["ci_low"], "high": row["ci_high"]}
                rows.append(at | {name: row.get(name) for name in KEPT})
    return rows


def test_averages_come_first_then_held_out_text_then_tasks() -> None:
    titles = [curve.title for curve in score_curves(checkpoint_rows(1_000))]
    assert titles == [
        "Japanese average, %",
        "English average, %",
        "Japanese, bits per byte",
        "JSQuAD, %",
        "JNLI, %",
        "GSM8K, %",
    ]


def test_a_curve_is_the_base_across_and_the_checkpoints_by_tokens() -> None:
    curves = {curve.title: curve for curve in score_curves(checkpoint_rows(1_000))}
    jsquad = curves["JSQuAD, %"]
    assert jsquad.base == pytest.approx(79.17)
    assert [(at, round(value, 2)) for at, value in jsquad.lines["trained"]] == [(2_000, 83.73), (4_000, 85.73)]
    assert curves["Japanese, bits per byte"].lines["trained"] == [(0, 1.9), (2_000, 1.5), (4_000, 1.4)]


def test_two_profiles_are_two_curves() -> None:
    titles = [curve.title for curve in score_curves(checkpoint_rows(1_000, ("strict", "swallow-2023")))]
    assert {"JSQuAD (strict), %", "JSQuAD (swallow-2023), %"} <= set(titles)


def test_published_points_only_at_the_authors_scale_and_in_their_profile() -> None:
    profiles = ("strict", "swallow-2023")
    small, large = (score_curves(checkpoint_rows(step, profiles)) for step in (1_000, 25_000_000_000))
    assert all(not curve.published for curve in small)
    found = {curve.title: curve.published for curve in large}
    average = found["Japanese average (swallow-2023), %"]
    assert average["Llama-2-7b"] == [(0, pytest.approx(32.01))]
    assert average["Swallow-7b"] == [(100_000_000_000, pytest.approx(39.40))]
    assert found["JSQuAD (swallow-2023), %"]["Swallow-7b"][0][1] == pytest.approx(85.73)
    assert found["Japanese average (strict), %"] == found["JNLI (swallow-2023), %"] == {}


def test_several_runs_are_a_line_each() -> None:
    rows = [{**row, "source": name} for name in ("a", "b") for row in checkpoint_rows(1_000)]
    (jsquad,) = [curve for curve in score_curves(rows) if curve.title == "JSQuAD, %"]
    assert list(jsquad.lines) == ["a", "b"]


def test_the_picture_holds_any_number_of_measures() -> None:
    many = draw_checkpoints(checkpoint_rows(25_000_000_000, ("strict", "swallow-2023")), 100_000_000_000)
    few = draw_checkpoints(checkpoint_rows(1_000), 4_000)
    assert many.startswith(b"\x89PNG")
    assert many != few
    assert draw_checkpoints(checkpoint_rows(1_000), 4_000) == few


def test_the_matrix_of_checkpoints_and_tasks() -> None:
    tables = {table.name: table for table in checkpoint_tables(checkpoint_rows(1_000))}
    assert list(tables) == ["held-out", "averages", "scores-strict-ja", "further-strict-ja", "scores-strict-en"]
    matrix = tables["scores-strict-ja"]
    assert [row[0].value for row in matrix.rows] == ["base", "step 2", "step 4"]
    assert [row[1].best for row in matrix.rows] == [False, False, True]
    held_out = tables["held-out"]
    assert [row[0].value for row in held_out.rows] == ["base", "initialized", "step 2", "step 4"]
    assert [row[1].best for row in held_out.rows] == [False, False, False, True], "the fewest bits are best"


def test_the_page_of_the_checkpoints(tmp_path: Path) -> None:
    written = write_checkpoints("swallow <mini>", checkpoint_rows(1_000), str(tmp_path / "a"))
    page = Page((tmp_path / "a" / "checkpoints.html").read_text())
    assert "swallow <mini>" in page.text
    assert "step 4" in page.text
    assert page.html.count("<svg") == 6
    assert "script" not in page.tags
    assert "tables/scores-strict-ja.tex" in written
    json.loads((tmp_path / "a" / "checkpoints.json").read_text())
    write_checkpoints("swallow <mini>", checkpoint_rows(1_000), str(tmp_path / "b"))
    assert all((tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes() for path in written)


def test_the_tables_of_the_terminal() -> None:
    rows = checkpoint_rows(1_000)
    last = by_checkpoint(rows)[-1]
    assert last["checkpoint"] == "step 4"
    assert last["JSQuAD strict"] == "0.857 [0.827, 0.887]"
    assert last["ja average strict"].startswith("0.857 ")
    tables = score_table(rows, "mini").renderables
    assert [table.title for table in tables] == ["mini", "Japanese, profile strict, %", "English, profile strict, %"]
    held_out = [row for row in rows if row["kind"] == "bits"]
    assert [len(score_table(found, "mini").renderables) for found in ([], held_out)] == [1, 1]

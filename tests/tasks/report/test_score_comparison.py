"""`hibari evaluate compare` as its reader meets it: both sides, what differs, what could not be compared."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tasks.report.score_comparison import comparison_tables, markdown, write_score_comparison
from tests.tasks.report.test_report import Page


def row(model: str, name: str, reference: float, value: float, p: float, **more: Any) -> dict[str, Any]:
    difference = value - reference
    found: dict[str, Any] = {"reference": "first", "model": model, "step": 4, "tokens": 4_000, "task": name,
        "profile": "strict", "label": name.upper(), "kind": "RC", "metric": "character_f1", "unit": "share",
        "lower_is_better": False, "headline": True, "language": "ja", "category": None, "n": 50,
        "reference_value": reference, "value": value, "difference": difference, "difference_low": difference - 0.02,
        "difference_high": difference + 0.02, "p_holm": p}  # fmt: skip
    return found | more


BITS = {
    "task": "bits_per_byte",
    "metric": "bits_per_byte",
    "kind": "bits",
    "unit": "bits/byte",
    "lower_is_better": True,
}
AVERAGE = {
    "task": "average",
    "metric": "average",
    "kind": "average",
    "tasks": ["jsquad", "niilc"],
    "missing": [],
    "n": 2,
}


@pytest.fixture
def facts() -> dict[str, Any]:
    rows = [
        row("second", "jsquad", 0.79, 0.86, 0.001),
        row("second", "niilc", 0.34, 0.33, 0.6),
        row("second", "average", 0.565, 0.595, 0.2, **AVERAGE),
        row("second", "average", 0.34, 0.33, 0.6, **AVERAGE, category="QA"),
        row("second", "bits", 1.7, 1.4, 0.001, **BITS),
        row("third", "jsquad", 0.79, 0.75, 0.02),
    ]
    scaling = [
        {**rows[0], "source": source, "model": "trained", "tokens": tokens, "value": 0.7 + tokens / 1e5}
        for source in ("first", "second")
        for tokens in (1_000, 2_000)
    ]
    return {
        "reference": "first",
        "models": [],
        "rows": rows,
        "refused": [{"reference": "first", "model": "third", "task": "niilc", "profile": "strict", "label": "NIILC",
                     "why": "3 of 50 prompts differ: <other> shots"}],
        "scaling": scaling,
        "changed": [{"field": "expand.num_candidates", "values": {"first": 16000, "second": None}}],
        "confidence": 0.95,
        "resamples": 1000,
    }  # fmt: skip


def test_both_sides_and_the_difference(facts: dict[str, Any]) -> None:
    tables = {table.name: table for table in comparison_tables(facts)}
    scores = tables["scores-strict-ja"]
    assert [[cell.value for cell in line] for line in scores.rows] == [
        ["first", 0.79, 0.34, 0.565],
        ["second", 0.86, 0.33, 0.595],
        ["third", 0.75, None, None],
    ]
    assert [[cell.value for cell in line][3:] for line in tables["categories"].rows] == [[0.34], [0.33]]
    differences = tables["differences-strict-ja"]
    assert differences.title == "Japanese against first, profile strict"
    assert [(cell.mark, cell.verdict) for cell in differences.rows[0][1:3]] == [("*", "better"), ("", "")]
    (bits,) = (line[1] for line in tables["differences-held-out"].rows)
    assert bits.value == pytest.approx(-0.3)
    assert bits.verdict == "better", "fewer bits are better"


def test_the_page_says_what_could_not_be_compared(facts: dict[str, Any], tmp_path: Path) -> None:
    written = write_score_comparison(facts, str(tmp_path))
    page = Page((tmp_path / "comparison.html").read_text())
    for text in ("second, third against first", "3 of 50 prompts differ: <other> shots", "expand.num_candidates",
                 "16,000", "+7.0*", "JSQUAD"):  # fmt: skip
        assert text in page.text, text
    assert page.html.count("<svg") == 1, "one point is no curve"
    assert not page.tags & {"script", "link", "img"}
    assert {"comparison.csv", "comparison.json", "tables/scores-strict-ja.tex"} <= set(written)


def test_every_row_is_in_the_csv(facts: dict[str, Any], tmp_path: Path) -> None:
    write_score_comparison(facts, str(tmp_path))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "comparison.csv").read_text())))
    assert [found["task"] for found in rows] == ["jsquad", "niilc", "average", "average", "bits_per_byte", "jsquad"]
    assert rows[2]["tasks"] == "jsquad niilc"
    data = json.loads((tmp_path / "comparison.json").read_text())
    assert data["rows"][0]["p_holm"] == 0.001


def test_the_same_facts_give_the_same_bytes(facts: dict[str, Any], tmp_path: Path) -> None:
    for name in ("a", "b"):
        written = write_score_comparison(facts, str(tmp_path / name))
    assert all((tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes() for path in written)


def test_as_markdown(facts: dict[str, Any]) -> None:
    text = markdown(facts)
    assert "# second, third against first" in text
    assert "| second | **86.0** | 33.0 | **59.5** |" in text
    assert "- not compared: third, NIILC: 3 of 50 prompts differ" in text


def test_nothing_comparable_is_said(facts: dict[str, Any], tmp_path: Path) -> None:
    write_score_comparison(facts | {"rows": [], "scaling": []}, str(tmp_path))
    assert "Nothing could be compared" in (tmp_path / "comparison.html").read_text()

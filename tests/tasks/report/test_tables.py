"""A table in its four forms: the same figures, nothing that its reader takes for markup."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.report.tables import (
    Cell,
    Column,
    Table,
    as_csv,
    as_json,
    as_latex,
    as_markdown,
    from_json,
    interval,
    latex,
    shown,
    with_best,
    write_exports,
)

TABLE = Table(
    "scores",
    "Japanese, 100 % of it",
    (
        Column("model", "model"),
        Column("jsquad", "JSQuAD", "score", "RC"),
        Column("niilc", "NIILC", "score", "QA", "character F1"),
        Column("jemhopqa", "JEMHopQA", "score", "QA"),
        Column("bits", "bits", "bits", lower_is_better=True),
    ),
    (
        (Cell("base"), Cell(0.7917, 0.78, 0.81), Cell(0.341), Cell(0.5), Cell(1.7)),
        (Cell("my_model 50% & <i>"), Cell(0.8573, 0.84, 0.87), Cell(0.341), Cell(None), Cell(1.4)),
    ),
    "In percent.",
)


def test_the_best_of_each_column_whichever_way_it_runs() -> None:
    best = [[cell.best for cell in row] for row in with_best(TABLE).rows]
    assert best[0] == [False, False, False, False, False], "a tie of all, and a lone value, are no best"
    assert best[1] == [False, True, False, False, True]
    assert not any(cell.best for row in with_best(TABLE, [0]).rows for cell in row)


def test_groups_span_their_columns() -> None:
    assert TABLE.groups == [("", 1), ("RC", 1), ("QA", 2), ("", 1)]
    assert Table("x", "x", (Column("a", "a"),), ()).groups == []


def test_csv_is_unrounded_with_the_ends_of_intervals() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(TABLE))))
    assert list(rows[0]) == ["model", "jsquad", "jsquad_low", "jsquad_high", "niilc", "jemhopqa", "bits"]
    assert (rows[1]["model"], rows[1]["jsquad"], rows[1]["jsquad_low"]) == ("my_model 50% & <i>", "0.8573", "0.84")
    assert rows[1]["jemhopqa"] == "", "unknown is empty, not zero"


def test_json_and_back() -> None:
    table = with_best(TABLE)
    data = json.loads(json.dumps(as_json(table)))
    assert data["rows"][1]["jsquad"] == {"value": 0.8573, "low": 0.84, "high": 0.87, "best": True}
    assert from_json(data) == table


def test_latex_of_booktabs_with_the_best_bold_and_intervals_small() -> None:
    text = as_latex(with_best(TABLE))
    assert r"\begin{tabular}{lrrrr}" in text
    assert r" & \multicolumn{1}{c}{RC} & \multicolumn{2}{c}{QA} &  \\" in text
    assert r"\cmidrule(lr){2-2}\cmidrule(lr){3-4}" in text
    assert r"my\_model 50\% \& \textless{}i\textgreater{} & \textbf{85.7} {\scriptsize (84.0--87.0)}" in text
    assert r"34.1 & -- & \textbf{1.400} \\" in text
    assert text.count(r"\\") == 4, "groups, header, two rows"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b#c%", r"a\_b\#c\%"),
        ("{x}$~^\\", r"\{x\}\$\textasciitilde{}\textasciicircum{}\textbackslash{}"),
        ("\u22120.8\u00a0pp", "$-$0.8~pp"),
        ("雲雀\x00\n\ud800", "雲雀 "),
        ("+1.0*", "+1.0$^{*}$"),
    ],
)
def test_what_latex_would_take_for_its_own(text: str, escaped: str) -> None:
    assert latex(text) == escaped


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
def test_latex_runs(tmp_path: Path) -> None:
    body = as_latex(with_best(TABLE))
    source = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "x.tex").write_text(source)
    subprocess.run(["pdflatex", "-interaction=batchmode", "-halt-on-error", "x.tex"], cwd=tmp_path, check=True)


def test_markdown_keeps_its_columns() -> None:
    table = Table("x", "x", TABLE.columns[:2], ((Cell("a|b\nc"), Cell(0.5, best=True)),))
    assert as_markdown(table).splitlines()[-1] == "| a\\|b c | **50.0** |"


def test_cells_as_people_read_them() -> None:
    points = Column("x", "x", "points")
    assert shown(Cell(-0.143, mark="*"), points) == "\u221214.3*"
    assert interval(Cell(-0.1, -0.18, 0.02), points) == "\u221218.0 to +2.0"
    assert shown(Cell(None), points) == "–"
    assert shown(Cell(1119), Column("n", "n", "count")) == "1,119"


def test_a_label_that_stands_twice_names_its_group() -> None:
    columns = (Column("model", "model"), Column("a", "items", "count", "clean"), Column("b", "items", "count", "dirty"))
    table = Table("x", "x", columns, ())
    assert [table.full_label(column) for column in columns] == ["model", "clean, items", "dirty, items"]


def test_exports_are_the_same_bytes_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        paths = write_exports([TABLE], str(tmp_path / name))
    assert paths == ["tables/scores.csv", "tables/scores.json", "tables/scores.tex"]
    for path in paths:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()

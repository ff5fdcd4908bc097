"""An evaluation's page and exports as their readers meet them: right figures, harmless, the same bytes again."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.report.benchmark_diagnostics import warnings_of
from tasks.report.benchmark_tables import average_headlines, average_table, difference_tables, score_tables
from tasks.report.benchmarks import benchmark_facts, shown_tables
from tasks.report.evaluation_files import EvaluationFiles, benchmark_rows
from tasks.report.evaluation_page import write_pages
from tasks.report.tables import Table, shown
from tests.tasks.report.made_up_benchmarks import HOSTILE, write_evaluation, write_rows
from tests.tasks.report.test_report import Page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_evaluation(tmp_path_factory.mktemp("evaluation"))


@pytest.fixture(scope="module")
def files(folder: Path) -> EvaluationFiles:
    return EvaluationFiles.read(str(folder))


@pytest.fixture(scope="module")
def out(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    write_pages(str(folder), str(out))
    return out


@pytest.fixture(scope="module")
def page(out: Path) -> Page:
    return Page((out / "evaluation.html").read_text())


def by_name(tables: list[Table]) -> dict[str, Table]:
    return {table.name: table for table in tables}


def column(table: Table, name: str) -> list[Any]:
    at = [found.name for found in table.columns].index(name)
    return [row[at].value for row in table.rows]


def test_tables_are_in_the_authors_form(files: EvaluationFiles) -> None:
    """Categories above tasks, models as rows, the average last; what does not count in a table of its own."""
    tables = by_name(score_tables(benchmark_rows(files.scores)))
    japanese = tables["scores-strict-ja"]
    groups = [("", 1), ("MC", 1), ("QA", 2), ("RC", 1), ("SUM", 1), ("MATH", 1), ("MT", 2), ("", 1)]
    assert japanese.groups == groups
    assert japanese.columns[-1].name == "average"
    assert column(japanese, "jsquad") == [0.7917, 0.8573]
    assert column(tables["scores-swallow-2023-ja"], "jsquad") == [0.8117, 0.8773]
    assert [found.name for found in tables["further-strict-ja"].columns] == ["model", "jnli"]
    assert "jnli" not in {found.name for found in japanese.columns}


def test_averages_say_over_how_many_tasks(files: EvaluationFiles) -> None:
    table = average_table(benchmark_rows(files.scores))
    assert table is not None
    assert [found.note for found in table.columns[1:3]] == ["8 tasks", "3 of 6 tasks"]
    assert column(table, "strict_ja") == pytest.approx([0.320063, 0.393975], abs=1e-6)


def test_differences_mark_what_survives_holm(files: EvaluationFiles) -> None:
    table = by_name(difference_tables(benchmark_rows(files.scores)))["differences-strict-ja"]
    (row,) = table.rows
    cells = dict(zip((found.name for found in table.columns), row, strict=True))
    assert (cells["niilc"].mark, cells["niilc"].verdict) == ("*", "better")
    assert (cells["mgsm_ja"].mark, cells["mgsm_ja"].verdict) == ("", "better"), "the interval alone is not corrected"
    assert (cells["xlsum_ja"].mark, cells["xlsum_ja"].verdict) == ("", "")
    assert (cells["jnli"].mark, cells["jnli"].verdict) == ("*", "worse")
    assert [found.name for found in table.columns][-2:] == ["average", "jnli"]


def test_subsets_never_pass_for_the_whole(files: EvaluationFiles) -> None:
    facts = benchmark_facts(files)
    (table,) = shown_tables(facts)["contamination"]
    assert column(table, "clean_items") == [230] * 4
    assert column(table, "dirty")[0] == pytest.approx(0.8917)
    assert all(row.get("subset") == "all" for row in files.scores)


def test_published_scores_stand_beside_the_same_task_of_the_profile_that_imitates(files: EvaluationFiles) -> None:
    (table,) = shown_tables(benchmark_facts(files))["published"]
    tasks = column(table, "task")
    assert "JNLI" not in tasks, "nobody published it"
    assert column(table, "published_Llama-2-7b")[tasks.index("JSQuAD")] == 0.7917
    assert column(table, "base")[tasks.index("JSQuAD")] == 0.8117, "of profile swallow-2023"
    assert shown_tables(benchmark_facts(files, published=False))["published"] == []


def test_no_published_scores_beside_the_strict_profile(tmp_path: Path) -> None:
    files = EvaluationFiles.read(str(write_evaluation(tmp_path, profiles=("strict",))))
    assert shown_tables(benchmark_facts(files))["published"] == []


def test_warnings_in_words(files: EvaluationFiles) -> None:
    found = warnings_of(benchmark_rows(files.scores), files)
    assert (
        "JNLI: 97 % of the predictions are neutral, the right answer of 29 % (trained, strict; trained, swallow-2023)."
        in found
    )
    assert "NIILC: 1 line of the file left out as malformed." in found
    assert "Not all items were asked, but some drawn by the hash of their ids: JCommonsenseQA 250 of 1,119." in found
    assert any("over 3 of the authors' 6 tasks" in text and "HellaSwag, SQuAD2, XWINO" in text for text in found)


def test_a_stand_in_is_none_of_the_authors_tasks(files: EvaluationFiles) -> None:
    """Seven tasks, two of them WMT21's, where the authors have eight: five of theirs."""
    stand_ins = {"wmt20_en_ja": "wmt21_en_ja", "wmt20_ja_en": "wmt21_ja_en"}
    rows = [
        row | {"n": 7, "missing": ["xlsum_ja", *stand_ins], "stand_ins": stand_ins}
        if row["kind"] == "average" and row["language"] == "ja"
        else row
        for row in benchmark_rows(files.scores)
    ]
    table = average_table(rows)
    assert table is not None
    assert table.columns[1].note == "5 of 8 tasks, 2 others"
    expected = (
        "The Japanese average (strict) is over 5 of the authors' 8 tasks, and not to be set beside theirs: without "
        "XL-Sum, WMT20 En-Ja (wmt21_en_ja in its place), WMT20 Ja-En (wmt21_ja_en in its place)."
    )
    assert expected in warnings_of(rows, files)


def test_what_was_asked_says_how_many_lines_and_items_were_not(files: EvaluationFiles) -> None:
    (table,) = shown_tables(benchmark_facts(files))["tasks"]
    pairs = zip(column(table, "malformed"), column(table, "left_out"), strict=True)
    told = dict(zip(column(table, "task"), pairs, strict=True))
    assert (told["NIILC"], told["JSQuAD"]) == ((1, 2), (0, 0))


def test_times_are_those_that_the_stage_kept(files: EvaluationFiles, folder: Path, tmp_path: Path) -> None:
    (table,) = shown_tables(benchmark_facts(files))["times"]
    assert (column(table, "items")[:3], column(table, "base")[:3]) == ([250] * 3, [75.0] * 3)
    drawn = {row[0].value: [shown(*pair) for pair in zip(row, table.columns, strict=True)][3:] for row in table.rows}
    assert drawn["JSQuAD"] == ["1\u00a0min\u00a015\u00a0s", "8.2\u00a0s"]
    assert drawn["NIILC"] == ["1\u00a0min\u00a015\u00a0s*", "8.2\u00a0s*"], "of the last process alone"
    bare = write_evaluation(tmp_path, profiles=("strict",), tasks=("jsquad",))
    shutil.rmtree(bare / "_shards")
    assert shown_tables(benchmark_facts(EvaluationFiles.read(str(bare))))["times"] == []


def test_scores_are_the_same_bytes_however_long_they_took(tmp_path: Path) -> None:
    written = {}
    for seconds in (1.0, 2.0):
        bare = write_evaluation(tmp_path / "evaluation", profiles=("strict",), tasks=("jsquad",))
        for record in (bare / "_shards").iterdir():
            record.write_text(json.dumps({"details": {"seconds": seconds}}))
        out = tmp_path / str(seconds)
        written[seconds] = {path: (out / path).read_bytes() for path in write_pages(str(bare), str(out))}
    first, second = written.values()
    times = {"evaluation.html", "tables/times.csv", "tables/times.json", "tables/times.tex"}
    assert {path for path in first if first[path] != second[path]} == times


def test_what_was_skipped_is_told(tmp_path: Path) -> None:
    bare = write_evaluation(tmp_path, profiles=("strict",), tasks=("jsquad",))
    (bare / "not_scored.json").write_text(
        json.dumps([{"task": "marc_ja", "profile": "swallow-2023", "label": "MARC-ja (swallow-2023)"}])
    )
    write_pages(str(bare), str(tmp_path / "out"))
    said = "Not scored, for want of a prompt or shot file: MARC-ja (swallow-2023)."
    assert said in Page((tmp_path / "out" / "evaluation.html").read_text()).text


def test_the_averages_in_a_sentence(files: EvaluationFiles) -> None:
    first = average_headlines(files.scores)[0].replace("\u00a0", " ")
    assert first == "Japanese average (strict): 32.0 → 39.4 %, +7.4 points against the base (+6.4 to +8.4 points)."


def test_the_page_shows_all_of_it(page: Page) -> None:
    for text in ("Japanese, profile strict", "Clean and dirty items", "Beside published scores", "97 % of the", "48.1",
                 "+25.6*", "What was asked", "character F1", "version 2", "line 7: no answer", "札幌市",
                 "characters left out"):  # fmt: skip
        assert text in page.text, text
    assert page.html.count("<svg") == 2


def test_the_page_loads_nothing_and_runs_nothing(page: Page) -> None:
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed"}
    assert {reference[:1] for reference in page.references} == {"#"}
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_what_models_write_is_text(page: Page) -> None:
    assert "<script>alert" in page.text
    assert "<script>alert" not in page.html
    assert "<cut>" in page.text, "quirks are text too"
    assert "\x00" not in page.html
    assert "\u202e" not in page.html, "no mark that turns what follows it"
    assert "⟨U+202E⟩" in page.text
    assert HOSTILE not in page.html


def test_every_table_is_exported(out: Path) -> None:
    names = {path.stem for path in (out / "tables").iterdir()}
    assert {"averages", "scores-strict-ja", "differences-swallow-2023-en", "published", "tasks", "tokens"} <= names
    assert all(
        (out / "tables" / f"{name}.{suffix}").stat().st_size for name in names for suffix in ("csv", "json", "tex")
    )
    latex = (out / "scores.tex").read_text()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\bottomrule") == 11
    assert r"\textbf{48.1} {\scriptsize (45.1--51.1)}" in latex
    json.loads((out / "scores.json").read_text())


def test_the_csv_has_every_row_unrounded(out: Path, files: EvaluationFiles) -> None:
    rows = list(csv.DictReader(io.StringIO((out / "scores.csv").read_text())))
    assert len(rows) == len(files.scores) + len(files.subsets)
    found = [row for row in rows if (row["task"], row["model"], row["profile"]) == ("jsquad", "trained", "strict")]
    assert [(row["subset"], row["value"]) for row in found] == [
        ("all", "0.8573"),
        ("clean", "0.8473"),
        ("dirty", "0.9573"),
    ]
    assert found[0]["p_holm"] == "0.12"


def test_the_same_files_give_the_same_bytes(folder: Path, out: Path, tmp_path: Path) -> None:
    for path in write_pages(str(folder), str(tmp_path)):
        assert (tmp_path / path).read_bytes() == (out / path).read_bytes(), path


def test_one_model_without_a_base_or_benchmark_files(tmp_path: Path) -> None:
    """Rows alone make a page: what is not known is left out."""
    rows = [{**row, "model": "swallow"} for row in EvaluationFiles.read(
        str(write_evaluation(tmp_path / "full", models=("base",), tasks=("jsquad",)))).scores]  # fmt: skip
    write_rows(tmp_path / "bare" / "scores.jsonl", rows)
    written = write_pages(str(tmp_path / "bare"), str(tmp_path / "out"))
    page = Page((tmp_path / "out" / "evaluation.html").read_text())
    assert "swallow" in page.text
    assert not [path for path in written if "differences" in path]
    assert "None" not in page.text


def test_a_score_that_says_nothing_is_a_dash(tmp_path: Path) -> None:
    """Balanced accuracy without a single item of a class has no value."""
    folder = write_evaluation(tmp_path, profiles=("strict",), tasks=("jsquad", "jnli"))
    rows = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    for row in rows:
        if row["metric"] == "balanced_accuracy":
            row |= {"value": None, "ci_low": None, "ci_high": None}
    write_rows(folder / "scores.jsonl", rows)
    write_pages(str(folder), str(tmp_path / "out"))
    assert "None" not in Page((tmp_path / "out" / "evaluation.html").read_text()).text


def test_where_nothing_was_scored_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no scores\.jsonl in .*expected what `hibari evaluate` writes"):
        write_pages(str(tmp_path), str(tmp_path / "out"))


def test_evaluations_of_old_have_held_out_text_only(tmp_path: Path) -> None:
    row = {"model": "base", "task": "bits_per_byte", "metric": "bits_per_byte", "unit": "bits/byte", "language": "ja",
           "category": None, "n": 9, "value": 1.7, "ci_low": 1.6, "ci_high": 1.8}  # fmt: skip
    write_rows(tmp_path / "scores.jsonl", [row, row | {"model": "trained", "value": 1.4}])
    written = write_pages(str(tmp_path), str(tmp_path / "out"))
    page = Page((tmp_path / "out" / "evaluation.html").read_text())
    assert "1.400" in page.text
    assert "Benchmarks" not in page.text
    assert [path for path in written if path.endswith(".tex")] == ["scores.tex", "tables/held-out.tex"]

"""Runs and folders of evaluated models set side by side; their evaluations are written here, none is computed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.comparison_runner import refusals, run_comparison, terminal_tables
from flows.config import ConfigError, load_run
from flows.plan import make_plan, plan_at_step
from flows.score_comparison import gather_comparison, load_sources
from storage.artifact import Manifest, seal
from storage.rows import write_rows
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.scores import score_rows
from tests.flows.conftest import write_run

KEY = "jcommonsenseqa-strict"
NUM_ITEMS = 40


def _answers(right: int, num_items: int = NUM_ITEMS) -> list[dict[str, Any]]:
    return [
        {
            "id": str(number),
            "language": "ja",
            "category": None,
            "prompt_hash": f"p{number}",
            "gold": str(number % 5),
            "predicted": str(number % 5 if number < right else (number + 1) % 5),
            "columns": {"exact_match": float(number < right)},
            "flags": [],
        }
        for number in range(num_items)
    ]


def _evaluation(folder: Path, models: Mapping[str, Sequence[dict[str, Any]]], *, version: int = 1) -> Path:
    """What an evaluation of these models leaves; each with its answers to JCommonsenseQA."""
    examples = {model: {KEY: rows} for model, rows in models.items()}
    for model, rows in models.items():
        write_rows(str(folder), f"examples/{model}-{KEY}.jsonl", rows)
    write_rows(str(folder), "scores.jsonl", score_rows(examples, EvaluateConfig(resamples=100), seed=1))
    described = {"jcommonsenseqa": {"strict": {"version": version}}}
    (folder / "benchmarks.json").write_text(json.dumps(described))
    return folder


def _scored_run(folder: Path, *overrides: str, right: Mapping[int, int]) -> Path:
    """A run whose checkpoints have scores: `right` answers at each step; the base has 10, the initialised model 8."""
    run_file = folder / "run.yaml"
    if not run_file.exists():
        write_run(folder)
    run = load_run(run_file, overrides)
    plan = make_plan(run)
    for step, number in right.items():
        uri = plan_at_step(run, plan, step).evaluate.uri
        models = {"trained": _answers(number)}
        if step == run.num_steps:
            models = {"base": _answers(10), "initialized": _answers(8)} | models
        _evaluation(Path(uri), models)
        seal(uri, Manifest("evaluate", run.name, "", "1", {}, {}, {}, [], {}, "", "", 1.0))
        record = Path(run.root) / "runs" / f"{run.name}@step-{step}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text("{}")
    return run_file


def _compared(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["reference"], row["model"]) for row in facts["rows"]))


def test_two_folders_item_by_item(tmp_path: Path) -> None:
    first = _evaluation(tmp_path / "first", {"smollm2": _answers(10)})
    second = _evaluation(tmp_path / "second", {"base": _answers(10), "tuned": _answers(25)})
    facts = gather_comparison(load_sources([str(first), str(second)]))
    assert _compared(facts) == [("first", "second")], "the base of the second folder is not what it is about"
    row = next(row for row in facts["rows"] if row["task"] == "jcommonsenseqa")
    assert (row["reference_value"], row["value"], row["wins"], row["losses"]) == (0.25, 0.625, 15, 0)
    assert (row["verdict"], row["p_holm"]) == ("better", pytest.approx(2 / 2**15, rel=1e-5))
    assert [row["task"] for row in facts["rows"]] == ["jcommonsenseqa", "average", "average"]
    assert (facts["reference"], facts["refused"], facts["scaling"], facts["changed"]) == ("first", [], [], [])


def test_a_folder_alone_is_compared_with_its_base(tmp_path: Path) -> None:
    folder = _evaluation(tmp_path / "both", {"one": _answers(12), "base": _answers(10), "two": _answers(30)})
    facts = gather_comparison(load_sources([str(folder)]))
    assert _compared(facts) == [("both: base", "both: one"), ("both: base", "both: two")]


def test_what_cannot_be_compared_is_told(tmp_path: Path) -> None:
    first = _evaluation(tmp_path / "first", {"a": _answers(10)})
    fewer = _evaluation(tmp_path / "fewer", {"a": _answers(10, 20)})
    older = _evaluation(tmp_path / "older", {"a": _answers(10)}, version=7)
    facts = gather_comparison(load_sources([str(first), str(fewer), str(older)]))
    assert facts["rows"] == []
    said = refusals(facts["refused"])
    assert said[0].startswith("not compared, fewer with first: JCommonsenseQA (strict): first was asked 40 items")
    assert "version 1 of the task asked first, version 7 older" in said[1]


def test_a_name_that_is_nothing_is_refused_with_all_others(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as raised:
        load_sources([str(tmp_path / "empty"), str(tmp_path / "nowhere.yaml")])
    assert [problem.split(": ")[1] for problem in raised.value.problems] == [
        "expected a run file, or a folder with the scores.jsonl of `hibari evaluate model`"
    ] * 2


def test_a_run_alone_is_compared_with_its_base(tmp_path: Path) -> None:
    run_file = _scored_run(tmp_path, right={3: 14, 6: 30})
    facts = gather_comparison(load_sources([str(run_file)]))
    assert _compared(facts) == [
        ("tiny: base", "tiny: initialized"),
        ("tiny: base", "tiny: step 3"),
        ("tiny: base", "tiny"),
    ]
    accuracy = [row for row in facts["scaling"] if row["task"] == "jcommonsenseqa"]
    assert [(row["model"], row["tokens"], row["value"]) for row in accuracy] == [
        ("base", 0, 0.25),
        ("initialized", 0, 0.2),
        ("trained", 3 * 4 * 64, 0.35),
        ("trained", 6 * 4 * 64, 0.75),
    ]
    assert {row["task"] for row in facts["scaling"]} == {"jcommonsenseqa", "average"}
    assert facts["resamples"] == 100, "as the run file says"


def test_a_run_without_scores_says_what_to_do(tmp_path: Path) -> None:
    run_file = write_run(tmp_path)
    with pytest.raises(ConfigError, match=r"no checkpoint of tiny has scores; `hibari evaluate .*run.yaml` makes them"):
        load_sources([str(run_file)])


def test_ablations_are_compared_after_as_many_tokens(tmp_path: Path) -> None:
    """The second run differs in its mixture, and stops in between the first one's last two checkpoints."""
    _scored_run(tmp_path, right={3: 14, 6: 30})
    ratio = ("sources.web-en.weight=0.5", "sources.corpus.weight=0.5", f"mix.train_tokens={64 * 4 * 5}")
    run_file = _scored_run(tmp_path, *ratio, right={3: 18, 5: 20})
    other = tmp_path / "ratio.yaml"
    other.write_text(run_file.read_text())
    sources = [*load_sources([str(run_file)]), *load_sources([str(other)], ratio)]
    facts = gather_comparison([sources[0], type(sources[1])("half", sources[1].models, sources[1].run)])
    pairs = {(row["reference_tokens"], row["tokens"]) for row in facts["rows"]}
    assert pairs == {(768, 768), (1536, 1280)}, "the last is compared with the last, whatever they have read"
    changed = {change["field"]: list(change["values"].values()) for change in facts["changed"]}
    assert changed["sources.web-en.weight"] == [0.1, 0.5]
    assert "name" not in changed


def test_sources_of_one_name_are_told_apart_by_their_settings(tmp_path: Path) -> None:
    run_file = _scored_run(tmp_path, right={6: 30})
    text = run_file.read_text().replace("num_candidates: 600", "num_candidates: 300")
    other = tmp_path / "fewer.yaml"
    other.write_text(text)
    again = load_run(other)
    uri = plan_at_step(again, make_plan(again), again.num_steps).evaluate.uri
    _evaluation(Path(uri), {"trained": _answers(20)})
    seal(uri, Manifest("evaluate", again.name, "", "1", {}, {}, {}, [], {}, "", "", 1.0))
    labels = [source.label for source in load_sources([str(run_file), str(other), str(run_file)])]
    assert labels == [
        "tiny (expand.num_candidates 600)",
        "tiny (expand.num_candidates 300)",
        "tiny (expand.num_candidates 600) (3)",
    ]
    folders = [_evaluation(tmp_path / name / "out", {"a": _answers(9)}) for name in ("x", "y")]
    assert [source.main.label for source in load_sources([str(folder) for folder in folders])] == [
        f"out ({tmp_path}/x/out)",
        f"out ({tmp_path}/y/out)",
    ]


def test_the_terminal_shows_scores_tests_and_what_could_be_seen(tmp_path: Path) -> None:
    first = _evaluation(tmp_path / "first", {"a": _answers(10)})
    second = _evaluation(tmp_path / "second", {"a": _answers(25)})
    facts = gather_comparison(load_sources([str(first), str(second)]))
    (table,) = terminal_tables(facts["rows"])
    cells = [list(column.cells) for column in table.columns]
    assert [column[0] for column in cells[:5]] == ["JCommonsenseQA", "exact match", "40", "25.0", "62.5"]
    assert str(cells[5][0]).startswith("+37.5 [+")
    assert [column[0] for column in cells[6:8]] == ["<0.001", "<0.001"]
    assert cells[9][0] == "better"
    assert [column[1] for column in cells[:3]] == ["Japanese average", "1 task", ""]


def test_the_page_and_its_exports_are_written(tmp_path: Path) -> None:
    first = _evaluation(tmp_path / "first", {"a": _answers(10)})
    second = _evaluation(tmp_path / "second", {"a": _answers(25)})
    console = Console(record=True, width=200)
    run_comparison([str(first), str(second)], console, out=tmp_path / "page")
    shown = console.export_text()
    assert "second against first, profile strict" in shown
    assert {"comparison.html", "comparison.json", "comparison.csv"} <= {
        path.name for path in (tmp_path / "page").iterdir()
    }
    assert "JCommonsenseQA" in (tmp_path / "page" / "comparison.html").read_text()

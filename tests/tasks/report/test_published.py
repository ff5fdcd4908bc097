"""Published scores: every row whole, every printed average the mean of its row, the document the same as the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tasks.report.published import PATH, Published, load_published, markdown

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "evaluation.md"


@pytest.fixture
def data() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    return loaded


def test_scores_and_averages_as_their_authors_printed_them() -> None:
    published = load_published()
    assert published.scores("swallow-2023", "jsquad")["Llama-2-7b"] == 0.7917
    assert published.scores("swallow-2023", "gsm8k")["Swallow-7b"] == 0.1130
    assert published.scores("swallow-2024", "jcommonsenseqa")["Llama-2-7b"] == 0.2618
    assert published.scores("swallow-2023", "jnli") == {}, "what nobody printed is not there"
    averages = [published.averages("swallow-2023", code) for code in ("ja", "en")]
    assert [found["Llama-2-7b"] for found in averages] == [0.3201, 0.490]
    assert [found["Swallow-7b"] for found in averages] == [0.3940, 0.440]
    assert averages[0]["Swallow-7b-NVE"] == pytest.approx(0.4063125), "not printed: computed"
    ours = published.averages("swallow-2024", "ja")["Llama-2-7b"]
    assert ours == pytest.approx(2.4642 / 8), "the printed average is over two more tasks"


def test_a_profile_finds_the_harness_it_imitates() -> None:
    published = load_published()
    assert published.harness_of("swallow-2023") == "swallow-2023"
    assert published.harness_of("strict") is None


def test_examples_and_shots_are_those_of_the_papers_tables() -> None:
    tasks = load_published().tasks
    assert [task.examples for task in tasks.values()][:8] == [1119, 120, 198, 4442, 766, 250, 1000, 993]
    assert {name: task.shots for name, task in tasks.items() if task.language == "en"} == dict.fromkeys(
        ("openbookqa", "triviaqa", "hellaswag", "squad2", "xwinograd_en", "gsm8k"), 8
    )
    assert tasks["xlsum_ja"].shots == 1


def test_a_digit_copied_wrongly_is_noticed(data: dict[str, Any]) -> None:
    data["tables"][0]["rows"]["Swallow-7b"]["scores"][0] = 0.4908
    with pytest.raises(ValidationError, match=r"MC, .*Swallow-7b: the scores' mean is 0.3952., the printed average"):
        Published.model_validate(data)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda table: table["rows"]["Swallow-7b"]["scores"].pop(), "7 \\+ 0 values for 8 \\+ 0 columns"),
        (lambda table: table["rows"]["Swallow-7b"]["scores"].__setitem__(0, 48.08), "no shares of one"),
        (lambda table: table.update(source="XX"), "no source is described as XX"),
        (lambda table: table.update(harness="XX"), "no harness is described as XX"),
        (lambda table: table["columns"].__setitem__(0, "jcqa"), "no task is described as jcqa"),
        (lambda table: table["rows"].update(Suzume=table["rows"]["Swallow-7b"]), "no model is described as Suzume"),
        (lambda table: table.update(note="x"), "Extra inputs"),
    ],
)
def test_a_table_that_is_not_whole_is_refused(data: dict[str, Any], change: Any, says: str) -> None:
    change(data["tables"][0])
    with pytest.raises(ValidationError, match=says):
        Published.model_validate(data)


def test_markdown_has_every_value_with_its_source() -> None:
    published = load_published()
    text = markdown(published)
    for table in published.tables:
        for model, row in table.rows.items():
            values = " | ".join(f"{value:.4f}" for value in row.scores)
            assert f"| {model} | {values} |" in text
    lines = [line for line in text.splitlines() if line.startswith("| Swallow-7b |")]
    assert "0.3940 | MC, Base Model Performance, Japanese version; average CP, Table 3 |" in lines[0]
    for block in text.split("\n\n"):
        assert len({line.count("|") for line in block.splitlines() if line.startswith("|")}) <= 1, "every cell is there"
    assert all(source.where in text for source in published.sources.values())


def test_the_document_holds_the_same_tables() -> None:
    """Where this fails: put the output of `python -m tasks.report.published` there."""
    assert markdown(load_published()) in DOCUMENT.read_text(encoding="utf-8")

"""What models wrote, fit for a page: nothing invisible, nothing endless, right and wrong ones of each task."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.report.benchmark_examples import MAX_OUTPUT, example_facts, readable
from tasks.report.evaluation_files import EvaluationFiles
from tests.tasks.report.made_up_benchmarks import write_evaluation


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("\x00\x1b[31m\x7f", "␀␛[31m␡"),
        ("\u202egnirts\u202c", "⟨U+202E⟩gnirts⟨U+202C⟩"),
        ("\u200b\ufeff\x85", "⟨U+200B⟩⟨U+FEFF⟩⟨U+0085⟩"),
        ("雲雀 \ud800", "雲雀 \ufffd"),
        ("مرحبا", "مرحبا"),
        ("<script>", "<script>"),
        (None, ""),
        (7, "7"),
    ],
    ids=repr,
)
def test_invisible_characters_become_visible(text: object, visible: str) -> None:
    assert readable(text, 100) == {"parts": [visible], "left_out": 0}


def test_a_long_text_keeps_its_beginning_and_more_of_its_end() -> None:
    found = readable("x" * 4_000 + "y" * 6_000, 900)
    assert found == {"parts": ["x" * 300, "y" * 600], "left_out": 9_100}


def test_right_and_wrong_ones_with_every_models_answer(tmp_path: Path) -> None:
    files = EvaluationFiles.read(str(write_evaluation(tmp_path, tasks=("jsquad", "wmt20_en_ja"))))
    jsquad, wmt = example_facts(files, [("jsquad", "strict"), ("wmt20_en_ja", "strict")], ["base", "trained"])
    assert [item["outcome"] for item in jsquad["items"]] == ["right", "right", "wrong", "wrong"]
    assert [answer["model"] for answer in jsquad["items"][0]["answers"]] == ["base", "trained"]
    assert [item["outcome"] for item in wmt["items"]] == ["", ""], "BLEU says nothing of one sentence"
    outputs = [answer["output"] for item in jsquad["items"] + wmt["items"] for answer in item["answers"]]
    assert all(sum(map(len, output["parts"])) <= MAX_OUTPUT + 20 for output in outputs)
    assert any(output["left_out"] > 10_000 for output in outputs)


def test_another_draw_of_the_same_items_is_the_same(tmp_path: Path) -> None:
    files = EvaluationFiles.read(str(write_evaluation(tmp_path, tasks=("jsquad",))))
    again = EvaluationFiles.read(str(tmp_path))
    assert example_facts(files, [("jsquad", "strict")], ["base", "trained"]) == example_facts(
        again, [("jsquad", "strict")], ["base", "trained"]
    )


def test_a_task_that_a_model_was_not_asked_shows_the_others(tmp_path: Path) -> None:
    files = EvaluationFiles.read(str(write_evaluation(tmp_path, models=("base",), tasks=("jsquad",))))
    (found,) = example_facts(files, [("jsquad", "strict")], ["base", "initialized"])
    assert found["shown"] == "base"
    assert {answer["model"] for item in found["items"] for answer in item["answers"]} == {"base"}
    assert example_facts(files, [("niilc", "strict")], ["base"]) == []


def test_what_was_cut_of_a_prompt_is_said(tmp_path: Path) -> None:
    files = EvaluationFiles.read(str(write_evaluation(tmp_path, tasks=("jsquad",))))
    facts = example_facts(files, [("jsquad", "strict")], ["base", "trained"])
    cut = {item["id"]: answer["cut"] for item in facts[0]["items"] for answer in item["answers"]}
    assert all(found == (["1 shots dropped"] if id_ == "item-05" else []) for id_, found in cut.items())

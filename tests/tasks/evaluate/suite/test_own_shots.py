"""The instructions and worked examples of profile strict, of the benchmarks that the harnesses ask."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from storage.uri import read_bytes
from tasks.evaluate.suite.strict_form import NUM_SHOTS, read_strict

FOLDERS = {
    "hellaswag": ["hellaswag"],
    "openbookqa": ["openbookqa"],
    "triviaqa": ["triviaqa"],
    "squad2": ["jsquad", "triviaqa"],
    "gsm8k": ["gsm8k", "mgsm_ja"],
    "mgsm_ja": ["mgsm_ja"],
    "xwinograd_en": ["xwinograd_en"],
    "xwinograd_ja": ["xwinograd_ja"],
    "xlsum_ja": ["jsquad"],
    "wmt_en_ja": ["wmt21", "wmt22"],
    "wmt_ja_en": ["wmt21", "wmt22"],
}


def shots(name: str) -> list[dict[str, Any]]:
    return [dict(shot) for shot in read_strict(name).shots]


@pytest.mark.parametrize("name", FOLDERS)
def test_there_are_four_of_one_line_answers(name: str) -> None:
    answers = [shot["sentence" if name.startswith("xwinograd") else "answer"] for shot in shots(name)]

    assert len(answers) == len(set(answers)) + (name == "squad2") == NUM_SHOTS
    assert all(answer.strip() == answer != "" and "\n" not in answer for answer in answers)
    assert read_strict(name).instruction.endswith(("。", "."))


@pytest.mark.parametrize("name", FOLDERS)
def test_no_shot_stands_in_a_benchmark(shared_data: Path, name: str) -> None:
    published = "".join(
        read_bytes(str(path)).decode("utf-8", "replace")
        for folder in FOLDERS[name]
        for path in sorted((shared_data / "eval" / folder).iterdir())
    )
    assert len(published) > 10_000

    for shot in shots(name):
        for field, value in shot.items():
            if field != "answer" or name.startswith("wmt"):
                sentences = [part for part in re.split(r"(?<=[。.?？])", value) if len(part) > 8]
                assert sentences
                assert not [sentence for sentence in sentences if sentence.strip() in published]


@pytest.mark.parametrize("name", ["gsm8k", "mgsm_ja"])
def test_every_calculation_is_right(name: str) -> None:
    """Each `a op b = c` in a solution, and its end is the last result."""
    operations = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "x": lambda a, b: a * b, "×": lambda a, b: a * b,
                  "÷": lambda a, b: a / b}  # fmt: skip
    for shot in shots(name):
        found = re.findall(r"((?:[\d.]+ ?[-+x×÷] ?)+[\d.]+) ?= ?(\d+)", shot["answer"])
        assert found
        for expression, result in found:
            first, *rest = re.findall(r"[-+x×÷]|\d+(?:\.\d+)?", expression)
            value = Fraction(first)
            for operator, number in zip(rest[::2], rest[1::2], strict=True):
                value = operations[operator](value, Fraction(number))
            assert value == int(result), f"{expression} = {result}"
        assert re.search(r"(?:The answer is |答えは)(\d+)", shot["answer"])[1] == found[-1][1]  # type: ignore[index]


def test_squad2_has_as_many_answerable_as_unanswerable_and_answers_stand_in_the_passage() -> None:
    answers = [shot["answer"] for shot in shots("squad2")]

    assert answers.count("unanswerable") == 2
    assert all(shot["answer"] == "unanswerable" or shot["answer"] in shot["context"] for shot in shots("squad2"))


def test_summaries_are_shorter_than_their_articles() -> None:
    assert all(len(shot["answer"]) < len(shot["text"]) / 2 for shot in shots("xlsum_ja"))

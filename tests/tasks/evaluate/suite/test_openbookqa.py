from __future__ import annotations

from pathlib import Path

import pytest

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.suite.openbookqa import BENCHMARK
from tests.tasks.evaluate.suite.suite_cases import judged, lines_file, prompt_of, requests_of, scored

PUBLISHED = {
    "id": "7-1",
    "question": {
        "stem": "A lantern gives light because",
        "choices": [
            {"text": choice, "label": key} for choice, key in zip(["it burns oil", "b", "c", "d"], "ABCD", strict=True)
        ],
    },
    "answerKey": "A",
}
HUB = {
    "id": "7-2",
    "question_stem": "Snow melts when",
    "choices": {"text": ["night falls", "it gets warm", "birds sing", "rivers freeze"], "label": ["A", "B", "C", "D"]},
    "answerKey": "B ",
}
QUERY = {"query": "Skylarks build nests", "choices": ["on the ground", "in rivers", "in clouds", "on ships"], "gold": 0}


@pytest.fixture
def items(tmp_path: Path) -> Items:
    return BENCHMARK.read(lines_file(tmp_path / "test.jsonl", [PUBLISHED, HUB, QUERY]))


def test_all_three_forms_are_read(items: Items) -> None:
    assert [(item.id, item.parts["query"], item.gold) for item in items.items] == [
        ("7-1", "A lantern gives light because", 0),
        ("7-2", "Snow melts when", 1),
        ("3", "Skylarks build nests", 0),
    ]
    assert items.items[0].parts["choices"] == ["it burns oil", "b", "c", "d"]


def test_rows_that_are_none_and_files_that_are_missing(tmp_path: Path) -> None:
    broken = [
        {**HUB, "answerKey": "E"},
        {**HUB, "choices": {"text": ["a"]}},
        {"question": {"stem": "?"}},
        {**QUERY, "gold": "x"},
    ]
    items = BENCHMARK.read(lines_file(tmp_path / "test.jsonl", [*broken, QUERY]))

    assert len(items.items) == 1
    assert len(items.malformed) == 4
    assert "expected one of A, B, C, D in `answerKey`, got E" in items.malformed[0]
    with pytest.raises(MissingDataError, match=r"Allen Institute.*openbookqa/test\.jsonl"):
        BENCHMARK.read(Files((str(tmp_path / "missing.jsonl"),)))


def test_swallow_asks_without_labels(items: Items) -> None:
    """Of three items the other two are the shots, in the order of the draw."""
    prompts = [prompt_of(request) for request in requests_of(BENCHMARK, "swallow-2023", items, 1)]

    shots = {"A lantern gives light because it burns oil\n\n", "Skylarks build nests on the ground\n\n"}
    first, _, rest = prompts[0].partition("\n\n")
    second, _, _ = rest.partition("\n\n")
    assert {f"{first}\n\n", f"{second}\n\n"} == shots
    assert [prompt.removeprefix(f"{first}\n\n{second}\n\n") for prompt in prompts] == [
        f"Snow melts when| {choice}"
        for choice in HUB["choices"]["text"]  # type: ignore[index]
    ]


def test_swallow_draws_from_a_training_file(items: Items, tmp_path: Path) -> None:
    training = lines_file(tmp_path / "train.jsonl", [QUERY])
    (request, *_) = requests_of(BENCHMARK, "swallow-2023", items, 1, Files((), shots=training.items[0]))

    assert prompt_of(request) == "Skylarks build nests on the ground\n\nSnow melts when| night falls"


def test_strict_asks_with_our_shots(items: Items) -> None:
    (request, *_) = requests_of(BENCHMARK, "strict", items, 0)

    assert prompt_of(request) == (
        "Answer each question about science and everyday life.\n\n"
        "Question: A metal spoon left in a bowl of hot soup becomes warm because\nAnswer: metal conducts heat\n\n"
        "Question: How do bats find moths in complete darkness?\nAnswer: by listening to echoes\n\n"
        "Question: For a rainbow to appear there must be sunlight and\nAnswer: drops of water in the air\n\n"
        "Question: A pot of basil forgotten in a windowless cellar will probably\nAnswer: turn pale and weak\n\n"
        "Question: A lantern gives light because\nAnswer:| it burns oil"
    )


def test_right_and_wrong(items: Items) -> None:
    for profile in ("strict", "swallow-2023"):
        assert judged(BENCHMARK, profile, items.items[1], *scored(-5.0, -4.0, -6.0, -7.0)).columns["accuracy"] == 1.0
        wrong = judged(BENCHMARK, profile, items.items[1], *scored(-3.0, -4.0, -6.0, -7.0))
        assert (wrong.columns["accuracy"], wrong.output, wrong.gold) == (0.0, "night falls", "it gets warm")


def test_the_published_file_holds_what_is_said(shared_data: Path) -> None:
    items = BENCHMARK.read(Files((str(shared_data / "eval/openbookqa/test.jsonl"),)))

    assert (len(items.items), len(items.malformed)) == (500, 0)

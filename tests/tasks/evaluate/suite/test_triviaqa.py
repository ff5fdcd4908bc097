from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.requests import Generate
from tasks.evaluate.suite.triviaqa import TRIVIAQA, TRIVIAQA_3000
from tests.tasks.evaluate.suite.suite_cases import judged, lines_file, prompt_of, requests_of, use_shots

SUBSET = [
    {
        "context": "Question: Which bird sings in flight?\nAnswer:",
        "answer": "The Skylark",
        "aliases": ["Sky-lark", "Skylark "],
    },
    {"context": "Question: Where is Nara?\nAnswer:", "answer": "Japan", "aliases": ["Japan", "Nippon"]},
]
HUB = {
    "question": "Who built it?",
    "question_id": "q_1",
    "answer": {"value": "Sora Aoki", "aliases": ["Sora Aoki", "Aoki"]},
}
PUBLISHED = {"Question": "Who sailed it?", "QuestionId": "q_2", "Answer": {"Value": "Umi", "Aliases": ["Umi"]}}


@pytest.fixture
def items(tmp_path: Path) -> Items:
    return TRIVIAQA_3000.read(lines_file(tmp_path / "subset3000.jsonl", SUBSET))


def test_all_three_forms_are_read(items: Items, tmp_path: Path) -> None:
    (tmp_path / "web-dev.json").write_text(json.dumps({"Data": [PUBLISHED], "Version": 1.0}))
    (tmp_path / "wikipedia-dev.json").write_text(json.dumps({"Data": [PUBLISHED]}))
    published = TRIVIAQA.read(Files((str(tmp_path / "web-dev.json"), str(tmp_path / "wikipedia-dev.json"))))
    (hub,) = TRIVIAQA.read(lines_file(tmp_path / "validation.jsonl", [HUB])).items

    assert [(item.id, item.parts["question"], item.gold) for item in items.items] == [
        ("1", "Which bird sings in flight?", ("Sky-lark", "Skylark ")),
        ("2", "Where is Nara?", ("Japan", "Nippon")),
    ]
    assert (hub.id, hub.parts["answer"], hub.gold) == ("q_1", "Sora Aoki", ("Sora Aoki", "Aoki"))
    assert [item.id for item in published.items] == ["q_2", "q_2#2"]  # asked of web pages and of Wikipedia


def test_rows_that_are_none_and_files_that_are_missing(tmp_path: Path) -> None:
    broken = [{**SUBSET[0], "context": "Which bird?"}, {**SUBSET[0], "aliases": []}, {**HUB, "answer": None}]
    items = TRIVIAQA_3000.read(lines_file(tmp_path / "subset3000.jsonl", [*broken, *SUBSET]))

    assert (len(items.items), len(items.malformed)) == (2, 3)
    with pytest.raises(MissingDataError, match=r"llm-foundry.*triviaqa/subset3000\.jsonl"):
        TRIVIAQA_3000.read(Files((str(tmp_path / "missing.jsonl"),)))
    with pytest.raises(MissingDataError, match=r"University of Washington.*web-dev\.json"):
        TRIVIAQA.read(Files((str(tmp_path / "missing.json"),)))


def test_swallow_stops_at_points_and_commas(items: Items) -> None:
    (request,) = requests_of(TRIVIAQA_3000, "swallow-2023", items, 1)

    assert isinstance(request, Generate)
    assert prompt_of(request) == (
        "Question: Which bird sings in flight?\nAnswer: The Skylark\n\nQuestion: Where is Nara?\nAnswer:|"
    )
    assert (request.stops, request.max_tokens, request.max_characters) == (("\n", ".", ","), 256, None)


def test_strict_asks_for_a_line(items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    use_shots(monkeypatch, "Answer.", {"question": "How many seas?", "answer": "Seven"})
    (request,) = requests_of(TRIVIAQA_3000, "strict", items, 1)

    assert isinstance(request, Generate)
    assert prompt_of(request) == (
        "Answer.\n\nQuestion: How many seas?\nAnswer: Seven\n\nQuestion: Where is Nara?\nAnswer:|"
    )
    assert (request.stops, request.max_tokens, request.max_characters) == (("\n",), None, 100)


@pytest.mark.parametrize(
    ("output", "swallow", "strict"),
    [
        (" sky-lark", 1.0, 1.0),
        (" SKYLARK!", 1.0, 1.0),  # as the alias without its hyphen
        (" The Skylark", 0.0, 1.0),  # articles count in the harness, and the answer itself is none of its aliases
        (" Japan", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_aliases(items: Items, output: str, swallow: float, strict: float) -> None:
    item = items.items[0]

    assert judged(TRIVIAQA_3000, "swallow-2023", item, output).columns["exact_match"] == swallow
    assert judged(TRIVIAQA_3000, "strict", item, output).columns["exact_match"] == strict


def test_f1_counts_words_of_the_nearest_alias(items: Items) -> None:
    """ "a skylark bird" without its article is two words, one of them the alias: P 1/2, R 1, F1 2/3."""
    judgement = judged(TRIVIAQA_3000, "strict", items.items[0], " a skylark bird")

    assert judgement.columns == {"exact_match": 0.0, "f1": pytest.approx(2 / 3)}
    assert judgement.flags == ()
    assert judged(TRIVIAQA_3000, "strict", items.items[0], " \n").flags == ("empty_output",)


def test_an_alias_of_nothing_but_punctuation_makes_no_empty_answer_right(tmp_path: Path) -> None:
    rows = [{"context": "Question: Which sign?\nAnswer:", "answer": "!", "aliases": ["!", "exclamation mark"]}]
    (item,) = TRIVIAQA_3000.read(lines_file(tmp_path / "subset3000.jsonl", rows)).items

    assert judged(TRIVIAQA_3000, "strict", item, "").columns["exact_match"] == 0.0


def test_the_subset_stands_in_under_its_own_name() -> None:
    assert (TRIVIAQA_3000.name, TRIVIAQA_3000.stands_in_for) == ("triviaqa_3000", "triviaqa")
    assert TRIVIAQA.stands_in_for is None
    assert TRIVIAQA.label != TRIVIAQA_3000.label


def test_the_published_file_holds_what_is_said(shared_data: Path) -> None:
    items = TRIVIAQA_3000.read(Files((str(shared_data / "eval/triviaqa/subset3000.jsonl"),)))

    assert (len(items.items), len(items.malformed)) == (3_000, 0)

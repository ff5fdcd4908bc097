from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.requests import Generate, LogLikelihood, Scored
from tasks.evaluate.suite.squad2 import BENCHMARK
from tests.tasks.evaluate.suite.suite_cases import judged, prompt_of, requests_of, use_shots

DOCUMENT = {
    "version": "v2.0",
    "data": [
        {
            "title": "Skylark",
            "paragraphs": [
                {
                    "context": "The skylark nests on the ground.",
                    "qas": [
                        {
                            "id": "a",
                            "question": "Where does it nest?",
                            "answers": [{"text": text, "answer_start": 0} for text in ("on the ground", "the ground")],
                        },
                        {"id": "b", "question": "When does it nest?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ],
}
UNANSWERABLE = Scored(math.log(0.25), False, 1)


@pytest.fixture
def items(tmp_path: Path) -> Items:
    (tmp_path / "dev-v2.0.json").write_text(json.dumps(DOCUMENT))
    return BENCHMARK.read(Files((str(tmp_path / "dev-v2.0.json"),)))


def test_questions_with_and_without_answers(items: Items) -> None:
    assert [(item.id, item.gold) for item in items.items] == [("a", ("on the ground", "the ground")), ("b", ())]


def test_questions_that_are_none_and_a_missing_file(tmp_path: Path) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    document["data"][0]["paragraphs"][0]["qas"] += [
        {"id": "c", "question": "", "answers": []},
        {"id": "d", "question": "?"},
    ]
    (tmp_path / "dev-v2.0.json").write_text(json.dumps(document))
    items = BENCHMARK.read(Files((str(tmp_path / "dev-v2.0.json"),)))

    assert len(items.items) == 3  # the last has no array of answers: counted, and read as unanswerable
    assert len(items.malformed) == 2
    with pytest.raises(MissingDataError, match=r"Stanford.*squad2/dev-v2\.0\.json"):
        BENCHMARK.read(Files((str(tmp_path / "missing.json"),)))


def test_swallow_generates_and_scores_unanswerable(items: Items) -> None:
    answer, nothing = requests_of(BENCHMARK, "swallow-2023", items, 0)

    prompt = (
        "Title: Skylark\n\nBackground: The skylark nests on the ground.\n\nQuestion: When does it nest?\n\n"
        "Answer: unanswerable\n\n"
        "Title: Skylark\n\nBackground: The skylark nests on the ground.\n\nQuestion: Where does it nest?\n\nAnswer:"
    )
    assert isinstance(answer, Generate)
    assert isinstance(nothing, LogLikelihood)
    assert (prompt_of(answer), prompt_of(nothing)) == (f"{prompt}|", f"{prompt}| unanswerable")
    assert (answer.stops, answer.max_tokens) == (("\n",), 256)


def test_strict_may_cut_the_passage_and_keeps_the_question(items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    use_shots(monkeypatch, "Answer.", {"context": "Tea is hot.", "question": "What is hot?", "answer": "Tea"})
    (request,) = requests_of(BENCHMARK, "strict", items, 1)

    assert isinstance(request, Generate)
    assert prompt_of(request) == (
        "Answer.\n\nPassage: Tea is hot.\nQuestion: What is hot?\nAnswer: Tea\n\n"
        "Passage: The skylark nests on the ground.\nQuestion: When does it nest?\nAnswer:|"
    )
    assert request.context.passage == "The skylark nests on the ground."
    assert request.context.overlong == "shots"
    assert (request.stops, request.max_characters) == (("\n",), 200)


@pytest.mark.parametrize(
    ("index", "output", "swallow", "strict"),
    [
        (0, " the Ground.", 1.0, 1.0),  # articles, case and punctuation do not count
        (0, " unanswerable", 0.0, 0.0),
        (0, "", 0.0, 0.0),
        (1, " unanswerable", 0.0, 1.0),  # the harness wants nothing at all
        (1, "", 1.0, 0.0),
        (1, " the", 1.0, 0.0),
        (1, " on the ground", 0.0, 0.0),
    ],
)
def test_exact(items: Items, index: int, output: str, swallow: float, strict: float) -> None:
    item = items.items[index]
    by_swallow = judged(BENCHMARK, "swallow-2023", item, output, UNANSWERABLE)
    by_strict = judged(BENCHMARK, "strict", item, output)

    assert by_swallow.columns["exact"] == swallow
    assert by_swallow.columns["no_answer_probability"] == pytest.approx(0.25)
    assert by_strict.columns["exact"] == strict
    half = "answerable" if index == 0 else "unanswerable"
    assert (by_strict.columns[half], by_strict.columns[f"exact_{half}"]) == (1.0, strict)


def test_f1_and_the_halves(items: Items) -> None:
    """ "ground nest" shares one word of two with "ground": P 1/2, R 1, F1 2/3."""
    first = judged(BENCHMARK, "strict", items.items[0], " ground nest")
    second = judged(BENCHMARK, "strict", items.items[1], " unanswerable")
    rows = [{"columns": judgement.columns} for judgement in (first, second)]

    assert first.columns["f1"] == pytest.approx(2 / 3)
    assert first.gold == "the ground"
    values = {metric.name: metric.of(rows) for metric in BENCHMARK.forms["strict"].metrics}
    assert values == {
        "exact": 0.5,
        "f1": pytest.approx(5 / 6),
        "exact_answerable": 0.0,
        "exact_unanswerable": 1.0,
    }

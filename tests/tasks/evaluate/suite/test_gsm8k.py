from __future__ import annotations

from pathlib import Path

import pytest

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.requests import Generate
from tasks.evaluate.suite.gsm8k import BENCHMARK
from tests.tasks.evaluate.suite.suite_cases import judged, lines_file, prompt_of, requests_of, use_shots

ROWS = [
    {"question": "Ten larks and two owls sing. How many birds?", "answer": "10+2=<<10+2=12>>12 birds\n#### 12"},
    {"question": "Three boats carry 400 tons each. How many tons?", "answer": "3*400=1,200 tons\n#### 1,200"},
]


@pytest.fixture
def items(tmp_path: Path) -> Items:
    return BENCHMARK.read(lines_file(tmp_path / "test.jsonl", ROWS))


def test_the_gold_is_the_number_behind_the_mark(items: Items) -> None:
    assert [item.gold for item in items.items] == ["12", "1200"]


def test_rows_that_are_none_and_files_that_are_missing(tmp_path: Path) -> None:
    items = BENCHMARK.read(lines_file(tmp_path / "test.jsonl", [{"question": "How?", "answer": "12"}, *ROWS]))

    assert items.malformed == ["test.jsonl:1: expected `#### ` and a number at the end of `answer`"]
    with pytest.raises(MissingDataError, match=r"OpenAI.*MIT.*gsm8k/test\.jsonl"):
        BENCHMARK.read(Files((str(tmp_path / "missing.jsonl"),)))


def test_swallow_shows_whole_solutions(items: Items, tmp_path: Path) -> None:
    training = lines_file(tmp_path / "train.jsonl", ROWS[1:])
    (request,) = requests_of(BENCHMARK, "swallow-2023", items, 0, Files((), shots=training.items[0]))

    assert isinstance(request, Generate)
    assert prompt_of(request) == (
        "Question: Three boats carry 400 tons each. How many tons?\nAnswer: 3*400=1,200 tons\n#### 1,200\n\n"
        "Question: Ten larks and two owls sing. How many birds?\nAnswer:|"
    )
    assert (request.stops, request.max_tokens) == ((":", "Question:", "Question"), 256)


def test_strict_asks_for_a_line(items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    use_shots(monkeypatch, "Solve.", {"question": "1 and 1?", "answer": "1 + 1 = 2. The answer is 2."})
    (request,) = requests_of(BENCHMARK, "strict", items, 0)

    assert isinstance(request, Generate)
    assert prompt_of(request) == (
        "Solve.\n\nQuestion: 1 and 1?\nAnswer: 1 + 1 = 2. The answer is 2.\n\n"
        "Question: Ten larks and two owls sing. How many birds?\nAnswer:|"
    )
    assert (request.stops, request.max_characters) == (("\n",), 600)


@pytest.mark.parametrize(
    ("output", "swallow", "strict", "flags"),
    [
        (" 3*400=1200\n#### 1200", 1.0, 1.0, ()),
        ("#### 1,200", 1.0, 1.0, ()),
        ("#### 1200.", 0.0, 1.0, ()),
        ("#### 1200.0", 0.0, 1.0, ()),
        ("#### 7\n#### 1200", 0.0, 1.0, ()),  # the first mark counts
        (" The answer is 1200.", 0.0, 1.0, ("unparsable",)),
        (" The answer is 1200 tons of 3 boats.", 0.0, 0.0, ("unparsable",)),
        (" many", 0.0, 0.0, ("unparsable",)),
        ("", 0.0, 0.0, ("empty_output",)),
    ],
)
def test_numbers(items: Items, output: str, swallow: float, strict: float, flags: tuple[str, ...]) -> None:
    by_swallow = judged(BENCHMARK, "swallow-2023", items.items[1], output)

    assert (by_swallow.columns["exact_match"], by_swallow.flags) == (swallow, flags)
    assert judged(BENCHMARK, "strict", items.items[1], output).columns["exact_match"] == strict


def test_what_strict_flags(items: Items) -> None:
    assert judged(BENCHMARK, "strict", items.items[0], " many").flags == ("unparsable",)
    assert judged(BENCHMARK, "strict", items.items[0], " 12").flags == ()
    assert judged(BENCHMARK, "strict", items.items[0], " ").flags == ("empty_output",)


def test_the_published_files_hold_what_is_said(shared_data: Path) -> None:
    folder = shared_data / "eval/gsm8k"
    items = BENCHMARK.read(Files((str(folder / "test.jsonl"),)))
    training = BENCHMARK.read(Files((str(folder / "train_first1000.jsonl"),)))

    assert (len(items.items), len(items.malformed)) == (1_319, 0)
    assert len(training.items) == 1_000

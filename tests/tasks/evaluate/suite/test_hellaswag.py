from __future__ import annotations

from pathlib import Path

import pytest

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.suite.hellaswag import BENCHMARK
from tests.tasks.evaluate.suite.suite_cases import judged, lines_file, prompt_of, requests_of, scored, use_shots

RAW = [
    {
        "ind": 24,
        "activity_label": "Gardening",
        "ctx_a": "A man [substeps] digs  a hole. [title] He looks up",
        "ctx_b": "the OLD man",
        "endings": ["sings [step] loudly.", "plants a tree.", "swims.", "flies."],
        "label": "1",
    },
    {
        "activity_label": "Cooking",
        "ctx_a": "A pot boils.",
        "ctx_b": "",
        "endings": ["It cools.", "Steam rises.", "It sings.", "It sleeps."],
        "label": 1,
    },
]
PREPARED = [{"query": "Rain: Rain falls. the cat", "choices": ["runs home.", "melts.", "reads.", "votes."], "gold": 0}]


@pytest.fixture
def items(tmp_path: Path) -> Items:
    return BENCHMARK.read(lines_file(tmp_path / "validation.jsonl", RAW))


def test_the_text_is_prepared_as_the_harness_does(items: Items) -> None:
    """Brackets go, [title] becomes a full stop, double spaces one, and the second context gets its capital."""
    first, second = items.items

    assert (first.id, second.id) == ("24", "2")
    assert first.parts["query"] == "Gardening: A man digs a hole.. He looks up The old man"
    assert first.parts["choices"] == ["sings loudly.", "plants a tree.", "swims.", "flies."]
    assert (first.gold, second.gold) == (1, 1)
    assert second.parts["query"] == "Cooking: A pot boils."  # nothing is left of an empty second context


def test_prepared_rows_are_taken_as_they_are(tmp_path: Path) -> None:
    (item,) = BENCHMARK.read(lines_file(tmp_path / "validation.jsonl", PREPARED)).items

    assert item.parts["query"] == "Rain: Rain falls. the cat"
    assert item.text == "Rain: Rain falls. the cat runs home."


def test_rows_that_are_none_and_files_that_are_missing(tmp_path: Path) -> None:
    broken = [{**PREPARED[0], "gold": 4}, {**PREPARED[0], "choices": ["a", "b"]}, {**RAW[0], "label": ""}]
    items = BENCHMARK.read(lines_file(tmp_path / "validation.jsonl", [*broken, *PREPARED]))

    assert len(items.items) == 1
    assert [message.split(": ")[0] for message in items.malformed] == [f"validation.jsonl:{n}" for n in (1, 2, 3)]
    with pytest.raises(MissingDataError, match=r"rowanz/hellaswag.*hellaswag/validation\.jsonl"):
        BENCHMARK.read(Files((str(tmp_path / "missing.jsonl"),)))


def test_swallow_asks_sentence_after_sentence(items: Items) -> None:
    prompts = [prompt_of(request) for request in requests_of(BENCHMARK, "swallow-2023", items, 0)]

    shared = "Cooking: A pot boils. Steam rises.\n\nGardening: A man digs a hole.. He looks up The old man"
    assert prompts == [f"{shared}| {ending}" for ending in ("sings loudly.", "plants a tree.", "swims.", "flies.")]


def test_strict_asks_after_an_instruction(items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    use_shots(monkeypatch, "What happens next?", {"query": "Sea: A wave comes. It", "answer": "breaks."})
    request = requests_of(BENCHMARK, "strict", items, 1)[1]

    assert prompt_of(request) == (
        "What happens next?\n\nSea: A wave comes. It breaks.\n\nCooking: A pot boils.| Steam rises."
    )


def test_the_likeliest_ending_is_right_or_wrong(items: Items) -> None:
    for profile in ("strict", "swallow-2023"):
        right = judged(BENCHMARK, profile, items.items[0], *scored(-9.0, -2.0, -3.0, -4.0))
        wrong = judged(BENCHMARK, profile, items.items[0], *scored(-1.0, -2.0, -3.0, -4.0))

        assert (right.columns["accuracy"], right.output) == (1.0, "plants a tree.")
        assert (wrong.columns["accuracy"], wrong.output) == (0.0, "sings loudly.")
    assert [metric.name for metric in BENCHMARK.forms["swallow-2023"].metrics] == ["accuracy"]


def test_the_published_file_holds_what_is_said(shared_data: Path) -> None:
    items = BENCHMARK.read(Files((str(shared_data / "eval/hellaswag/validation.jsonl"),)))

    assert (len(items.items), len(items.malformed)) == (10_042, 0)

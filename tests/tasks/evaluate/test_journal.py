"""Whatever a kill or a disk leaves of a journal, what is read from it is right, and what is missing is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.journal import Journal, requests_digest
from tasks.evaluate.requests import Context, Fitted, Generate, Generated, Result, Scored
from tasks.evaluate.suite_plan import AskedTask, plan_suite
from tests.tasks.evaluate import stand_ins

# Twelve requests of four items, three each: batches of whole items, and one that an item shares with another.
BATCHES = [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9, 10, 11]]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AskedTask:
    stand_ins.install(monkeypatch)
    data = stand_ins.write_data(tmp_path / "data", num_items=4)
    (asked,) = plan_suite(EvaluateConfig(tasks=["jcommonsenseqa"], data=str(data)))
    return asked


@pytest.fixture
def fitted(asked: AskedTask) -> list[Fitted]:
    return [Fitted(request, [1, 2, 3], [4, number]) for number, request in enumerate(asked.flat)]


def scored(places: list[int]) -> list[Result]:
    return [Scored(-0.1 * place - 1 / 3, place % 2 == 0, 2) for place in places]


def test_what_was_added_is_there_again_to_the_last_bit(tmp_path: Path, asked: AskedTask, fitted: list[Fitted]) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal.open(path, asked, fitted) as journal:
        assert journal.missing(BATCHES) == [0, 1, 2]
        for batch in BATCHES:
            journal.add(batch, scored(batch))
        assert journal.missing(BATCHES) == []
        assert journal.results == scored(list(range(12)))
    with Journal.open(path, asked, fitted) as again:
        assert again.missing(BATCHES) == []
        assert again.results == scored(list(range(12)))
    assert len(path.read_bytes().splitlines()) == 1 + 5, "a line per item and batch, after the first"


def test_what_is_written_is_text_and_why_it_ends(tmp_path: Path, asked: AskedTask, fitted: list[Fitted]) -> None:
    answers: list[Result] = [Generated("雲雀\u2028です", 3, "stop"), Generated("", 0, "end_of_text")]
    with Journal.open(tmp_path / "journal.jsonl", asked, fitted) as journal:
        journal.add([0, 1], answers)
    with Journal.open(tmp_path / "journal.jsonl", asked, fitted) as again:
        again.add(list(range(2, 12)), scored(list(range(2, 12))))
        assert again.results[:2] == answers


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_batch_cut_short_by_a_kill_is_computed_again_whole(
    tmp_path: Path, asked: AskedTask, fitted: list[Fitted], cut: int
) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal.open(path, asked, fitted) as journal:
        for batch in BATCHES[:2]:
            journal.add(batch, scored(batch))
    path.write_bytes(path.read_bytes()[:-cut])  # the second batch's second line is torn
    with Journal.open(path, asked, fitted) as again:
        assert again.missing(BATCHES) == [1, 2]
        for number in (1, 2):
            again.add(BATCHES[number], scored(BATCHES[number]))
        assert again.results == scored(list(range(12)))
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_zeros_after_a_loss_of_power_are_cut_off(tmp_path: Path, asked: AskedTask, fitted: list[Fitted]) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal.open(path, asked, fitted) as journal:
        journal.add(BATCHES[0], scored(BATCHES[0]))
    path.write_bytes(path.read_bytes() + bytes(100) + b"\n")
    with Journal.open(path, asked, fitted) as again:
        assert again.missing(BATCHES) == [1, 2]


def test_answers_to_other_requests_are_not_used(tmp_path: Path, asked: AskedTask, fitted: list[Fitted]) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal.open(path, asked, fitted) as journal:
        journal.add(BATCHES[0], scored(BATCHES[0]))
    others = [Fitted(each.request, [1, 2, 9], each.continuation) for each in fitted]
    assert requests_digest(others) != requests_digest(fitted)
    with Journal.open(path, asked, others) as journal:
        assert journal.missing(BATCHES) == [0, 1, 2]
    with Journal.open(path, asked, fitted) as journal:
        assert journal.missing(BATCHES) == [0, 1, 2], "the other requests' journal took its place"


def test_limits_are_part_of_a_request() -> None:
    question = Context("問")
    kinds = [Generate(question, max_tokens=4), Generate(question, max_tokens=5), Generate(question, ("。",))]
    assert len({requests_digest([Fitted(kind, [1])]) for kind in kinds}) == 3


def test_a_value_that_is_none_is_an_error_and_not_kept(tmp_path: Path, asked: AskedTask, fitted: list[Fitted]) -> None:
    with Journal.open(tmp_path / "journal.jsonl", asked, fitted) as journal:
        with pytest.raises(ValueError, match=r"item jcommonsenseqa-0: its log-likelihood is nan"):
            journal.add([0], [Scored(float("nan"), False, 1)])
        assert journal.missing(BATCHES) == [0, 1, 2]

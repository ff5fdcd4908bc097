"""How a stage shows itself in Prefect: often enough, not too often, and never at the cost of the work."""

from __future__ import annotations

import logging

import httpx
import pytest

from tasks import task
from tasks.task import Turn, shown


def test_a_server_that_does_not_answer_costs_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    def refused() -> None:
        raise httpx.ConnectError("connection refused")

    with caplog.at_level(logging.WARNING):
        assert shown(refused) is None
    assert "ConnectError: connection refused" in caplog.text


def test_a_mistake_of_ours_is_not_taken_for_the_server() -> None:
    def wrong() -> None:
        raise TypeError("no such argument")

    with pytest.raises(TypeError):
        shown(wrong)


def test_turns_come_at_once_and_get_rarer_the_longer_a_stage_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return now

    monkeypatch.setattr(task, "time", Clock)
    turn = Turn(least_s=2.0, share=0.01)
    came = []
    for second in range(2_000):
        now = float(second)
        if turn.has_come():
            came.append(second)
    assert came[:3] == [0, 2, 4]
    assert came[-1] - came[-2] >= 19
    assert turn.has_come(anyway=True), "the end is always told"

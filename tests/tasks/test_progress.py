"""What a person reads while a stage works: how far, how fast, how long still."""

from __future__ import annotations

import logging
import threading

import pytest

from tasks import progress
from tasks.progress import Pace, Progress, TextLines, describe, duration, listening, narrating, report_progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def curate(done: float, records: int) -> Progress:
    return Progress("curate", done, 8, "WARC files", counts={"records": records, "documents": records // 10})


def test_rate_and_time_left_leave_out_what_an_earlier_attempt_did(clock: Clock) -> None:
    pace = Pace()
    pace.hear(curate(4, 4_000))
    clock.now += 10
    pace.hear(curate(5.5, 5_500))
    assert pace.rate("records") == 150.0
    assert pace.left_s() == pytest.approx(2.5 / 0.15)
    assert describe(curate(5.5, 5_500), pace) == (
        "5.5 of 8 WARC files; 5,500 records (150 a second), 550 documents; about 17 s left"
    )


def test_nothing_is_said_of_a_rate_before_there_is_one(clock: Clock) -> None:
    pace = Pace()
    pace.hear(curate(4, 4_000))
    assert describe(curate(4, 4_000), pace) == "4 of 8 WARC files; 4,000 records, 400 documents"
    clock.now += 10
    pace.hear(curate(4, 4_000))
    assert pace.left_s() is None, "ten seconds without a record tell nothing"


def test_a_finished_stage_has_no_time_left(clock: Clock) -> None:
    pace = Pace()
    pace.hear(curate(0, 0))
    clock.now += 10
    pace.hear(curate(8, 800))
    assert describe(curate(8, 800), pace) == "8 of 8 WARC files; 800 records (80 a second), 80 documents"


def test_units_have_a_rate_where_nothing_else_is_counted(clock: Clock) -> None:
    pace = Pace()
    pace.hear(Progress("evaluate", 0, 100, "tokens"))
    clock.now += 20
    now = Progress("evaluate", 10, 100, "tokens", "base: probe")
    pace.hear(now)
    assert describe(now, pace) == "10 of 100 tokens (30.0 a minute); base: probe; about 3 min left"


def test_a_remark_does_not_disturb_the_pace(clock: Clock) -> None:
    pace = Pace()
    pace.hear(Progress("evaluate", 0, 100, "tokens"))
    clock.now += 50
    pace.hear(Progress("evaluate", 0, 0, "", "jsquad: 50 items in 12 s"))
    clock.now += 10
    pace.hear(Progress("evaluate", 30, 100, "tokens"))
    assert pace.rate() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("seconds", "words"), [(45, "45 s"), (89, "89 s"), (700, "12 min"), (12_000, "3 h 20 min"), (432_000, "5.0 days")]
)
def test_durations_are_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_lines_are_spaced_out_but_the_last_is_always_there(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = TextLines(interval_s=2.0)
    for done in range(9):
        lines(curate(done, 100 * done))
        clock.now += 0.5
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert said[-1].startswith("  curate: 8 of 8 WARC files; 800 records")


def test_what_our_code_logs_is_progress_of_the_stage() -> None:
    heard: list[Progress] = []
    ours = logging.getLogger("tokenizer.expand")
    with listening(heard.append):
        with narrating("expand"):
            ours.info("learning %d pieces", 16_000)
            ours.debug("too much detail")
            logging.getLogger("elsewhere").info("not ours")
        ours.info("after the end")
        report_progress("expand", 1, 1, "steps")
    assert [one.note for one in heard] == ["", "learning 16000 pieces", ""]
    assert {one.stage for one in heard} == {"expand"}


def test_what_another_thread_logs_is_not() -> None:
    """A lease's heartbeat warns from a thread of its own, in which Prefect's run logger does not exist."""
    heard: list[Progress] = []
    with listening(heard.append), narrating("curate"):
        thread = threading.Thread(target=logging.getLogger("storage.lease").warning, args=("cannot renew",))
        thread.start()
        thread.join()
    assert [one.note for one in heard] == [""]

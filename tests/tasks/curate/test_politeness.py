"""Breaks when workers together ask more of a server than the user allows, or go on asking one that refuses."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading

import pytest

from tasks.curate import politeness
from tasks.curate.politeness import MAX_SLOWNESS, Politeness


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(politeness, "time", clock)
    return clock


def sent_at(worker: Politeness) -> float:
    with worker.request() as sent:
        return sent


def test_the_rate_holds_over_all_workers(clock: Clock) -> None:
    workers = [Politeness("example.jp", 4, requests_per_second=10) for _ in range(3)]
    times = [sent_at(workers[number % 3]) for number in range(12)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps == pytest.approx([0.1] * 11)


def test_each_server_has_its_own(clock: Clock) -> None:
    one, other = Politeness("one.jp", 1, 0.1), Politeness("other.jp", 1, 0.1)
    assert sent_at(one) == sent_at(other)


def test_after_a_refusal_everybody_waits_as_long_as_asked_and_then_goes_slower(clock: Clock) -> None:
    refused, other = Politeness("example.jp", 4, 10), Politeness("example.jp", 4, 10)
    sent = sent_at(refused)
    refused.refused(sent, retry_after_s=30)
    first = sent_at(other)
    assert first >= sent + 30
    assert sent_at(other) - first == pytest.approx(0.2)


def test_refusals_of_requests_that_were_under_way_together_count_once(clock: Clock) -> None:
    workers = [Politeness("example.jp", 4, 10) for _ in range(4)]
    sent = [sent_at(worker) for worker in workers]
    for worker, when in zip(workers, sent, strict=True):
        worker.refused(when)
    first = sent_at(workers[0])
    assert sent_at(workers[1]) - first == pytest.approx(0.2)


def test_it_gets_slower_up_to_a_bound_and_recovers(clock: Clock) -> None:
    worker = Politeness("example.jp", 1, 10)
    for _ in range(12):
        worker.refused(sent_at(worker))
    slow = sent_at(worker)
    assert sent_at(worker) - slow == pytest.approx(0.1 * MAX_SLOWNESS)
    for _ in range(40):
        sent_at(worker)
        worker.answered()
    recovered = sent_at(worker)
    assert sent_at(worker) - recovered == pytest.approx(0.1)


def test_a_clock_that_was_set_back_does_not_stop_it(clock: Clock) -> None:
    worker = Politeness("example.jp", 1, 10)
    sent_at(worker)
    clock.now -= 365 * 24 * 3600.0
    before = clock.now
    assert sent_at(worker) == before


def test_no_more_connections_than_allowed() -> None:
    first, second = Politeness("example.jp", 1, 1000), Politeness("example.jp", 1, 1000)
    entered = threading.Event()

    def ask() -> None:
        with second.request():
            entered.set()

    asking = threading.Thread(target=ask)
    with first.request():
        asking.start()
        assert not entered.wait(0.3)
    asking.join(10)
    assert entered.is_set()


def test_a_killed_worker_gives_its_connection_back() -> None:
    program = (
        "import time; from tasks.curate.politeness import Politeness\n"
        "with Politeness('example.jp', 1, 1000).request(): print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"in\n"
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    with Politeness("example.jp", 1, 1000).request():
        pass

"""Leases: one holder at a time, whatever dies, stalls or races; and nobody waits for the dead."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from storage import lease
from storage.lease import Holder, LeaseHeldError, LeaseLostError, current, hold
from storage.swap import create, read, swap

PATIENCE_S = 30  # of a process for the others, before it fails


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "curate" / "demo-0123.lease")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules, in tenths of seconds."""
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    monkeypatch.setattr(lease, "POLL_S", 0.02)
    monkeypatch.setattr(lease, "STALE_S", 0.5)


def elsewhere(**changes: object) -> Holder:
    """A holder of which this machine knows nothing."""
    return dataclasses.replace(Holder.new("other"), machine="another boot", host="far-away", **changes)


def ended_process() -> Holder:
    """A holder of this machine whose process has ended."""
    return dataclasses.replace(Holder.new("killed"), started="before this pid was used again")


def test_a_lease_names_its_holder_and_goes_away(uri: str) -> None:
    with hold(uri, "demo") as held:
        found = current(uri)
        assert found == held.holder
        assert (found.run, found.pid) == ("demo", os.getpid())
        held.check()
    assert read(uri) is None
    assert current(uri) is None


def test_it_goes_away_when_the_work_fails(uri: str) -> None:
    with pytest.raises(RuntimeError, match="broken"), hold(uri, "demo"):
        raise RuntimeError("broken")
    assert read(uri) is None


def test_without_waiting_the_holder_is_named(uri: str) -> None:
    named = rf"run first on .*, pid {os.getpid()}, since 2"
    with hold(uri, "first"), pytest.raises(LeaseHeldError, match=named), hold(uri, "second", wait=False):
        raise AssertionError("both hold it")


def test_whoever_waits_gets_it_afterwards(uri: str, quick: None) -> None:
    order: list[str] = []
    told: list[Holder | None] = []

    def second() -> None:
        with hold(uri, "second", waiting=told.append):
            order.append("second")

    with hold(uri, "first"):
        waiter = threading.Thread(target=second)
        waiter.start()
        while not told:
            time.sleep(0.01)
        order.append("first")
    waiter.join()
    assert order == ["first", "second"]
    assert {holder.run for holder in told if holder} == {"first"}


def test_a_dead_process_is_not_waited_for(uri: str) -> None:
    create(uri, ended_process().to_json())
    assert current(uri) is None
    with hold(uri, "next", wait=False) as held:
        assert current(uri) == held.holder


def test_a_killed_holder_is_not_waited_for(uri: str) -> None:
    program = f"from storage.lease import hold\nwith hold({uri!r}, 'demo'): print('held', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(LeaseHeldError, match=f"pid {holder.pid}"), hold(uri, "next", wait=False):
        raise AssertionError("the holder lives")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with hold(uri, "next", wait=False):
        pass
    holder.communicate()


def test_silence_from_another_machine_ends_a_lease(uri: str, quick: None) -> None:
    create(uri, elsewhere(beat="2999-01-01T00:00:00+00:00").to_json())  # its clock says nothing
    told: list[Holder | None] = []
    begun = time.monotonic()
    with hold(uri, "next", waiting=told.append):
        assert time.monotonic() - begun >= lease.STALE_S
    assert str(told[0]).startswith("run other on far-away")


def test_a_lease_that_is_renewed_is_waited_for(uri: str, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "STALE_S", 1.5)
    other = elsewhere()
    create(uri, other.to_json())
    acquired = threading.Event()

    def wait_for_it() -> None:
        with hold(uri, "next"):
            acquired.set()

    waiter = threading.Thread(target=wait_for_it)
    waiter.start()
    for number in range(20):  # longer than a silent one would last
        renewed = dataclasses.replace(other, beat=str(number))
        found = read(uri)
        assert found is not None
        assert swap(uri, found, renewed.to_json())
        assert not acquired.wait(0.1)
    waiter.join()
    assert acquired.is_set()


def test_a_lease_that_its_creator_never_filled_is_taken_over(uri: str, quick: None) -> None:
    create(uri, b"")
    told: list[Holder | None] = []
    with hold(uri, "next", waiting=told.append) as held:
        held.check()
    assert told[0] is None


def test_a_holder_renews_its_lease(uri: str, quick: None) -> None:
    with hold(uri, "demo") as held:
        first = current(uri)
        while current(uri) == first:
            time.sleep(0.01)
        held.check()
    assert read(uri) is None


def test_who_lost_a_lease_hears_of_it_and_leaves_the_other_one(uri: str, quick: None) -> None:
    with hold(uri, "suspended") as held:
        found = read(uri)
        while found is None or not swap(uri, found, elsewhere().to_json()):  # the heartbeat may come between
            found = read(uri)
        with pytest.raises(LeaseLostError, match=r"taken over by run other on far-away,.*not published"):
            held.check()
    assert str(current(uri)).startswith("run other on far-away")


def test_a_removed_lease_is_lost(uri: str) -> None:
    with hold(uri, "demo") as held:
        os.unlink(uri)
        with pytest.raises(LeaseLostError, match="is gone"):
            held.check()


def test_a_heartbeat_that_fails_is_said_and_tried_again(
    uri: str, quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = iter([OSError(28, "No space left on device")])

    def sometimes(uri: str, expected: bytes, data: bytes | None) -> bool:
        if error := next(failing, None):
            raise error
        return swap(uri, expected, data)

    monkeypatch.setattr(lease, "swap", sometimes)
    with caplog.at_level(logging.WARNING), hold(uri, "demo"):
        first = current(uri)
        while current(uri) == first:
            time.sleep(0.01)
    assert "cannot renew" in caplog.text
    assert read(uri) is None


def _race(start: Barrier, uri: str, winners: str, rounds: int) -> None:
    for number in range(rounds):
        start.wait(PATIENCE_S)
        try:
            with hold(f"{uri}.{number}", str(os.getpid()), wait=False) as held:
                held.check()
                with open(winners, "a") as file:
                    file.write(f"{number}\n")
                start.wait(PATIENCE_S)  # still holding it
        except LeaseHeldError:
            start.wait(PATIENCE_S)


def test_of_several_that_take_over_one_wins(uri: str, tmp_path: Path) -> None:
    rounds, processes = 12, 4
    for number in range(rounds):
        create(f"{uri}.{number}", ended_process().to_json())
    context = multiprocessing.get_context("spawn")
    start, winners = context.Barrier(processes), tmp_path / "winners"
    racers = [context.Process(target=_race, args=(start, uri, str(winners), rounds)) for _ in range(processes)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * processes
    assert [int(line) for line in winners.read_text().split()] == list(range(rounds))

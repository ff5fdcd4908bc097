"""The one wrapper around every stage: reuse, resume, force, and what is said when something is wrong."""

from __future__ import annotations

import dataclasses
import errno
import multiprocessing
import os
import re
import threading
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from pathlib import Path

import pytest

from storage import lease
from storage.artifact import FileEntry, Manifest, Outcome, new_file, read_manifest
from storage.lease import current, hold
from storage.uri import exists, listing
from tasks.progress import listening
from tasks.stage import StageError, StagePlan, StageRecord, execute


@pytest.fixture
def plan(tmp_path: Path) -> StagePlan:
    return StagePlan(
        stage="mix",
        name="x",
        uri=str(tmp_path / "mix" / "x-0123456789ab"),
        fingerprint="0123456789ab" * 5,
        algorithm_version="1",
        literals={"seed": 1},
        inputs={"binarize": "ab" * 32},
        libraries={},
        rerun="hibari run x.yaml --only mix",
    )


def writing(text: bytes) -> Callable[[str], Outcome]:
    def work(out: str) -> Outcome:
        with new_file(out, "data") as file:
            file.write(text)
        return Outcome([FileEntry.of("data", file)], {"samples": len(text)})

    return work


def refuse(out: str) -> Outcome:
    raise AssertionError("must not run")


def test_done_once_then_reused(plan: StagePlan) -> None:
    first = execute(plan, writing(b"abc"))
    assert (first.status, first.counts) == ("done", {"samples": 3})
    second = execute(plan, refuse)
    assert (second.status, second.content_digest) == ("reused", first.content_digest)


def test_not_selected_is_absent_and_named_by_who_needs_it(plan: StagePlan) -> None:
    absent = execute(dataclasses.replace(plan, selected=False), refuse)
    assert not absent.complete
    with pytest.raises(StageError, match="mix: its input mix is not there"):
        execute(plan, refuse, needs=[absent])
    complete = StageRecord("mix", "u", "f", "reused")
    assert execute(plan, writing(b"abc"), needs=[complete]).complete


def test_a_forced_rerun_that_agrees_leaves_one_artifact(plan: StagePlan) -> None:
    first = execute(plan, writing(b"abc"))
    forced = execute(dataclasses.replace(plan, force=True), writing(b"abc"))
    assert (forced.status, forced.content_digest) == ("done", first.content_digest)
    assert not exists(f"{plan.uri}.again")


def test_a_forced_rerun_that_differs_fails_and_keeps_both(plan: StagePlan) -> None:
    execute(plan, writing(b"abc"))
    with pytest.raises(StageError, match=r"forced rerun gave other content .* both are kept"):
        execute(dataclasses.replace(plan, force=True), writing(b"abd"))
    assert read_manifest(plan.uri) is not None
    assert read_manifest(f"{plan.uri}.again") is not None


def test_a_failure_says_what_where_and_how_to_go_on(plan: StagePlan) -> None:
    def fail(out: str) -> Outcome:
        raise ValueError("weights must be above zero, got -1")

    with pytest.raises(StageError) as caught:
        execute(plan, fail)
    message = str(caught.value)
    assert "mix failed: ValueError: weights must be above zero, got -1" in message
    assert "binarize abababababab" in message
    assert "rerun: hibari run x.yaml --only mix" in message
    assert read_manifest(plan.uri) is None


def test_a_full_disk_is_said_in_words_and_leaves_nothing_half_visible(plan: StagePlan) -> None:
    def fill(out: str) -> Outcome:
        with new_file(out, "data") as file:
            file.write(b"the beginning")
            with open("/dev/full", "wb", buffering=0) as full:
                full.write(b"the rest")
        raise AssertionError("it was written")

    with pytest.raises(StageError) as caught:
        execute(plan, fill)
    message = str(caught.value)
    assert re.search(r"mix failed: the disk is full: \S+ has [\d,.]+ MB free of", message)
    assert "give another root with --root" in message
    assert "rerun: hibari run x.yaml --only mix" in message
    assert listing(plan.uri) == ["_attempts.json"]
    assert not exists(f"{plan.uri}.lease")
    assert list(Path(plan.uri).glob(".*")) == []
    assert execute(plan, writing(b"abc")).status == "done"


def test_a_disk_that_is_full_when_the_manifest_is_written_is_said_too(
    plan: StagePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(artifact: str, manifest: Manifest) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tasks.stage.seal", full)
        with pytest.raises(StageError, match="mix failed: the disk is full"):
            execute(plan, writing(b"abc"))
    assert read_manifest(plan.uri) is None
    assert execute(plan, writing(b"abc")).status == "done"


def test_what_killed_writers_left_is_removed_first(plan: StagePlan) -> None:
    left = Path(plan.uri, "documents", ".part-0.parquet.0123abcd.tmp")
    left.parent.mkdir(parents=True)
    left.touch()
    (left.parent / ".keep.tmp").touch()
    execute(plan, writing(b"abc"))
    assert [path.name for path in left.parent.iterdir()] == [".keep.tmp"]


def slow_work(out: str) -> Outcome:
    """Writes one line for each time that it runs, and takes as long as the file `go` is missing."""
    with open(f"{out}.calls", "a") as calls:
        calls.write(f"{os.getpid()}\n")
    while not Path(f"{out}.go").exists():
        time.sleep(0.01)
    return writing(b"abc")(out)


def execute_aside(plan: StagePlan, answers: Queue[tuple[str, list[str]]]) -> None:
    said: list[str] = []
    with listening(lambda progress: said.append(progress.note)):
        record = execute(plan, slow_work)
    answers.put((record.status, said))


def test_of_two_processes_one_works_and_the_other_waits_and_reuses(plan: StagePlan) -> None:
    Path(plan.uri).parent.mkdir()
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    processes = [context.Process(target=execute_aside, args=(plan, answers)) for _ in range(2)]
    for process in processes:
        process.start()
    calls = Path(f"{plan.uri}.calls")
    while not (calls.exists() and calls.read_text()):
        time.sleep(0.01)
    holder = current(f"{plan.uri}.lease")
    assert holder is not None
    with pytest.raises(StageError, match=rf"mix: run x on .*, pid {holder.pid}, .*--no-wait was given(.|\n)*rerun: "):
        execute(dataclasses.replace(plan, wait=False), refuse)
    time.sleep(lease.POLL_S)  # time for the other one to look, which it also may do later
    Path(f"{plan.uri}.go").touch()
    said = dict(answers.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert said.keys() == {"done", "reused"}
    assert calls.read_text() == f"{holder.pid}\n"
    assert not exists(f"{plan.uri}.lease")


def test_waiting_is_reported_with_whom_for(plan: StagePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "POLL_S", 0.01)
    said: list[str] = []

    def second() -> None:
        with listening(lambda progress: said.append(progress.note)):
            execute(plan, refuse)

    waiter = threading.Thread(target=second)
    with hold(f"{plan.uri}.lease", "the other") as held:
        waiter.start()
        while not said:
            time.sleep(0.01)
        elsewhere = dataclasses.replace(plan, uri=f"{plan.uri}-elsewhere")
        execute(elsewhere, writing(b"abc"))
        os.rename(elsewhere.uri, plan.uri)  # the other run has made it
    waiter.join()
    assert said[0] == f"waiting for {held.holder}, which is making {plan.uri}"


def test_nothing_is_sealed_by_who_lost_the_lease(plan: StagePlan) -> None:
    def suspended(out: str) -> Outcome:
        os.unlink(f"{plan.uri}.lease")
        return writing(b"abc")(out)

    with pytest.raises(StageError, match=r"mix failed: LeaseLostError: .* is gone"):
        execute(plan, suspended)
    assert read_manifest(plan.uri) is None

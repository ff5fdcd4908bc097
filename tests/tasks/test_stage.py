"""The one wrapper around every stage: reuse, resume, force, and what is said when something is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.artifact import FileEntry, Outcome, new_file, read_manifest
from storage.uri import exists
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

"""What a run that continues another needs stays, and what both have read is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from flows.config import load_run
from flows.plan import Plan, make_plan
from flows.prune import plan_prune
from flows.takedown import take_down
from flows.takedown_training import ranges
from storage.mixture import Mixture
from tests.flows.small_root import complete, make_data_stages, pretend_to_train, write_run_with_urls

STEPS, CONTINUED, BATCH = 6, 3, 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan, Plan]:
    """A run file, its finished run of six steps, and one that continues the third with other weights."""
    path = write_run_with_urls(tmp_path_factory.mktemp("continued"))
    before = make_data_stages(load_run(path))
    pretend_to_train(before, steps=STEPS, saved=(CONTINUED, STEPS))
    settings = [
        f"mix.continues={{training: '{before.train.uri}', step: {CONTINUED}}}",
        "sources.corpus.weight=0.5",
        "sources.web-en.weight=0.5",
        "mix.max_epochs=100",
    ]
    after = make_data_stages(load_run(path, settings))
    complete(after.initialize)
    complete(after.train, steps=STEPS)
    return path, before, after


def folder(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]


def test_what_is_continued_is_kept_although_no_run_names_it(made: tuple[Path, Plan, Plan]) -> None:
    path, before, after = made
    assert before.mix.uri != after.mix.uri
    goes = {(leftover.stage, leftover.name) for leftover in plan_prune(str(path.parent / "runs")).remove}
    assert ("export", folder(before.export.uri)) in goes
    assert not goes & {("mix", folder(before.mix.uri)), ("train", folder(before.train.uri))}
    assert make_plan(load_run(path)).mix.uri == before.mix.uri


def test_a_takedown_finds_what_was_read_before_the_mixture_changed(made: tuple[Path, Plan, Plan]) -> None:
    path, before, after = made
    wanted = path.parent / "list.txt"
    wanted.write_text("old.example.org\nhttps://www.example.org/3.html\n")
    facts = take_down(wanted, load_run(path), "run.yaml", "request", Console(quiet=True), dry_run=True)
    ids = {bytes.fromhex(row["id"]) for row in facts["documents"]}
    rows = {row["artifact"]: row for row in facts["trainings"]}
    read = {}
    for plan, first, last in ((before, 0, STEPS), (after, CONTINUED, STEPS)):
        with Mixture.open(plan.mix.uri) as mixture:
            here = range(first * BATCH, last * BATCH)
            read[plan.mix.uri] = [i for i in here if ids & set(mixture.document_ids(mixture.trace(i)))]
    early = [i for i in read[before.mix.uri] if i < CONTINUED * BATCH]
    assert early, "else nothing is shown"
    for plan, samples in ((before, read[before.mix.uri]), (after, early + read[after.mix.uri])):
        row = rows[folder(plan.train.uri)]
        assert row["not_traced"] == []
        assert row["steps_that_read"] == ranges(np.array([i // BATCH + 1 for i in samples]))
        assert row["samples"] == len(samples)

"""Checkpoints scored by themselves: while training runs, none twice, and shown together."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from flows.checkpoints import by_checkpoint, score_rows, unscored_steps
from flows.config import RunConfig, load_run
from flows.plan import Plan, make_plan, plan_at_step
from flows.records import kept_runs
from flows.selection import Selection
from storage.artifact import read_manifest
from tests.flows.conftest import Hibari, Swept


@pytest.fixture(scope="module")
def run(swept: Swept) -> RunConfig:
    """A finished run with checkpoints at steps 2, 4 and 6, of which the sweep has scored 4 and the last."""
    return load_run(swept.run_file("as-is"))


@pytest.fixture(scope="module")
def evaluated(swept: Swept, run: RunConfig, hibari: Hibari) -> str:
    """What `hibari evaluate` says while training has not ended as far as its manifest tells."""
    train = Path(make_plan(run).train.uri)
    assert unscored_steps(run) == [2]
    (train / "manifest.json").rename(train / "hidden.json")
    try:
        result = hibari("evaluate", str(swept.run_file("as-is")))
    finally:
        (train / "hidden.json").rename(train / "manifest.json")
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_a_checkpoint_is_scored_while_training_runs(evaluated: str, run: RunConfig) -> None:
    plan = make_plan(run, Selection(step=2))
    exported, scored = read_manifest(plan.export.uri), read_manifest(plan.evaluate.uri)
    assert exported is not None
    assert scored is not None
    assert exported.counts["steps"] == 2
    assert scored.counts["models"] == 1, "only the trained model: the others are scored once, by the run"
    assert "to score: the checkpoints of steps 2" in evaluated
    assert unscored_steps(run) == []


def test_the_checkpoints_of_a_run_are_different_models(evaluated: str, run: RunConfig) -> None:
    plan = make_plan(run)
    digests = {step: read_digest(plan_at_step(run, plan, step)) for step in (2, 4, 6)}
    assert len(set(digests.values())) == 3


def read_digest(plan: Plan) -> str:
    manifest = read_manifest(plan.export.uri)
    assert manifest is not None
    return manifest.content_digest


def test_scores_stand_together_with_what_came_before_training(evaluated: str, run: RunConfig) -> None:
    rows = score_rows(run)
    found = [(row["step"], row["model"], row["tokens"]) for row in rows if row["metric"] == "bits_per_byte"]
    assert list(dict.fromkeys(found)) == [
        (0, "base", 0),
        (0, "initialized", 0),
        (2, "trained", 512),
        (4, "trained", 1024),
        (6, "trained", 1536),
    ]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows if row["metric"] == "accuracy")
    last = by_checkpoint(rows)[-1]
    assert last["checkpoint"] == "step 6"
    assert {"ja bits per byte", "en bits per byte", "ja probe", "en probe"} <= set(last)
    assert "step 2" in evaluated


def test_each_checkpoint_has_a_run_record(evaluated: str, run: RunConfig, swept: Swept) -> None:
    keys = {record.key: record for record in kept_runs(str(swept.root))}
    assert {"tiny@as-is", "tiny@as-is@step-2", "tiny@as-is@step-4"} <= set(keys)
    assert keys["tiny@as-is@step-2"].uri(run.root, "evaluate") == make_plan(run, Selection(step=2)).evaluate.uri


def test_prefect_shows_the_curve_under_stable_keys(evaluated: str, prefect_environment: dict[str, str]) -> None:
    def latest(key: str) -> dict[str, Any]:
        url = f"{prefect_environment['PREFECT_API_URL']}/artifacts/{key}/latest"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)

    assert [row["checkpoint"] for row in json.loads(latest("tiny-as-is-checkpoints")["data"])][-1] == "step 6"
    assert latest("tiny-as-is-checkpoints-curve")["data"].startswith("data:image/png;base64,")
    assert "slow-lr" in latest("tiny-ablation-comparison")["data"]


def test_again_there_is_nothing_to_do(evaluated: str, swept: Swept, hibari: Hibari) -> None:
    again = hibari("evaluate", str(swept.run_file("as-is")), PYTHONPROFILEIMPORTTIME="1")
    assert again.returncode == 0
    assert "nothing to do: no saved checkpoint is without scores" in again.stdout
    assert "| prefect\n" not in again.stderr, "not even Prefect is started"


def test_a_step_that_is_not_saved_is_an_error_with_those_that_are(swept: Swept, hibari: Hibari) -> None:
    for command in ("run", "evaluate"):
        missing = hibari(command, str(swept.run_file("as-is")), "--step", "3")
        assert missing.returncode == 2
        assert "no checkpoint of step 3" in missing.stderr
        assert "saved are 2, 4, 6" in missing.stderr
    beyond = hibari("evaluate", str(swept.run_file("as-is")), "--step", "7")
    assert beyond.returncode == 2
    assert "expected one of the run's steps, 1 to 6" in beyond.stderr

"""With a growing batch, the plan, the mixture, what steps are shown to read and what a takedown finds all agree."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from flows.cli import app
from flows.config import RunConfig, load_run
from flows.plan import Plan, make_plan
from flows.takedown import take_down
from flows.takedown_report import markdown
from flows.takedown_training import ranges
from storage.artifact import read_manifest
from storage.mixture import Mixture
from tasks.train.job import make_job
from tests.flows.small_root import make_data_stages, pretend_to_train, write_run_with_urls
from trainer.skipped import SkippedSamples, append_skipped

RAMP = "batch_ramp: {start: 2, increment: 2, samples: 6}"
# Of 24 samples: three steps of 2, then of 4; the last two make no step.
BATCHES = [2, 2, 2, 4, 4, 4, 4]
STEP_OF = [step for step, batch in enumerate(BATCHES, start=1) for _ in range(batch)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunConfig, Plan]:
    path = write_run_with_urls(tmp_path_factory.mktemp("growing"))
    path.write_text(path.read_text().replace("global_batch: 4", f"global_batch: 4\n  {RAMP}"))
    run = load_run(path)
    plan = make_data_stages(run)
    pretend_to_train(plan, steps=run.num_steps, saved=(3, 7))
    return path, run, plan


def test_plan_and_mixture_have_the_steps_that_the_ramp_makes(made: tuple[Path, RunConfig, Plan]) -> None:
    path, run, plan = made
    assert run.num_steps == len(BATCHES)
    assert [run.tokens_after(step) // 64 for step in range(8)] == np.cumsum([0, *BATCHES]).tolist()
    manifest = read_manifest(plan.mix.uri)
    assert manifest is not None
    assert manifest.counts["samples"] == sum(BATCHES)
    without = make_plan(load_run(path, ["train.batch_ramp=null"]))
    assert "batch_ramp" not in without.mix.literals, "artifacts of runs without a ramp stay as they are"


def test_training_is_told_as_many_steps(made: tuple[Path, RunConfig, Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    _, run, plan = made
    for name in ("load_encoder", "check_texts", "bytes_per_token"):
        monkeypatch.setattr(f"tasks.train.job.{name}", lambda *arguments: {})
    manifest = read_manifest(plan.mix.uri)
    assert manifest is not None
    mixture: Any = SimpleNamespace(uri=plan.mix.uri, counts=manifest.counts)
    job = make_job(
        run.train, base_model="b", model="m", tokenizer="t", languages={}, tokens=mixture, mixture=mixture, seed=1,
        out="o", fingerprint="f",
    )  # fmt: skip
    assert job.num_steps == len(BATCHES)


def test_steps_are_shown_with_the_samples_that_they_read(made: tuple[Path, RunConfig, Plan]) -> None:
    def shown(*options: str) -> list[tuple[int, int]]:
        result = CliRunner().invoke(app, ["mix", "show", str(made[0]), "--json", *options])
        assert result.exit_code == 0, result.output
        return [(sample["step"], sample["sample"]) for sample in json.loads(result.output)]

    assert shown("--step", "1", "--last", "7") == [(step, i) for i, step in enumerate(STEP_OF)]
    assert shown("--step", "4") == [(4, 6), (4, 7), (4, 8), (4, 9)]
    beyond = CliRunner().invoke(app, ["mix", "show", str(made[0]), "--step", "8"])
    assert beyond.exit_code == 2
    held_out = shown("--step", "1", "--split", "validation")
    assert {step for step, _ in held_out} == {1}
    assert len(held_out) > 2, "batches of held-out samples do not grow"


def test_a_takedown_finds_the_steps_and_what_the_spike_guard_had_left_out(made: tuple[Path, RunConfig, Plan]) -> None:
    path, run, plan = made
    (path.parent / "list.txt").write_text("old.example.org\nhost:www.example.org\n")

    def found() -> tuple[dict[str, Any], str]:
        facts = take_down(path.parent / "list.txt", run, "run.yaml", "request", Console(quiet=True), dry_run=True)
        (training,) = facts["trainings"]
        wanted = {bytes.fromhex(row["id"]) for row in facts["documents"]}
        with Mixture.open(plan.mix.uri) as mixture:
            reading = [i for i in range(len(mixture)) if wanted & set(mixture.document_ids(mixture.trace(i)))]
        assert training["steps_that_read"] == ranges(np.array([STEP_OF[i] for i in reading]))
        assert training["samples"] == len(reading) > 4
        return training, markdown(facts)

    training, page = found()
    assert training["left_out"] == 0
    assert "Of 7 steps of at most 4 sequences each, these read it: " in page
    assert "left no trace" not in page
    row = SkippedSamples(step=5, first_sample=6, last_sample=13, num_steps=2, action="rewind", reason="loss")
    for _ in range(2):  # ranges of rows may overlap
        append_skipped(Path(plan.train.uri), row)
    training, page = found()
    assert 0 < training["left_out"] <= 8
    assert f"Of these samples {training['left_out']} left no trace in the weights (`skipped.jsonl`)." in page

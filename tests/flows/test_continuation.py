"""A run that continues another with other weights: what it is made of, what it needs, and that it trains on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.checkpoints import require_checkpoint
from flows.config import ConfigError, RunConfig, load_run
from flows.plan import Plan, make_plan
from storage.uri import write_bytes
from tests.flows.conftest import Hibari, write_run
from tests.flows.small_root import complete, save_checkpoints
from trainer.checkpoint import content_digest, read_manifest
from trainer.rows import read_rows


def changes(training: str, step: int) -> list[str]:
    """The settings of a run of eight steps whose weights change after `step`."""
    return [
        f"mix.continues={{training: '{training}', step: {step}}}",
        f"mix.train_tokens={64 * 4 * 8}",
        "sources.corpus.weight=0.5",
        "sources.web-en.weight=0.5",
        "train.keep_checkpoints=9",
    ]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunConfig, Plan]:
    """A run that has mixed, and trains: checkpoints of steps 2 and 4 are saved."""
    path = write_run(tmp_path_factory.mktemp("continuation"))
    run = load_run(path)
    plan = make_plan(run)
    complete(plan.mix)
    save_checkpoints(plan, (2, 4))
    job = {"mixture": plan.mix.uri, "fingerprint": plan.train.fingerprint}
    write_bytes(f"{plan.train.uri}/job.json", json.dumps(job).encode())
    return path, run, plan


def test_it_is_made_of_the_earlier_training_and_its_mixture(earlier: tuple[Path, RunConfig, Plan]) -> None:
    path, _, before = earlier
    at = make_plan(load_run(path, changes(before.train.uri, 4)))
    assert at.train.inputs["continued training"] == before.train.fingerprint
    assert at.mix.inputs["continued mixture"] == before.mix.fingerprint
    assert at.binarize.fingerprint == before.binarize.fingerprint
    assert at.train.recorded["continues"] == {"training": before.train.uri, "step": 4}
    other = make_plan(load_run(path, changes(before.train.uri, 2)))
    assert other.train.fingerprint != at.train.fingerprint
    moved = before.train.uri.replace("/train/", "/../runs/train/")
    assert make_plan(load_run(path, changes(moved, 4))).train.fingerprint == at.train.fingerprint


def test_the_checkpoint_is_needed_until_training_has_its_own(earlier: tuple[Path, RunConfig, Plan]) -> None:
    path, _, before = earlier
    require_checkpoint(make_plan(load_run(path, changes(before.train.uri, 4))))
    at = make_plan(load_run(path, changes(before.train.uri, 3)))
    with pytest.raises(ConfigError, match=r"no checkpoint of step 3 in .*; saved are 2, 4"):
        require_checkpoint(at)
    save_checkpoints(at, [6])
    require_checkpoint(at)


def test_a_training_that_is_not_there_is_a_problem_of_the_run_file(earlier: tuple[Path, RunConfig, Plan]) -> None:
    path, run, _ = earlier
    with pytest.raises(ConfigError, match=r"mix\.continues.*is no training"):
        make_plan(load_run(path, changes(f"{run.root}/train/tiny-000000000000", 4)))


@pytest.mark.slow
def test_nine_to_one_becomes_five_to_five_after_four_steps(tmp_path: Path, hibari: Hibari) -> None:
    path = write_run(tmp_path)
    first = ("--set", "train.save_every=2", "--set", "train.keep_checkpoints=9")
    result = hibari("run", str(path), "--until", "train", *first)
    assert result.returncode == 0, result.stderr
    before = make_plan(load_run(path, first[1::2]))
    settings = [*first[1::2], *changes(before.train.uri, 4)]
    options = [part for setting in settings for part in ("--set", setting)]
    result = hibari("run", str(path), "--until", "train", *options)
    assert result.returncode == 0, result.stderr
    at = make_plan(load_run(path, settings))
    folder = Path(at.train.uri)
    assert [row["step"] for row in read_rows(folder / "metrics.jsonl")] == [5, 6, 7, 8]
    assert json.loads((folder / "start_checks.json").read_text())["continued"]["step"] == 4
    again = hibari("run", str(path), "--until", "train", *options)
    assert "nothing to do" in again.stdout
    last = folder / "checkpoints/step-00000008"
    manifest = read_manifest(last)
    assert (manifest["step"], manifest["consumed_samples"]) == (8, 32)
    for left in ("manifest.json", "checkpoints/step-00000008/manifest.json"):  # as if killed in step 7
        (folder / left).unlink()
    result = hibari("run", str(path), "--only", "train", *options)
    assert result.returncode == 0, result.stderr
    assert content_digest(last) == manifest["content_digest"]
    shown = hibari("mix", "show", str(path), "--step", "1", "--last", "8", "--json", *options)
    samples = json.loads(shown.stdout)
    assert [sample["sample"] for sample in samples] == list(range(32))
    english = [sum(s["source"] == "web-en" for s in part) for part in (samples[:16], samples[16:])]
    assert english == [2, 8]
    missing = hibari("run", str(path), "--until", "train", *options, "--set", "mix.continues.step=5")
    assert missing.returncode == 2
    assert "no checkpoint of step 5" in missing.stderr

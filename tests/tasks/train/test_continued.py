"""The training that another one continues is told by its fingerprint, and its checkpoints are found where they lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.artifact import Manifest, seal
from storage.checkpoints import FOLDER
from storage.uri import write_bytes
from tasks.train.continued import continued_checkpoint, training_fingerprint
from tasks.train.launch import launch, work_folder
from tests.trainer.ranks import tiny_job

FINGERPRINT = "0123456789ab" + "0" * 52


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIBARI_CACHE", str(tmp_path / "cache"))


def save(folder: str, step: int) -> None:
    write_bytes(f"{folder}/{FOLDER}/step-{step:08}/manifest.json", b"{}")


def test_a_finished_training_is_known_by_its_manifest(tmp_path: Path) -> None:
    uri = str(tmp_path / "train/demo-0123456789ab")
    seal(uri, Manifest("train", "demo", FINGERPRINT, "1", {}, {}, {}, [], {}, "", "2026-01-01T00:00:00+00:00", 1.0))
    assert training_fingerprint(uri) == FINGERPRINT


@pytest.mark.parametrize("root", ["folder", "memory://bucket"])
def test_an_unfinished_one_by_its_job_wherever_it_works(tmp_path: Path, root: str) -> None:
    uri = f"{tmp_path / root if root == 'folder' else root}/train/demo-0123456789ab"
    write_bytes(str(work_folder(uri) / "job.json"), json.dumps({"fingerprint": FINGERPRINT}).encode())
    assert training_fingerprint(uri) == FINGERPRINT


def test_what_is_no_training_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"mixture": "runs/mix/x"}')
    with pytest.raises(ValueError, match="is no training: it has neither a manifest nor"):
        training_fingerprint(str(tmp_path))


def test_checkpoints_lie_in_the_artifact_or_where_training_works(tmp_path: Path) -> None:
    local, remote = str(tmp_path / "train/demo-0123456789ab"), "memory://bucket/train/other-0123456789ab"
    save(local, 4)
    save(remote, 6)
    save(str(work_folder(remote)), 4)
    assert continued_checkpoint(local, 4) == f"{local}/checkpoints/step-00000004"
    assert continued_checkpoint(remote, 6) == f"{remote}/checkpoints/step-00000006"
    assert continued_checkpoint(remote, 4) == f"{work_folder(remote)}/checkpoints/step-00000004"


def test_a_launch_without_the_checkpoint_says_which_there_are(tmp_path: Path) -> None:
    earlier = str(tmp_path / "train/earlier")
    save(earlier, 2)
    save(earlier, 6)
    job = tiny_job(tmp_path, continued=continued_checkpoint(earlier, 4))
    with pytest.raises(ValueError, match=r"no checkpoint of step 4 in .*earlier/checkpoints; saved are 2, 6"):
        launch(job, out=str(tmp_path / "later"), nproc=1, progress=None, log=print)
    assert not (tmp_path / "later/logs").exists(), "nothing was started"

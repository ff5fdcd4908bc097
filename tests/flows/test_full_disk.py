"""A real disk that fills up, in the first stage and between two checkpoints: what is said, visible, and kept."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.flows.conftest import ROOT
from tests.flows.test_kill import SAVE_EVERY, STEPS, Run, write_long_run

pytestmark = pytest.mark.slow

PRIVATE_MOUNT = ["unshare", "-m"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, prefect_environment: dict[str, str]) -> Run:
    folder = tmp_path_factory.mktemp("full-disk")
    run = Run(write_long_run(folder), folder / "undisturbed", prefect_environment)
    run.finish("--until", "train")
    return run


@pytest.fixture(scope="module")
def filled(undisturbed: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `tests.flows.small_disk` reports."""
    disk = tmp_path_factory.mktemp("disk")
    trial = ["sh", "-c", f"mount -t tmpfs -o size=64k tmpfs {disk}"]
    try:
        subprocess.run([*PRIVATE_MOUNT, *trial], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this user may not mount a disk for a test: {error}")
    checkpoint = undisturbed.folder("train") / f"checkpoints/step-{STEPS:08}"
    size = sum(file.stat().st_size for file in checkpoint.iterdir())
    done = subprocess.run(
        [*PRIVATE_MOUNT, sys.executable, "-m", "tests.flows.small_disk", str(undisturbed.file), str(disk), str(size)],
        cwd=ROOT,
        env=undisturbed.environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_stage_that_meets_a_full_disk_says_so_and_keeps_its_finished_shards(filled: dict[str, Any]) -> None:
    failed = filled["full in curate"]
    assert failed["status"] == 1
    assert "error: curate failed: the disk is full: " in failed["said"]
    assert "MB free of 0.1 MB. Nothing half-written is visible" in failed["said"]
    assert "rerun: hibari run" in failed["said"]
    assert not [name for name in failed["files"] if name.endswith(("manifest.json", ".tmp", ".lease"))]
    records = [name for name in failed["files"] if "_shards/" in name]
    assert 0 < len(records) < 3
    assert filled["with room"]["status"] == 0
    assert f"{len(records)} of 3 shards were already done" in filled["with room"]["said"]


def test_training_that_meets_a_full_disk_keeps_its_last_checkpoint_and_goes_on(
    filled: dict[str, Any], undisturbed: Run
) -> None:
    failed = filled["full in train"]
    assert failed["status"] == 1
    assert "error: train failed: the disk is full: " in failed["said"]
    assert f"step {2 * SAVE_EVERY} could not be saved" in failed["said"]
    saved = {name.split("checkpoints/")[1].split("/")[0] for name in failed["files"] if "checkpoints/" in name}
    assert saved == {f"step-{SAVE_EVERY:08}"}
    assert filled["with room again"]["status"] == 0
    assert filled["digest"] == undisturbed.digest("train")

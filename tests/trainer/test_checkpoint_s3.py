"""Checkpoints are mirrored to a real S3 server, pruned there, and fetched again by another number of ranks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage.checkpoints import checkpoint_uri, read_manifest, saved_steps, verify
from storage.uri import filesystem, listing
from tests.storage.test_s3 import s3_root  # noqa: F401
from tests.trainer.ranks import run_ranks
from tests.trainer.test_checkpoint_writer import DIGEST, Numbers, configured
from trainer.checkpoint import TrainState, load, newest
from trainer.checkpoint_writer import CheckpointWriter
from trainer.mesh import Mesh

pytestmark = pytest.mark.slow


def _save(mesh: Mesh, environment: dict[str, str], folder: Path, mirror: str, steps: list[int]) -> None:
    os.environ.update(environment)  # ranks are forked from a server that was started before the store was
    numbers = Numbers(mesh)
    with CheckpointWriter(folder, mesh, configured(keep_every=3), DIGEST, mirror) as writer:
        for step in steps:
            numbers.train()
            writer.save(TrainState(step, 8 * step), numbers)


def _resume(mesh: Mesh, environment: dict[str, str], folder: Path, mirror: str) -> TrainState:
    os.environ.update(environment)
    path = newest(folder, mesh, mirror)
    assert path is not None
    return load(path, Numbers(mesh), mesh, DIGEST)


def test_a_checkpoint_survives_its_machine(s3_root: str, tmp_path: Path) -> None:  # noqa: F811
    mirror = f"{s3_root}/train/demo-0123/checkpoints"
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    fs, path = filesystem(f"{mirror}/step-00000009/__0_0.distcp")
    bucket, key, _ = fs.split_path(path)
    fs.call_s3("create_multipart_upload", Bucket=bucket, Key=key)  # as a killed upload leaves it
    run_ranks(2, _save, environment, tmp_path / "lost", mirror, [1, 2, 3, 4, 5])
    assert saved_steps(mirror) == [3, 4, 5]
    assert {name.split("/")[0] for name in listing(mirror)} == {"step-00000003", "step-00000004", "step-00000005"}
    assert fs.list_multipart_uploads(bucket) == []
    assert verify(checkpoint_uri(mirror, 5)) == []
    assert read_manifest(checkpoint_uri(mirror, 5)) == read_manifest(tmp_path / "lost/step-00000005")
    (tmp_path / "new").mkdir()
    assert run_ranks(3, _resume, environment, tmp_path / "new", mirror) == [TrainState(5, 40)] * 3
    assert verify(tmp_path / "new/step-00000005") == []
    fs.rm(filesystem(checkpoint_uri(mirror, 5))[1] + "/__0_0.distcp")
    (tmp_path / "newer").mkdir()
    assert run_ranks(1, _resume, environment, tmp_path / "newer", mirror) == [TrainState(4, 32)]

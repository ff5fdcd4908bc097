"""Which checkpoints are saved: whole ones only, whatever else lies in the folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from storage.checkpoints import (
    checkpoint_uri,
    copy_files,
    files,
    kept_steps,
    prune,
    read_manifest,
    saved_checkpoint,
    saved_steps,
    verify,
    wrong_files,
)
from storage.uri import listing, write_bytes


def test_only_whole_checkpoints_count(tmp_path: Path) -> None:
    for step in (200, 50):
        folder = Path(checkpoint_uri(str(tmp_path), step))
        folder.mkdir()
        (folder / "manifest.json").write_text("{}")
    (tmp_path / "step-00000100").mkdir()  # without a manifest: being deleted
    (tmp_path / ".step-00000250.tmp").mkdir()
    (tmp_path / ".step-00000250.tmp" / "manifest.json").write_text("{}")
    assert saved_steps(str(tmp_path)) == [50, 200]


def test_a_training_that_has_not_begun_has_none(tmp_path: Path) -> None:
    assert saved_steps(str(tmp_path / "nowhere")) == []


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for step in (150, 200):
        (tmp_path / f"step-{step:08}").mkdir()
        (tmp_path / f"step-{step:08}" / "manifest.json").write_text("{}")
    return str(tmp_path)


def test_a_saved_checkpoint_is_taken(folder: str) -> None:
    assert saved_checkpoint(checkpoint_uri(folder, 150)) == f"{folder}/step-00000150"


def test_a_deleted_one_is_an_error_that_lists_the_saved_ones(folder: str) -> None:
    with pytest.raises(ValueError, match=r"no checkpoint of step 100 .* saved are 150, 200.*train\.keep_checkpoints"):
        saved_checkpoint(checkpoint_uri(folder, 100))


def test_before_the_first_one_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="saved are none"):
        saved_checkpoint(checkpoint_uri(str(tmp_path / "checkpoints"), 100))


def test_what_is_kept_is_the_newest_and_the_multiples() -> None:
    steps = [20, 40, 60, 80, 100, 110]
    assert kept_steps(steps, newest=2, every=None) == {100, 110}
    assert kept_steps(reversed(steps), newest=1, every=40) == {40, 80, 110}
    assert kept_steps([], newest=3, every=10) == set()


def write_checkpoint(folder: str, step: int, **files: bytes) -> str:
    """A whole checkpoint of some files anywhere."""
    uri = checkpoint_uri(folder, step)
    for name, data in files.items():
        write_bytes(f"{uri}/{name}", data)
    entries = [{"path": n, "size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items()]
    write_bytes(f"{uri}/manifest.json", json.dumps({"schema_version": 1, "step": step, "files": entries}).encode())
    return uri


@pytest.mark.parametrize("folder", ["{tmp_path}/checkpoints", "memory://pruned/checkpoints"])
def test_others_and_unfinished_ones_are_removed_wherever_they_lie(folder: str, tmp_path: Path) -> None:
    folder = folder.format(tmp_path=tmp_path)
    for step in (10, 20, 30, 40, 50):
        write_checkpoint(folder, step, a=b"a")
    write_bytes(f"{folder}/step-00000025/a", b"the beginning")
    prune(folder, newest=2, every=20)
    assert saved_steps(folder) == [20, 40, 50]
    assert {name.split("/")[0] for name in listing(folder)} == {f"step-000000{step}" for step in (20, 40, 50)}


def test_every_difference_from_the_manifest_is_told(tmp_path: Path) -> None:
    uri = write_checkpoint(str(tmp_path), 5, same=b"same", changed=b"before", longer=b"long", gone=b"gone")
    assert verify(uri) == []
    (Path(uri) / "changed").write_bytes(b"AFTER!")
    (Path(uri) / "longer").write_bytes(b"longer")
    (Path(uri) / "gone").unlink()
    assert verify(uri) == ["changed differs from its sha256", "longer has 6 bytes, expected 4", "gone is missing"]
    assert wrong_files(uri, files(read_manifest(uri))[:1]) == []


def test_a_copy_of_damaged_files_is_refused(tmp_path: Path) -> None:
    uri = write_checkpoint(str(tmp_path), 5, a=b"a", b=b"b")
    copy_files(uri, str(tmp_path / "copy"), files(read_manifest(uri)))
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["a", "b"], "the manifest is the caller's"
    (Path(uri) / "b").write_bytes(b"c")
    with pytest.raises(ValueError, match="b was read with other bytes"):
        copy_files(uri, str(tmp_path / "other"), files(read_manifest(uri)))

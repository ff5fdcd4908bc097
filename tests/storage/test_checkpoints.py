"""Which checkpoints are saved: whole ones only, whatever else lies in the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.checkpoints import checkpoint_uri, saved_checkpoint, saved_steps


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

"""A full disk is told from other errors, whoever met it, and the message says where."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NamedTuple

import pytest

from storage.space import no_space


class Usage(NamedTuple):
    total: int = 5_000_000
    used: int = 4_990_000
    free: int = 10_000


def caused_by(cause: BaseException) -> Exception:
    try:
        raise RuntimeError("shard 3 failed") from cause
    except RuntimeError as error:
        return error


def test_the_errno_anywhere_in_the_chain_counts(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "new" / "part-0"))
    for error in (full, caused_by(full), caused_by(caused_by(full))):
        said = no_space(error, "elsewhere")
        assert said is not None
        assert said.startswith(f"the disk is full: {tmp_path} has ")
        assert "MB free of" in said


def test_a_quota_is_called_by_its_name(tmp_path: Path) -> None:
    said = no_space(OSError(errno.EDQUOT, "Disk quota exceeded"), str(tmp_path))
    assert said is not None
    assert said.startswith(f"the disk quota is used up: {tmp_path} has ")


def test_the_text_of_another_process_counts(tmp_path: Path) -> None:
    said = no_space(RuntimeError("rank 1: I/O error: No space left on device (os error 28)"), str(tmp_path))
    assert said is not None
    assert str(tmp_path) in said


def test_other_errors_are_left_alone(tmp_path: Path) -> None:
    assert no_space(OSError(errno.EACCES, "Permission denied"), str(tmp_path)) is None
    assert no_space(ValueError("weights must be above zero"), str(tmp_path)) is None
    assert no_space(ValueError("no such bucket"), "s3://bucket/runs") is None


def test_an_object_store_has_no_disk_but_this_machine_may_have_filled_its_own(tmp_path: Path) -> None:
    said = no_space(OSError(errno.ENOSPC, "No space left on device"), "s3://bucket/runs")
    assert said == "the disk is full (while writing for s3://bucket/runs)"


def test_a_failure_without_words_on_a_full_disk_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank whose log lies on the full disk too cannot say why it ended."""
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage())
    said = no_space(RuntimeError("training failed: rank 0, exit status 1"), str(tmp_path / "not" / "there"))
    assert said == f"the disk is full: {tmp_path} has 0.0 MB free of 5.0 MB"

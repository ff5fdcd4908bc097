"""Artifacts: complete only by their manifest, named by what they are made of."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from storage import artifact
from storage.artifact import FileEntry, Manifest


def make(folder: Path, text: bytes = b"data") -> str:
    uri = str(folder)
    with artifact.new_file(uri, "part-0") as file:
        file.write(text)
    files = [FileEntry.of("part-0", file)]
    manifest = Manifest(
        stage="curate",
        name="x",
        fingerprint="f" * 64,
        algorithm_version="1",
        literals={"min": 1},
        inputs={},
        libraries={},
        files=files,
        counts={"documents": 1},
        content_digest=artifact.content_digest(files),
        started="2026-01-01T00:00:00+00:00",
        seconds=1.0,
    )
    artifact.seal(uri, manifest)
    return uri


def test_files_without_a_manifest_are_not_an_artifact(tmp_path: Path) -> None:
    with artifact.new_file(str(tmp_path), "part-0") as file:
        file.write(b"data")
    assert artifact.read_manifest(str(tmp_path)) is None
    assert "no manifest" in artifact.verify(str(tmp_path))[0]
    with pytest.raises(FileNotFoundError, match="no complete artifact"):
        artifact.data_files(str(tmp_path), "part")


def test_a_sealed_artifact_reads_back(tmp_path: Path) -> None:
    uri = make(tmp_path / "a")
    manifest = artifact.read_manifest(uri)
    assert manifest is not None
    assert manifest.counts == {"documents": 1}
    assert manifest.num_bytes == 4
    assert artifact.verify(uri) == []
    assert artifact.data_files(uri, "part") == [f"{uri}/part-0"]


def test_a_shortened_file_makes_it_incomplete_and_a_changed_byte_fails_verification(tmp_path: Path) -> None:
    uri = make(tmp_path / "a")
    (tmp_path / "a" / "part-0").write_bytes(b"dat")
    assert artifact.read_manifest(uri) is None
    (tmp_path / "a" / "part-0").write_bytes(b"dato")
    assert artifact.read_manifest(uri) is not None
    assert "differs from its sha256" in artifact.verify(uri)[0]
    (tmp_path / "a" / "part-0").unlink()
    assert "missing" in artifact.verify(uri)[0]


def test_content_digest_ignores_order_time_and_host(tmp_path: Path) -> None:
    one, two = FileEntry("a", 1, "x"), FileEntry("b", 1, "y")
    assert artifact.content_digest([one, two]) == artifact.content_digest([two, one])
    assert artifact.content_digest([one]) != artifact.content_digest([dataclasses.replace(one, path="c")])


def test_fingerprint_moves_with_everything_that_decides_bytes() -> None:
    same = artifact.fingerprint("mix", "1", {"a": 1, "b": [2]}, {"x": "1"}, {"numpy": "2"})
    assert same == artifact.fingerprint("mix", "1", {"b": [2], "a": 1}, {"x": "1"}, {"numpy": "2"})
    others = {
        artifact.fingerprint("mix", "2", {"a": 1, "b": [2]}, {"x": "1"}, {"numpy": "2"}),
        artifact.fingerprint("mix", "1", {"a": 2, "b": [2]}, {"x": "1"}, {"numpy": "2"}),
        artifact.fingerprint("mix", "1", {"a": 1, "b": [2]}, {"x": "2"}, {"numpy": "2"}),
        artifact.fingerprint("mix", "1", {"a": 1, "b": [2]}, {"x": "1"}, {"numpy": "3"}),
        artifact.fingerprint("train", "1", {"a": 1, "b": [2]}, {"x": "1"}, {"numpy": "2"}),
    }
    assert len(others | {same}) == 6


def test_a_foreign_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / artifact.MANIFEST).write_text('{"schema_version": 99}')
    with pytest.raises(ValueError, match="manifest schema 99, expected 1"):
        artifact.read_manifest(str(tmp_path))


def test_input_digests_are_remembered_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"one")
    first = artifact.input_digests([str(path)])
    status = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert artifact.input_digests([str(path)]) == first, "same size and mtime: not read again"
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert artifact.input_digests([str(path)]) != first


def test_digests_that_another_run_remembers_meanwhile_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    read: list[str] = []

    def slowly(uri: str) -> str:
        if uri.endswith("a") and not read:
            read.append("b while a was read")
            artifact.input_digests([str(tmp_path / "b")])
        read.append(uri)
        return uri

    monkeypatch.setattr(artifact, "sha256", slowly)
    artifact.input_digests([str(tmp_path / "a")])
    del read[:]
    both = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert artifact.input_digests(both) == both
    assert read == []

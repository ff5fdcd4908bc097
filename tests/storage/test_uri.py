"""URIs: nothing half-written is ever visible under its name."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import uri


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "root") if request.param == "local" else f"memory://{tmp_path.name}"


def test_written_bytes_come_back_with_their_size_and_digest(base: str) -> None:
    with uri.open_atomic(uri.join(base, "a", "雲雀.bin")) as file:
        file.write(b"sky")
        file.write(memoryview(b"lark"))
    assert uri.read_bytes(uri.join(base, "a/雲雀.bin")) == b"skylark"
    assert (file.size, file.sha256) == (7, hashlib.sha256(b"skylark").hexdigest())
    assert uri.size(uri.join(base, "a/雲雀.bin")) == 7
    assert uri.listing(base) == ["a/雲雀.bin"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    base = str(tmp_path / "root")

    def fail_half_way() -> None:
        with uri.open_atomic(uri.join(base, "part")) as file:
            file.write(b"x" * 6_000_000)
            raise RuntimeError("disk full, say")

    with pytest.raises(RuntimeError, match="disk full"):
        fail_half_way()
    assert not uri.exists(uri.join(base, "part"))
    assert uri.listing(base) == []


def test_a_failed_write_keeps_what_was_there(tmp_path: Path) -> None:
    name = str(tmp_path / "part")
    uri.write_bytes(name, b"old")

    def fail() -> None:
        with uri.open_atomic(name) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert uri.read_bytes(name) == b"old"


def test_parquet_streams_through(base: str) -> None:
    table = pa.table({"text": ["春", "夏"] * 1000})
    with uri.open_atomic(uri.join(base, "t.parquet")) as file:
        pq.write_table(table, pa.PythonFile(file, mode="w"))
    with uri.localized(uri.join(base, "t.parquet")) as path:
        assert pq.read_table(path) == table


def test_folders_travel(base: str, tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "file").write_bytes(b"1")
    uri.upload_tree(tmp_path / "tree", base)
    assert uri.listing(base) == ["deep/file"]
    with uri.localized(base) as folder:
        assert (folder / "deep" / "file").read_bytes() == b"1"
    uri.remove(base)
    uri.remove(base)
    assert uri.listing(base) == []


def test_globs_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.gz", "a.gz", "c.txt"):
        (tmp_path / name).touch()
    assert [os.path.basename(found) for found in uri.expand_glob(str(tmp_path / "*.gz"))] == ["a.gz", "b.gz"]
    monkeypatch.chdir(tmp_path)
    assert uri.expand_glob("*.gz") == ["a.gz", "b.gz"]
    with pytest.raises(FileNotFoundError, match=r"nothing found at .*\.warc"):
        uri.expand_glob(str(tmp_path / "*.warc"))


def test_remote_uris_are_not_paths() -> None:
    assert not uri.is_local("s3://bucket/x")
    with pytest.raises(ValueError, match="expected a local path"):
        uri.local_path("s3://bucket/x")


def test_a_linked_file_has_two_names_and_replaces_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"old")
    for target in ("b", "deep/c", "b"):  # the second time both names are the same file
        uri.link(str(tmp_path / "a"), str(tmp_path / target))
        assert (tmp_path / target).samefile(tmp_path / "a")
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_link_is_a_copy_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another device")

    monkeypatch.setattr("os.link", refuse)
    (tmp_path / "a").write_bytes(b"1")
    uri.link(str(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == b"1"
    assert not (tmp_path / "b").samefile(tmp_path / "a")


def test_a_full_disk_is_met_with_the_name_of_the_file(tmp_path: Path) -> None:
    def fill() -> None:
        with uri.open_atomic(str(tmp_path / "part-0")) as file:
            file.write(b"the beginning")
            with open("/dev/full", "wb", buffering=0) as full:
                full.write(b"the rest")

    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/part-0'"):
        fill()
    assert list(tmp_path.iterdir()) == []

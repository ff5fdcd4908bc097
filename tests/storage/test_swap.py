"""Files that several processes change at once: of many that try, one succeeds, and nothing is lost."""

from __future__ import annotations

import builtins
import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from storage.swap import create, file_lock, read, swap

PROCESSES = 4
ROUNDS = 25
PATIENCE_S = 30  # of a process for the others, before it fails


def test_a_file_is_created_once(tmp_path: Path) -> None:
    uri = str(tmp_path / "folder" / "a")
    assert read(uri) is None
    assert create(uri, b"first")
    assert not create(uri, b"second")
    assert read(uri) == b"first"


def test_only_what_is_expected_is_replaced_or_removed(tmp_path: Path) -> None:
    uri = str(tmp_path / "a")
    assert not swap(uri, b"", b"new"), "there is nothing to replace"
    create(uri, b"old")
    assert not swap(uri, b"other", b"new")
    assert not swap(uri, b"other", None)
    assert swap(uri, b"old", b"new")
    assert read(uri) == b"new"
    assert swap(uri, b"new", None)
    assert list(tmp_path.iterdir()) == []


def test_a_creation_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = builtins.open

    def full(path: Path, mode: str) -> object:
        opened(path, mode).close()
        return opened("/dev/full", "wb", buffering=0)

    monkeypatch.setattr("storage.swap.open", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        create(str(tmp_path / "a"), b"data")
    assert list(tmp_path.iterdir()) == []


def test_object_stores_without_conditions_do_their_best() -> None:
    uri = "memory://swap/a"
    assert create(uri, b"first")
    assert not create(uri, b"second")
    assert not swap(uri, b"other", b"new")
    assert swap(uri, b"first", b"new")
    assert swap(uri, b"new", None)
    assert read(uri) is None


def _swap_in_turn(start: Barrier, uri: str, won: str) -> None:
    for number in range(ROUNDS):
        start.wait(PATIENCE_S)
        if swap(uri, str(number).encode(), str(number + 1).encode()):
            with open(won, "a") as file:
                file.write(f"{number}\n")


def _remember(start: Barrier, path: Path, name: int) -> None:
    for number in range(ROUNDS):
        start.wait(PATIENCE_S)
        with file_lock(path.with_name("lock")):
            names = path.read_text().split() if path.exists() else []
            path.write_text(" ".join([*names, f"{name}.{number}"]))


def test_of_several_processes_one_swaps(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(PROCESSES)
    uri, won = str(tmp_path / "a"), str(tmp_path / "won")
    create(uri, b"0")
    racers = [context.Process(target=_swap_in_turn, args=(start, uri, won)) for _ in range(PROCESSES)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [int(line) for line in Path(won).read_text().split()] == list(range(ROUNDS))
    assert read(uri) == str(ROUNDS).encode()


def test_under_the_lock_nothing_is_lost(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    names = tmp_path / "names"
    writers = [context.Process(target=_remember, args=(start, names, name)) for name in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(names.read_text().split()) == sorted(f"{n}.{number}" for n in range(2) for number in range(ROUNDS))

"""Mapping over shards: the same result for any number of workers, and nothing finished is done twice."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from storage.artifact import FileEntry, new_file
from tasks.shards import ExecutorConfig, Shard, ShardFailedError, ShardRecord, combine, map_shards, one_pool
from tests.killing import kill_parent, started, wait_until, wait_until_gone


def write_square(argument: tuple[str, int]) -> ShardRecord:
    out, number = argument
    with open(Path(out) / "calls", "a") as calls:
        calls.write(f"{number}\n")
    if number == 13:
        raise ValueError("thirteen is not wanted")
    name = f"part-{number}"
    with new_file(out, name) as file:
        file.write(str(number * number).encode())
    return ShardRecord(f"s{number}", [FileEntry.of(name, file)], {"sum": number * number, "shards": 1})


def shards(out: Path, numbers: range | list[int]) -> list[Shard[tuple[str, int]]]:
    out.mkdir(exist_ok=True)
    return [Shard(f"s{number}", (str(out), number)) for number in numbers]


def calls(out: Path) -> list[str]:
    return sorted((out / "calls").read_text().split())


def test_results_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    records = {}
    for workers in (1, 3):
        out = tmp_path / str(workers)
        records[workers] = map_shards(
            write_square, shards(out, range(6)), out=str(out), executor=ExecutorConfig(workers=workers)
        )
    assert records[1] == records[3]
    outcome = combine(records[1])
    assert outcome.counts == {"sum": 55, "shards": 6}
    assert [file.path for file in outcome.files] == [f"part-{number}" for number in range(6)]


def test_a_second_call_redoes_only_what_is_not_whole(tmp_path: Path) -> None:
    one = ExecutorConfig(workers=1)
    map_shards(write_square, shards(tmp_path, range(3)), out=str(tmp_path), executor=one)
    (tmp_path / "part-1").write_bytes(b"to")  # another size than its record names
    seen = []
    records = map_shards(
        write_square,
        shards(tmp_path, range(4)),
        out=str(tmp_path),
        executor=one,
        progress=lambda done, total, counts: seen.append((done, total, counts["shards"])),
    )
    assert calls(tmp_path) == ["0", "1", "1", "2", "3"]
    assert [record.counts["sum"] for record in records] == [0, 1, 4, 9]
    assert seen[0] == (2, 4, 2), "what was done before is told at once"
    assert seen[-1] == (4, 4, 4)
    assert seen == sorted(seen)


def test_a_failing_shard_is_named_and_the_finished_ones_stay(tmp_path: Path) -> None:
    one = ExecutorConfig(workers=1)
    with pytest.raises(ShardFailedError, match="shard s13: ValueError: thirteen is not wanted"):
        map_shards(write_square, shards(tmp_path, [1, 13]), out=str(tmp_path), executor=one)
    map_shards(write_square, shards(tmp_path, [1]), out=str(tmp_path), executor=one)
    assert calls(tmp_path).count("1") == 1


def wait_for_go(argument: tuple[str, int]) -> ShardRecord:
    out, number = argument
    Path(out, f"begun-{number}").touch()
    while number and not Path(out, "go").exists():
        time.sleep(0.01)
    return write_square(argument)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's death on Linux only")
def test_workers_die_with_a_killed_stage_and_only_unfinished_shards_are_redone(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from tests.tasks.test_shards import *
print("ready", flush=True)
out = Path({str(tmp_path)!r})
map_shards(wait_for_go, shards(out, range(3)), out=str(out), executor=ExecutorConfig(workers=2))
"""
    stage = started(program)
    wait_until((tmp_path / "_shards" / "s0.json").exists, "the first shard's record")
    wait_until((tmp_path / "begun-2").exists, "a worker on the last shard")
    workers = kill_parent(*stage)
    assert len(workers) >= 2
    wait_until_gone(workers)
    (tmp_path / "go").touch()
    records = map_shards(wait_for_go, shards(tmp_path, range(3)), out=str(tmp_path), executor=ExecutorConfig(workers=1))
    assert calls(tmp_path) == ["0", "1", "2"], "no shard was finished twice, none by a worker that was killed"
    assert combine(records).counts == {"sum": 5, "shards": 3}


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not unique"):
        map_shards(write_square, shards(tmp_path, [1, 1]), out=str(tmp_path), executor=ExecutorConfig())
    with pytest.raises(ValueError, match=r"executor\.address"):
        map_shards(write_square, shards(tmp_path, [1]), out=str(tmp_path), executor=ExecutorConfig(kind="dask"))


def test_a_dask_cluster_gives_the_same(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        executor = ExecutorConfig(kind="dask", address=cluster.scheduler_address)
        by_dask = map_shards(write_square, shards(tmp_path / "d", range(4)), out=str(tmp_path / "d"), executor=executor)
    here = map_shards(
        write_square,
        shards(tmp_path / "p", range(4)),
        out=str(tmp_path / "p"),
        executor=ExecutorConfig(workers=1),
    )
    assert by_dask == here


def say_pid(argument: tuple[str, int]) -> ShardRecord:
    """Dies at 9; else says which process it ran in."""
    number = argument[1]
    if number == 9:
        os._exit(1)
    return ShardRecord(f"s{number}", [], {"pid": os.getpid()})


def pids(out: Path, number: int, executor: ExecutorConfig) -> int:
    """The process that a mapping of one shard runs in."""
    (record,) = map_shards(say_pid, shards(out, [number]), out=str(out), executor=executor)
    return record.counts["pid"]


def test_mappings_of_one_pool_share_their_workers(tmp_path: Path) -> None:
    one, two = ExecutorConfig(workers=1), ExecutorConfig(workers=2)
    with one_pool(two):
        shared = {pids(tmp_path, number, two) for number in range(4)}
        other = pids(tmp_path, 4, one)
    assert len(shared) <= 2, "a process for each mapping"
    assert len({*shared, other, pids(tmp_path, 5, two), os.getpid()}) == len(shared) + 3, "another pool, and after it"


def test_the_only_worker_of_one_pool_is_this_process(tmp_path: Path) -> None:
    one = ExecutorConfig(workers=1)
    with one_pool(one):
        assert pids(tmp_path, 0, one) == os.getpid()
    assert pids(tmp_path, 1, one) != os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_shard_that_fails_in_one_pool_leaves_it_usable(tmp_path: Path, workers: int) -> None:
    executor = ExecutorConfig(workers=workers)
    with one_pool(executor):
        with pytest.raises(ShardFailedError, match="thirteen"):
            map_shards(write_square, shards(tmp_path, [13, 14]), out=str(tmp_path), executor=executor)
        pids(tmp_path, 0, executor)


def test_a_dead_worker_breaks_one_pool(tmp_path: Path) -> None:
    two = ExecutorConfig(workers=2)
    with one_pool(two), pytest.raises(ShardFailedError, match="BrokenProcessPool"):
        pids(tmp_path, 9, two)
    assert pids(tmp_path, 1, two) != os.getpid(), "the block has ended, and with it the broken pool"

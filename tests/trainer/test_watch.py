"""A rank that hangs leaves its stacks, the others an error with the step; a slow rank is named."""

from __future__ import annotations

import ctypes
import logging
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.ranks import run_ranks, tiny_config
from trainer.collectives import barrier
from trainer.config import ParallelConfig
from trainer.layout import Coordinates
from trainer.mesh import Mesh, build_mesh
from trainer.watch import StragglerReport, Watch, dump_seconds, probe_seconds


def _until(condition: Any, seconds: float = 30.0) -> bool:
    """Whether it has come true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return bool(condition())


def _waits_for_ever(given_up: Path) -> None:
    _until(given_up.exists)


def _hang(mesh: Mesh, folder: Path) -> str:
    """Rank 1 never comes to the second step's collective; rank 0 gives up, and only then is it let go."""
    mesh = build_mesh(mesh.parallel, mesh.device, timeout_s=2.5)
    stacks, given_up = folder / f"stacks-{mesh.rank}", folder / "given up"
    with open(stacks, "w") as file:
        try:
            with Watch(0.3, 40, mesh.rank, file) as watch:
                barrier(mesh.control)
                watch.step(41)
                if mesh.rank == 1:
                    _waits_for_ever(given_up)
                    return ""
                barrier(mesh.control)
        except RuntimeError as error:
            given_up.touch()
            return f"{error} {' '.join(error.__notes__)}"
    return "nothing was raised"


def test_a_hanging_rank_leaves_its_stacks_and_the_others_an_error_with_the_step(tmp_path: Path) -> None:
    said = run_ranks(2, _hang, tmp_path)
    assert "in step 42, on rank 0 of " in said[0]
    assert "imed out" in said[0]
    stacks = [(tmp_path / f"stacks-{rank}").read_text() for rank in range(2)]
    assert "_waits_for_ever" in stacks[1]
    assert "test_watch.py" in stacks[1]
    assert "collectives.py" in stacks[0]


def test_finished_steps_put_the_dump_off_and_it_comes_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "stacks"
    with open(path, "w") as file, caplog.at_level(logging.WARNING), Watch(0.4, 0, 0, file) as watch:
        for step in range(1, 31):
            time.sleep(0.02)
            watch.step(step)
        before = path.read_text()
        assert _until(path.read_text)
        assert _until(lambda: "step 31 has not finished" in caplog.text)
        time.sleep(0.1)
    assert before == ""
    assert path.read_text().count("Current thread") == 1
    assert "test_finished_steps" in path.read_text()


def test_a_call_that_holds_the_interpreters_lock_is_seen_too(tmp_path: Path) -> None:
    path = tmp_path / "stacks"
    with open(path, "w") as file, Watch(0.2, 0, 0, file) as watch:
        watch.step(1)
        ctypes.PyDLL(None).usleep(600_000)
    assert "Timeout (0:00:00.21" in path.read_text()
    assert "test_a_call_that_holds" in path.read_text()


def test_nothing_is_dumped_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "stacks"
    with open(path, "w") as file:
        with Watch(0.1, 0, 0, file) as watch:
            watch.step(1)
        time.sleep(0.25)
    assert path.read_text() == ""


def test_stacks_come_before_the_collective_fails_unless_told_otherwise() -> None:
    assert dump_seconds(tiny_config(collective_timeout_s=100.0)) == pytest.approx(90)
    assert dump_seconds(tiny_config(stack_dump_s=7.0)) == 7


def _reports(mesh: Mesh, slow: int, ratio: float) -> tuple[list[dict[str, float]], str]:
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("trainer.watch").addHandler(handler)
    report = StragglerReport(mesh, every=2, ratio=ratio)
    found = []
    for step in range(1, 5):
        with report.working():
            time.sleep(0.5 if mesh.rank == slow and step <= 2 else 0.02)
        found.append(report.look(step))
    return found, " ".join(records)


def test_a_slow_rank_is_named_once_a_look_by_the_first() -> None:
    results = run_ranks(3, _reports, 2, 5.0)
    for found, _ in results:
        assert [len(row) for row in found] == [0, 2, 0, 2]
        assert found[1]["rank"] == 2
        assert found[1]["ratio"] > 5
    said = [text for _, text in results]
    assert "slow at step 2, against the median rank: rank 2 on " in said[0]
    assert said[1] == said[2] == ""


def test_replicas_are_compared_among_themselves_and_stages_are_not() -> None:
    """With pipeline ranks alone, working times differ by design; only the probe speaks, and these are one machine."""
    (found, said), _ = run_ranks(ParallelConfig(pp=2), _reports, 1, 1e6)
    assert said == ""
    assert found[1]["ratio"] < 5


def test_one_process_has_no_others_to_be_compared_with() -> None:
    mesh = Mesh(ParallelConfig(), 0, Coordinates(tp=0, dp=0, pp=0), torch.device("cpu"))
    report = StragglerReport(mesh, every=1, ratio=1.3)
    assert report.look(1) == {}


def test_the_probe_takes_time() -> None:
    assert 0 < probe_seconds(torch.device("cpu")) < 10

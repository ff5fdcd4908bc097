"""The program itself: exit status by how training ended, restarts by torchrun, one machine or two."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage.mixture import Mixture
from storage.processes import family, find, stop
from tests.killing import ROOT, wait_until
from tests.tasks.train.mixtures import write_mixture
from tests.trainer.ranks import run_ranks, tiny_config, tiny_job, train_job
from trainer.checkpoint import content_digest
from trainer.config import ParallelConfig, TrainJob
from trainer.mesh import Mesh
from trainer.rows import read_rows
from trainer.torchrun import rank_environment

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


def own_torchrun() -> list[str]:
    return [sys.executable, "-m", "trainer.torchrun", str(os.getpid())]


def job_file(tmp_path: Path, **changes: Any) -> tuple[TrainJob, Path]:
    settings = {"parallel": {"dp": 2}, "threads_per_rank": 1, "warmup_steps": 1, "global_batch": 4, "micro_batch": 1}
    job = tiny_job(tmp_path, mixture=write_mixture(tmp_path, num_samples=4000), **settings | changes)
    path = tmp_path / "job.json"
    path.write_text(job.model_dump_json())
    return job, path


def start(command: list[str], path: Path, *options: str, nproc: int = 2) -> subprocess.Popen[bytes]:
    log = open(path.with_name(f"{len(options)}-{len(list(path.parent.iterdir()))}.log"), "wb")  # noqa: SIM115
    return subprocess.Popen(
        [*command, "--nproc-per-node", str(nproc), "--local-addr", "127.0.0.1", *options, "-m", "trainer", str(path)],
        cwd=ROOT, stdout=log, stderr=log, env=os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def num_rows(job: TrainJob) -> int:
    return len(read_rows(Path(job.out) / "metrics.jsonl"))


def ranks_of(process: subprocess.Popen[bytes]) -> list[int]:
    agent = find(process.pid)
    assert agent is not None
    return [member.pid for member in family(agent)[1:]]


@pytest.mark.parametrize("signalled", ["torchrun", pytest.param("rank", marks=pytest.mark.slow)])
def test_a_training_that_is_stopped_ends_with_75_and_goes_on(tmp_path: Path, signalled: str) -> None:
    job, path = job_file(tmp_path, num_steps=900, save_every=900)
    process = start(own_torchrun(), path, "--standalone", "--max-restarts", "1")
    try:
        wait_until(lambda: num_rows(job) >= 3, "three steps")
        os.kill(process.pid if signalled == "torchrun" else ranks_of(process)[-1], signal.SIGTERM)
        assert process.wait() == os.EX_TEMPFAIL
    finally:
        stop(filter(None, [find(process.pid)]), 5)
    stopped = json.loads((tmp_path / "out/stopped.json").read_text())
    assert stopped == {"step": num_rows(job)}
    assert (tmp_path / f"out/checkpoints/step-{num_rows(job):08}/manifest.json").is_file()


@pytest.mark.slow
def test_a_finished_training_ends_with_0_and_forgets_that_it_was_stopped(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/stopped.json").write_text('{"step": 1}')
    _, path = job_file(tmp_path, num_steps=2)
    assert start(own_torchrun(), path, "--standalone").wait() == 0
    assert not (tmp_path / "out/stopped.json").exists()


def _kill_one(process: subprocess.Popen[bytes], job: TrainJob, step: int) -> None:
    wait_until(lambda: num_rows(job) >= step, f"{step} steps")
    os.kill(ranks_of(process)[-1], signal.SIGKILL)


def _train_on_its_mixture(mesh: Mesh, job: TrainJob) -> None:
    train_job(mesh, job, Mixture.open(job.mixture))


def _is_undisturbed(job: TrainJob, tmp_path: Path) -> bool:
    undisturbed = job.model_copy(update={"out": str(tmp_path / "undisturbed")})
    run_ranks(job.train.parallel, _train_on_its_mixture, undisturbed)
    last = f"checkpoints/step-{job.num_steps:08}"
    return content_digest(Path(job.out) / last) == content_digest(Path(undisturbed.out) / last)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds ranks through /proc")
def test_plain_torchrun_restarts_killed_ranks_and_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """Eight ranks, every axis split: after the kill at least 20 more steps."""
    job, path = job_file(tmp_path, num_steps=40, save_every=5, parallel={"dp": 2, "tp": 2, "pp": 2})
    process = start(TORCHRUN, path, "--standalone", "--max-restarts", "1", nproc=8)
    _kill_one(process, job, step=12)
    assert process.wait() == 0
    assert _is_undisturbed(job, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds ranks through /proc")
def test_two_machines_restart_together(tmp_path: Path) -> None:
    """Only one agent sees its rank die; the other follows and must not count it, nor look for ranks elsewhere."""
    job, path = job_file(tmp_path, num_steps=120, save_every=5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    options = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-id", "x", "--rdzv-endpoint", endpoint]
    agents = [start(own_torchrun(), path, *options, "--max-restarts", "3", nproc=1) for _ in range(2)]
    try:
        _kill_one(agents[1], job, step=12)
        assert [agent.wait(timeout=120) for agent in agents] == [0, 0]
    finally:
        stop(filter(None, [find(agent.pid) for agent in agents]), 5)
    assert _is_undisturbed(job, tmp_path)


def test_ranks_are_told_what_helps_them_and_no_more() -> None:
    config = tiny_config(collective_timeout_s=1800)
    one = rank_environment(config, "out", ["--standalone"])
    assert one["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    assert int(one["TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC"]) > 1800, "the time-out that names the collective comes first"
    assert "CUDA_DEVICE_MAX_CONNECTIONS" not in one
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE" not in one
    split = config.model_copy(update={"parallel": ParallelConfig(tp=2)})
    assert rank_environment(split, None, ["--nnodes=2"])["CUDA_DEVICE_MAX_CONNECTIONS"] == "1"
    sharded = config.model_copy(update={"parallel": ParallelConfig(tp=2, dp=2, data_parallel="fsdp")})
    assert "CUDA_DEVICE_MAX_CONNECTIONS" not in rank_environment(sharded, None, [])
    for arguments in (["--nnodes", "2"], ["--nnodes=1:4"]):
        assert rank_environment(config, None, arguments)["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"


def test_an_older_name_of_a_setting_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64")
    assert "PYTORCH_ALLOC_CONF" not in rank_environment(tiny_config(), None, [])

"""Launching trains through torchrun, reports, names what failed, and leaves no process behind."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from storage.mixture import Mixture
from storage.processes import Process, alive, family, find
from storage.uri import read_bytes
from tasks.train.launch import Limits, fence, launch, measure_step_seconds, work_folder
from tasks.train.logs import START_CHECKS
from tests.killing import started, wait_until, wait_until_gone
from tests.tasks.train.mixtures import write_mixture
from tests.trainer.ranks import run_ranks, tiny_config, tiny_job
from trainer.checkpoint import content_digest, read_manifest, verify
from trainer.config import TrainJob
from trainer.mesh import Mesh
from trainer.rows import METRICS, VALIDATION, read_rows
from trainer.validation import open_validation


def job_of(tmp_path: Path, **changes: Any) -> TrainJob:
    settings = {"parallel": {"dp": 2}, "threads_per_rank": 1, "check_texts": {"en": [[3, 4, 5]]}}
    return tiny_job(tmp_path, mixture=write_mixture(tmp_path, validation_samples=8), **settings | changes)


def _processes(out: Path) -> list[Process]:
    return [Process(**entry) for entry in json.loads((out / "launch.json").read_text())["processes"]]


def _kill_a_rank(out: Path, step: int) -> None:
    """Kill -9 on a rank when training has reached a step."""
    metrics = out / "metrics.jsonl"
    while not metrics.is_file() or len(metrics.read_text().splitlines()) < step:
        time.sleep(0.02)
    ranks = [process for process in _processes(out) if b"trainer" in Path(f"/proc/{process.pid}/cmdline").read_bytes()]
    os.kill(ranks[-1].pid, signal.SIGKILL)


def _train_on_its_mixture(mesh: Mesh, job: TrainJob) -> None:
    from trainer.loop import StopSignal, train

    train(job, mesh, Mixture.open(job.mixture), StopSignal(), open_validation(job, mesh))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's death on Linux only")
@pytest.mark.parametrize(
    "killed",
    ["launcher", *(pytest.param(who, marks=pytest.mark.slow) for who in ("torchrun", "launcher and torchrun"))],
)
def test_whoever_is_killed_the_ranks_save_a_checkpoint_and_end(tmp_path: Path, killed: str) -> None:
    job = job_of(tmp_path, num_steps=2000, global_batch=4, micro_batch=1, save_every=1000, warmup_steps=1)
    job = job.model_copy(update={"mixture": write_mixture(tmp_path / "long", num_samples=8000)})
    out = tmp_path / "out"
    program = f"""
from tasks.train.launch import launch
from trainer.config import TrainJob
print("ready", flush=True)
job = TrainJob.model_validate_json({job.model_dump_json()!r})
launch(job, out={str(out)!r}, nproc=2, progress=None, log=print)
"""
    launcher, identity = started(program)
    wait_until(lambda: _num_rows(out) >= 5, "five steps of training")
    members = family(identity)
    assert len(members) == 4, "launcher, torchrun and two ranks"
    if "launcher" in killed:
        launcher.kill()
    if "torchrun" in killed:
        os.kill(members[1].pid, signal.SIGKILL)
    launcher.communicate()
    wait_until_gone(members)
    (saved,) = (out / "checkpoints").iterdir()
    assert verify(saved) == []
    assert read_manifest(saved)["step"] == _num_rows(out) >= 5


def _num_rows(out: Path) -> int:
    metrics = out / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.is_file() else 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds ranks through /proc")
@pytest.mark.parametrize(
    "max_restarts", [1, pytest.param(0, marks=pytest.mark.slow)], ids=["restarted by torchrun", "launched again"]
)
def test_killed_and_started_again_it_ends_as_if_nothing_had_happened(tmp_path: Path, max_restarts: int) -> None:
    job = job_of(tmp_path, num_steps=60, global_batch=4, micro_batch=1, save_every=5, warmup_steps=1, validate_every=20)
    mixture = write_mixture(tmp_path / "long", num_samples=240, validation_samples=8)
    job = job.model_copy(update={"mixture": mixture})
    out, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
    run_ranks(2, _train_on_its_mixture, job.model_copy(update={"out": str(undisturbed)}))
    killer = threading.Thread(target=_kill_a_rank, args=(out, 12))
    killer.start()
    said: list[str] = []
    settings: dict[str, Any] = {
        "out": str(out),
        "nproc": 2,
        "log": said.append,
        "limits": Limits(60.0, None, max_restarts),
    }
    if max_restarts:
        outcome = launch(job, progress=None, **settings)
        restart = r"rank \d was killed by SIGKILL; all ranks were started again, restart 1"
        assert any(re.search(restart, line) for line in said), said
    else:
        with pytest.raises(RuntimeError, match=r"(?s)training failed: rank \d was killed by SIGKILL"):
            launch(job, progress=None, **settings)
        assert alive(_processes(out)) == []
        seen: list[int] = []
        outcome = launch(job, progress=lambda step, steps, row: seen.append(step), **settings)
        assert seen == sorted(set(seen))
        assert seen[-1] == 60
    killer.join()
    assert alive(_processes(out)) == []
    assert outcome.details["restarts"] == max_restarts
    last = "checkpoints/step-00000060"
    assert outcome.digest == content_digest(out / last) == content_digest(undisturbed / last)
    assert outcome.counts == {"steps": 60, "samples": 240, "tokens": 3840}
    assert [row["step"] for row in read_rows(out / METRICS)] == list(range(1, 61))
    assert read_rows(out / VALIDATION) == read_rows(undisturbed / VALIDATION)
    assert [row["step"] for row in read_rows(out / VALIDATION)] == [0, 20, 40, 60]
    assert {entry.path for entry in outcome.files} >= {METRICS, VALIDATION, START_CHECKS, f"{last}/manifest.json"}
    assert outcome.details["checkpoint"] == last
    assert 0 < outcome.details["mfu"] < 1


def test_a_refusal_reaches_the_user_with_the_place_of_the_log(tmp_path: Path) -> None:
    job = job_of(tmp_path, parallel={"dp": 1}, num_steps=9)
    said: list[str] = []
    with pytest.raises(RuntimeError) as failed:
        launch(job, out=str(tmp_path / "out"), nproc=1, progress=None, log=said.append, limits=Limits(max_restarts=2))
    message = str(failed.value)
    assert "need 72 samples, the mixture has 64" in message
    log = Path(message.split("log: ")[1].splitlines()[0])
    assert "Traceback" in log.read_text(), "the first start's, not that of one that only repeats the refusal"
    assert log.parents[1].name == "attempt_0"
    assert said == [], "the ranks that torchrun starts again do nothing, and are no restart"


def test_a_training_that_is_told_to_stop_says_how_to_go_on(tmp_path: Path) -> None:
    job = job_of(tmp_path, parallel={"dp": 1}, num_steps=8, save_every=100)

    def tell_torchrun(step: int, steps: int, row: dict[str, Any]) -> None:
        os.kill(_processes(tmp_path / "out")[0].pid, signal.SIGTERM)

    mixture = write_mixture(tmp_path / "long", num_samples=4000)
    job = job.model_copy(update={"mixture": mixture, "num_steps": 400})
    with pytest.raises(RuntimeError, match=r"^training was stopped after step \d+; start it again to continue$"):
        launch(job, out=str(tmp_path / "out"), nproc=1, progress=tell_torchrun, log=print, limits=Limits(60.0, None, 1))
    assert alive(_processes(tmp_path / "out")) == []


class Interrupted(BaseException):
    pass


def test_an_interrupt_stops_every_process(tmp_path: Path) -> None:
    job = job_of(tmp_path, parallel={"dp": 1}, save_every=100)

    def interrupt(step: int, steps: int, row: dict[str, Any]) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        launch(job, out=str(tmp_path / "out"), nproc=1, progress=interrupt, log=print, limits=Limits(grace_s=30))
    assert len(_processes(tmp_path / "out")) == 2
    assert alive(_processes(tmp_path / "out")) == []
    assert json.loads((tmp_path / "out/launch.json").read_text())["ended"] is not None


def _record(folder: Path, process: Process, **changes: Any) -> None:
    record = {
        "pid": process.pid, "host": platform.node(), "at": "today", "ended": None,
        "processes": [{"pid": process.pid, "started": process.started}],
    }  # fmt: skip
    (folder / "launch.json").write_text(json.dumps(record | changes))


def test_what_an_earlier_launch_left_running_is_stopped_first(tmp_path: Path) -> None:
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    process = find(left.pid)
    assert process is not None
    said: list[str] = []
    _record(tmp_path, Process(process.pid, "another time"))
    fence(tmp_path, 5, said.append)
    assert (said, left.poll()) == ([], None)
    _record(tmp_path, process)
    fence(tmp_path, 5, said.append)
    assert left.wait() == -signal.SIGTERM
    assert "stopping 1 processes of an earlier launch" in said[0]


def test_a_launch_on_another_machine_is_not_raced(tmp_path: Path) -> None:
    _record(tmp_path, Process(1, "x"), host="another-machine")
    with pytest.raises(RuntimeError, match="is being trained on another-machine"):
        fence(tmp_path, 5, print)
    _record(tmp_path, Process(1, "x"), host="another-machine", ended=0)
    fence(tmp_path, 5, print)


@pytest.mark.slow
def test_training_to_an_object_store_uploads_what_it_names(tmp_path: Path) -> None:
    job = job_of(tmp_path, parallel={"dp": 1}, num_steps=1, warmup_steps=0)
    out = f"memory://{tmp_path.name}/train/x"
    outcome = launch(job, out=out, nproc=1, progress=None, log=print)
    assert work_folder(out) != work_folder(out + "y")
    for entry in outcome.files:
        assert len(read_bytes(f"{out}/{entry.path}")) == entry.size


def test_a_step_is_timed(tmp_path: Path) -> None:
    job = tiny_job(tmp_path)
    said: list[str] = []
    config = tiny_config(threads_per_rank=1)
    seconds = measure_step_seconds(job.model, config, nproc=1, extra_rows=8, steps=1, log=said.append)
    assert 0 < seconds < 60
    assert said == []

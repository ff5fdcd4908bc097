"""Start the trainer as processes of their own, watch it, and never leave it behind.

In: a `TrainJob`. Out: an `Outcome` that names the final checkpoint, `metrics.jsonl`, `validation.jsonl` and
`start_checks.json` in the run's folder. torchrun starts one process per rank, and all of them again when one has died;
each rank writes its own log below `logs/`, warnings are passed on, progress is read from metrics.jsonl. `launch.json`
holds every process with its start time: whatever ends the launch (an error, an interrupt, a cancelled flow) stops them
all. Where the launcher itself is killed, Linux tells torchrun and its ranks (`storage.processes.die_with_parent`): they
save a checkpoint and end. A launch that finds an earlier one of the same folder still running stops that one first.
Training then continues from the last checkpoint.

    outcome = launch(job, out="runs/train/demo-0123", nproc=2, progress=show, log=logger.info)
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from storage.artifact import Outcome, cache_folder, file_entries
from storage.checkpoints import FOLDER, JOB, saved_checkpoint, saved_steps
from storage.environment import num_cores
from storage.processes import POLL_S, Process, alive, family, find, stop
from storage.uri import is_local, local_path, localized, write_bytes
from tasks.train.logs import (
    START_CHECKS,
    CheckpointWatcher,
    Log,
    LogTail,
    MetricsWatcher,
    Progress,
    RestartWatcher,
    failure,
    num_restarts,
)
from tasks.train.uploads import fetch_logs, upload, upload_logs
from trainer.config import TrainConfig, TrainJob
from trainer.ending import stopped_step
from trainer.rows import METRICS, SKIPPED, VALIDATION, read_rows

GRACE_S = 15.0


@dataclass(frozen=True)
class Limits:
    """How long and how often.

    Attributes:
        grace_s: seconds between SIGTERM and SIGKILL when processes have to be stopped.
        timeout_s: seconds after which they are, none for no limit.
        max_restarts: times that all ranks are started again after one has died.
    """

    grace_s: float = GRACE_S
    timeout_s: float | None = None
    max_restarts: int = 0


def launch(
    job: TrainJob,
    *,
    out: str,
    nproc: int,
    progress: Progress | None,
    log: Log,
    saved: Callable[[int], None] | None = None,
    limits: Limits = Limits(),
) -> Outcome:
    """Train, from the newest checkpoint in `out` where there is one.

    Args:
        out: the artifact's URI. Where it is not local, training works in a folder of the cache (`tasks.train.uploads`).
        nproc: ranks; dp x tp x pp of the job.
        progress: called with (steps done, steps in all, the step's row of metrics.jsonl).
        log: called with each warning or error line of any rank.
        saved: called with the step of each checkpoint, once it is whole.

    Raises:
        RuntimeError: the trainer failed; with the end of the failing rank's log. Or it was told to stop.
        TimeoutError: it took longer than `limits.timeout_s`; a checkpoint was saved if it managed to.
    """
    folder = work_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    fence(folder, limits.grace_s, log)
    fetch_logs(out, folder)

    def on_checkpoint(step: int) -> None:
        upload_logs(out, folder)
        if saved is not None:
            saved(step)

    metrics = MetricsWatcher(folder / METRICS, job.num_steps, progress)
    checkpoints = CheckpointWatcher(str(folder / FOLDER), on_checkpoint)

    def look() -> None:
        metrics.look()
        checkpoints.look()

    with localized(job.model) as model, localized(job.base_model) as base_model, _continued(job, folder) as continued:
        here = {"out": str(folder), "model": str(model), "base_model": str(base_model), "continued": continued}
        job = job.model_copy(update=here)
        write_bytes(str(folder / JOB), job.model_dump_json(indent=1).encode() + b"\n")
        _run(["trainer", str(folder / JOB)], folder, nproc, job.train, look, log, limits)
    look()
    outcome = _outcome(job, folder, nproc)
    upload(out, folder, outcome.files, job.mirror)
    return outcome


def measure_step_seconds(
    model: str,
    train: TrainConfig,
    *,
    nproc: int,
    extra_rows: int = 0,
    steps: int = 2,
    log: Log,
    timeout_s: float = 900.0,
) -> float:
    """Seconds of wall time per optimizer step of this model on this machine.

    Args:
        model: Hugging Face folder.
        extra_rows: vocabulary rows that expansion will add.
        steps: micro-batches and updates timed after one warm-up; the probe takes little longer than they do.

    Raises:
        RuntimeError: the probe failed; with the end of the failing rank's log.
    """
    with tempfile.TemporaryDirectory(prefix="hibari-speed-") as scratch, localized(model) as model_folder:
        folder, result = Path(scratch), Path(scratch, "result.json")
        settings = train.model_dump(include=set(TrainConfig.model_fields))  # not how the stage starts the trainer
        probe = {
            "model": str(model_folder),
            "extra_rows": extra_rows,
            "train": settings,
            "steps": steps,
            "result": str(result),
        }
        write_bytes(str(folder / "probe.json"), json.dumps(probe).encode())
        _run(
            ["trainer.speed", str(folder / "probe.json")], folder, nproc, train, None, log, Limits(timeout_s=timeout_s)
        )
        return json.loads(result.read_text(encoding="utf-8"))["seconds_per_step"]


def work_folder(out: str) -> Path:
    """Where training to `out` writes: there, or in the cache where `out` is not local."""
    if is_local(out):
        return local_path(out).resolve()
    return cache_folder() / "train" / hashlib.sha256(out.encode()).hexdigest()[:16]


def fence(folder: Path, grace_s: float, log: Log) -> None:
    """Stop what an earlier launch of this folder has left running.

    Raises:
        RuntimeError: it was started on another machine and has not ended as far as its record says.
    """
    record = folder / "launch.json"
    if not record.is_file():
        return
    earlier = json.loads(record.read_text(encoding="utf-8"))
    if earlier["ended"] is not None:
        return
    if earlier["host"] != platform.node():
        raise RuntimeError(
            f"{folder} is being trained on {earlier['host']} (pid {earlier['pid']}) since {earlier['at']}; stop it "
            f"there, or remove {record} if it is dead, and start again"
        )
    left = alive(Process(**entry) for entry in earlier["processes"])
    if left:
        left = list(dict.fromkeys(member for process in left for member in family(process)))
        log(f"stopping {len(left)} processes of an earlier launch of {folder}, started {earlier['at']}")
        stop(left, grace_s)


@contextmanager
def _continued(job: TrainJob, folder: Path) -> Iterator[str | None]:
    """A local copy of the checkpoint that the job continues, for as long as the block lasts; None without one.

    Raises:
        ValueError: there is none, and the job has saved none of its own since; with the steps that there are.
    """
    own = saved_steps(str(folder / FOLDER)) or (job.mirror is not None and saved_steps(job.mirror))
    if job.continued is None or own:  # a training that has gone on needs it no more
        yield job.continued
        return
    with localized(saved_checkpoint(job.continued)) as path:
        yield str(path)


def _run(
    module: list[str],
    folder: Path,
    nproc: int,
    train: TrainConfig,
    look: Callable[[], None] | None,
    log: Log,
    limits: Limits,
) -> None:
    """Run `torchrun -m MODULE...` in `folder` until it ends, or end it."""
    attempt = folder / "logs" / time.strftime("%Y%m%d-%H%M%S")
    attempt.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "trainer.torchrun", str(os.getpid()), "--standalone", "--local-addr", "127.0.0.1"]
    command += ["--nproc-per-node", str(nproc), "--max-restarts", str(limits.max_restarts)]
    command += ["--shutdown-timeout", str(int(limits.grace_s) + 1)]
    command += ["--log-dir", str(attempt), "--redirects", "3", "-m", *module]
    with open(attempt / "torchrun.log", "wb") as output:
        started = subprocess.Popen(
            command,
            env=_environment(train, nproc),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        ended = _watch(started, folder, attempt, look, log, limits)
    if ended == os.EX_TEMPFAIL:
        raise RuntimeError(f"training was stopped after step {stopped_step(folder)}; start it again to continue")
    if ended != 0:
        raise RuntimeError(failure(attempt, ended))


def _watch(
    started: subprocess.Popen[bytes],
    folder: Path,
    attempt: Path,
    look: Callable[[], None] | None,
    log: Log,
    limits: Limits,
) -> int:
    """Wait for torchrun, keeping launch.json and the log up to date; its exit status. Leaves no process behind."""
    agent = find(started.pid)
    known: list[Process] = [agent] if agent else []
    record = {
        "pid": started.pid,
        "pgid": started.pid,
        "host": platform.node(),
        "at": time.strftime("%Y-%m-%d %H:%M:%S"),
        "log": str(attempt),
    }
    tail, restarts = LogTail(attempt, log), RestartWatcher(folder, attempt, log)
    deadline = time.monotonic() + limits.timeout_s if limits.timeout_s else None
    status = None
    try:
        _record(folder, record, known, None)
        while (status := started.poll()) is None:
            if agent and (members := [*known, *(p for p in family(agent) if p not in known)]) != known:
                known = members
                _record(folder, record, known, None)
            restarts.look()
            tail.look()
            if look is not None:
                look()
            if deadline and time.monotonic() > deadline:
                raise TimeoutError(
                    f"training took longer than timeout_s = {limits.timeout_s}; start it again to continue"
                )
            time.sleep(POLL_S * 2)
    finally:
        # Also after torchrun's own end: killed outright, it leaves its ranks running.
        stop(known, limits.grace_s)
        started.wait()
        _record(folder, record, known, started.returncode)
        restarts.look()
        tail.look()
    return status


def _record(folder: Path, record: dict[str, Any], processes: list[Process], ended: int | None) -> None:
    content = record | {"processes": [asdict(process) for process in processes], "ended": ended}
    write_bytes(str(folder / "launch.json"), json.dumps(content, indent=1).encode() + b"\n")


def _environment(train: TrainConfig, nproc: int) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    environment = os.environ | {
        "OMP_NUM_THREADS": str(train.threads_per_rank or max(1, num_cores() // nproc)),
        "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root,
        "PYTHONUNBUFFERED": "1",
    }
    # One machine: gloo must not depend on what this host's name resolves to.
    if "lo" in [name for _, name in socket.if_nameindex()]:
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    return environment


def _outcome(job: TrainJob, folder: Path, nproc: int) -> Outcome:
    checkpoint = f"checkpoints/step-{job.num_steps:08}"
    manifest_path = folder / checkpoint / "manifest.json"
    if not manifest_path.is_file():
        raise RuntimeError(f"training ended without {manifest_path}; start it again to continue")
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    rows = read_rows(folder / METRICS)
    names = [f"{checkpoint}/{entry['path']}" for entry in manifest["files"]]
    names += [f"{checkpoint}/manifest.json", METRICS, START_CHECKS]
    names += [name for name in (VALIDATION, SKIPPED) if (folder / name).is_file()]
    return Outcome(
        files=file_entries(str(folder), names),
        counts={
            "steps": manifest["step"],
            "samples": manifest["consumed_samples"],
            "tokens": manifest["consumed_samples"] * job.train.seq_len,
        },
        details={
            "checkpoint": checkpoint,
            "loss": next((row["loss"] for row in reversed(rows) if row["loss"] is not None), None),
            "language_loss": rows[-1]["language_loss"],
            "bits_per_byte": rows[-1]["bits_per_byte"],
            "tokens_per_second": statistics.median(row["tokens_per_second"] for row in rows),
            "mfu": statistics.median(row["mfu"] for row in rows if row.get("mfu") is not None),
            "memory_gib": max(row["memory_gib"] for row in rows),
            "layout": job.train.parallel.model_dump() | {"ranks": nproc},
            "restarts": num_restarts(folder),
            "start_checks": json.loads((folder / START_CHECKS).read_text(encoding="utf-8")),
        },
        digest=manifest["content_digest"],
    )

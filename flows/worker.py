"""The worker that runs deployments, and how a flow run under it comes to an end.

`hibari up` starts one process worker. It runs each flow in a process with a session of its own, which outlives it
unless told otherwise: when the worker stops, and even more when it is killed. So our flows ask to be told
(`end_with_worker`), and `hibari up` stops what a worker runs before the worker (`stop_runs`). Either way a run gets one
SIGTERM, as if it had been cancelled: training saves a checkpoint, Prefect notes the state Crashed, and the same
deployment started again goes on where it stopped. Where `hibari up` itself is killed, Linux ends the worker, which
kills its runs; torchrun and its ranks hear of that too, and save their checkpoint.

    worker = start_worker(url, Path.cwd(), scratch)
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from flows.api import ApiError, call
from storage.processes import POLL_S, Process, alive, die_with_parent, family

logger = logging.getLogger(__name__)

POOL = "hibari"
NAME = "hibari-up"
POLL_FOR_RUNS_S = 5
START_TIMEOUT_S = 120
CHECKOUT = Path(__file__).resolve().parents[1]


def environment(url: str, folder: Path) -> dict[str, str]:
    """For processes that register or run deployments against `url`; `folder` is what a run's paths are relative to."""
    path = os.environ.get("PYTHONPATH")
    return os.environ | {
        "PREFECT_API_URL": url,
        "HIBARI_HOME": str(folder),
        "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{path}" if path else str(CHECKOUT),
        # Prefect starts its cancellation hooks as a script beside a `storage.py` of its own, which would hide ours.
        "PYTHONSAFEPATH": "1",
        "PREFECT_WORKER_QUERY_SECONDS": str(POLL_FOR_RUNS_S),
    }


def start_worker(url: str, folder: Path, scratch: Path) -> subprocess.Popen[bytes]:
    """A process worker of the pool; it writes a line for each run it starts to our output.

    Args:
        scratch: for temporary files of the worker and its runs; one that is killed leaves some.
    """
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", NAME]
    return subprocess.Popen(
        command,
        env=environment(url, folder) | {"TMPDIR": str(scratch)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us; the runs are stopped before their worker
        preexec_fn=partial(_in_worker, os.getpid()),  # noqa: PLW1509 there are no threads
    )


def _in_worker(parent: int) -> None:
    """In the child: SIGTERM must end it, which Prefect does by SIGINT; a shell's background job ignores that one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent(signal.SIGTERM, parent)


def wait_until_online(url: str, worker: subprocess.Popen[bytes]) -> None:
    """Wait until the server has heard of the worker.

    Raises:
        ConnectionError: the worker ended, or has not been heard of in time.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if (status := worker.poll()) is not None:
            raise ConnectionError(f"the worker ended with status {status} before it was ready; it said why above")
        known = call(url, "POST", f"/work_pools/{POOL}/workers/filter", {})
        if any(entry["name"] == NAME and entry["status"] == "ONLINE" for entry in known):
            return
        time.sleep(POLL_S * 2)
    raise ConnectionError(f"the worker was not ready within {START_TIMEOUT_S} s")


def runs_of(worker: Process) -> list[Process]:
    """The processes of the flow runs under a worker: its own children, not theirs."""
    members = family(worker)[1:]
    below = {descendant for member in members for descendant in family(member)[1:]}
    return [member for member in members if member not in below]


def stop_runs(url: str, worker: Process, timeout_s: float) -> None:
    """SIGTERM, once, to every flow run under the worker; returns when they have ended, or `timeout_s` have passed.

    The pool is paused meanwhile: the next run in a queue would start as soon as one has ended.
    """
    asked: set[Process] = set()
    deadline = time.monotonic() + timeout_s
    with _pool_paused(url):
        while (runs := runs_of(worker)) and time.monotonic() < deadline:
            for run in runs:
                if run not in asked:
                    os.kill(run.pid, signal.SIGTERM)
                    asked.add(run)
            time.sleep(POLL_S)


@contextmanager
def _pool_paused(url: str) -> Iterator[None]:
    """No new runs while the block lasts; a pool that was paused stays so, and a server that is gone starts none."""
    try:
        was_paused = call(url, "GET", f"/work_pools/{POOL}")["is_paused"]
        call(url, "PATCH", f"/work_pools/{POOL}", {"is_paused": True})
    except ApiError as error:
        logger.warning("%s; stopping the runs all the same", error)
        yield
        return
    try:
        yield
    finally:
        call(url, "PATCH", f"/work_pools/{POOL}", {"is_paused": was_paused})


def wait_for(processes: list[Process], timeout_s: float) -> None:
    """Return when all have ended, or `timeout_s` have passed."""
    deadline = time.monotonic() + timeout_s
    while alive(processes) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def end_with_worker(flow: Any, flow_run: Any, state: Any) -> None:
    """On-running hook of our flows: under a worker, stop as if cancelled when the worker is gone, even by kill -9.

    Linux may tell of a killed parent several times (once for each of its threads that ends later), and a second
    SIGTERM would cut short the saving of a checkpoint. So it tells by SIGHUP, of which the first becomes a SIGTERM.
    """
    if "PREFECT__FLOW_RUN_ID" in os.environ:
        signal.signal(signal.SIGHUP, _terminate_once)
        die_with_parent(signal.SIGHUP, os.getppid())


def _terminate_once(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.kill(os.getpid(), signal.SIGTERM)

"""`hibari up`: Prefect's server and UI, one worker and Hibari's deployments, on loopback, until Ctrl-C.

Nothing here imports Prefect: this process only starts, watches and stops. In order: server, pool and queues, then
worker and deployments at the same time, automation. A record in the cache tells `hibari run` in other shells where the
server is. Stopping goes the other way round: first the runs, of which training saves a checkpoint, then the worker,
then the server that took down how the runs ended. Killed outright, this process takes all of them with it.

    run_up(Wanted(run, "run.yaml"), 4200, Console())
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows.api import ApiError, call
from flows.deployments import (
    AT_WORK,
    DEAD_AFTER_S,
    Wanted,
    active_schedules,
    expect_heartbeats,
    install_automation,
    make_pool,
    register,
)
from flows.server import HEARTBEAT, QUIET, UpRecord, answers, record_uri, running_up, start_own, write_record
from flows.server import stop as stop_server
from flows.worker import POOL, runs_of, start_worker, stop_runs, wait_for, wait_until_online
from storage.processes import Process, family, find, stop
from storage.uri import remove

# A schedule switched on in the UI shows its next runs after this, not after Prefect's minute.
SCHEDULER = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "10"}
# A run gets the time that Prefect gives a cancelled one, and a little for what it says at the end.
STOP_RUNS_S = 45.0
STOP_WORKER_S = 15.0
WATCH_S = 1.0


@dataclass
class Services:
    """What is running so far; `runs` are the processes of the worker's flow runs when last looked at."""

    scratch: Path
    url: str = ""
    server: subprocess.Popen[bytes] | None = None
    worker: subprocess.Popen[bytes] | None = None
    runs: list[Process] = field(default_factory=list)


def run_up(wanted: Wanted, port: int, console: Console) -> None:
    """Start everything, say where it is, and stop it on Ctrl-C, SIGTERM or the end of the terminal.

    Raises:
        ConnectionError: it runs already, the port is taken, or a part did not start or ended by itself.
    """
    wanted.spec()  # what is wrong with it is found before anything is started
    refuse_second(port)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # SIGINT too: a script's background job has it ignored
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    os.environ.update(QUIET | SCHEDULER | dict(os.environ) | HEARTBEAT)
    services = Services(Path(tempfile.mkdtemp(prefix="hibari-up-")))
    try:
        spec = start(services, wanted, port, console)
        console.print(deployment_table(spec))
        console.print(instructions(services.url), highlight=False, soft_wrap=True)
        watch(services)
    except KeyboardInterrupt:
        console.print("stopping", highlight=False)
    finally:
        shut_down(services, console)


def refuse_second(port: int) -> None:
    """Two on one port cannot be, and two on one database would both run every schedule.

    Raises:
        ConnectionError: saying what is there, and what to do.
    """
    url = f"http://127.0.0.1:{port}/api"
    record = running_up()
    if record is not None and (record.url == url or record.prefect_home == prefect_home()):
        raise ConnectionError(
            f"`hibari up` runs already, at {record.ui} since {record.since}, started in {record.folder}; use it, or "
            f"stop it first: Ctrl-C there, or kill {record.process.pid}"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            who = "a Prefect server that is not `hibari up`" if answers(url) else "another program"
            raise ConnectionError(
                f"port {port} is taken by {who} ({error.strerror}); choose another: hibari up --port {port + 1}"
            ) from error


def prefect_home() -> str:
    return os.environ.get("PREFECT_HOME") or str(Path.home() / ".prefect")


def start(services: Services, wanted: Wanted, port: int, console: Console) -> dict[str, Any]:
    """Start and register everything, a line for each step; the registered content of `prefect.yaml`."""
    if elsewhere := os.environ.pop("PREFECT_API_URL", None):
        console.print(f"PREFECT_API_URL is {elsewhere} here: unset it for `hibari run` to find this server")
    with _step(console, "server") as says:
        services.url, services.server = start_own(port)
        says.append(f"{services.url.removesuffix('/api')}, database in {prefect_home()}")
    url, folder = services.url, wanted.folder
    process = find(os.getpid())
    assert process is not None, "this process is alive"
    write_record(UpRecord(url, process, time.strftime("%Y-%m-%d %H:%M:%S"), str(folder), prefect_home()))
    with _step(console, "work pool") as says:
        paused = make_pool(url)
        says.append(f"{POOL}, queues default, training and evaluation (these two one run at a time)")
    if paused:
        console.print(f"  the pool {POOL} is paused: no deployment runs until you resume it in the UI")
    services.worker = start_worker(url, folder, services.scratch)  # takes as long as registering does
    with _step(console, "deployments") as says:
        spec = wanted.spec(active_schedules(url))
        register(url, spec, folder)
        says.append(f"{len(spec['deployments'])}, of the run {wanted.run_file or 'in prefect.yaml'}")
    with _step(console, "automation") as says:
        install_automation(url)
        says.append(f"a run without a heartbeat for {DEAD_AFTER_S} s is Crashed")
        if left := expect_heartbeats(url):
            says.append(f"{left} from earlier looked at")
    with _step(console, "worker") as says:
        wait_until_online(url, services.worker)
        says.append(f"runs deployments in {folder}")
    return spec


@contextmanager
def _step(console: Console, name: str) -> Iterator[list[str]]:
    """Says, when the block has ended well, what it put into the list and how long it took."""
    begun = time.monotonic()
    says: list[str] = []
    yield says
    console.print(f"{name:<12} {'; '.join(says)}  ({time.monotonic() - begun:.1f} s)", highlight=False, soft_wrap=True)


def deployment_table(spec: dict[str, Any]) -> Table:
    """The deployments of a `prefect.yaml`: what starts each (schedules, on or off; events), its queue, what it does."""
    table = Table(title="deployments", title_justify="left")
    for heading in ("deployment", "starts", "queue", "what"):
        table.add_column(heading)
    for deployment in spec["deployments"]:
        starts = [
            f"{schedule['cron']} {schedule['timezone']}, {'on' if schedule['active'] else 'off'}"
            for schedule in deployment.get("schedules", [])
        ]
        starts += [f"event {name}" for trigger in deployment.get("triggers", []) for name in trigger["expect"]]
        flow = deployment["entrypoint"].rsplit(".", 1)[-1]
        queue = deployment["work_pool"]["work_queue_name"]
        table.add_row(f"{flow}/{deployment['name']}", "\n".join(starts), queue, deployment["description"])
    return table


def instructions(url: str) -> str:
    ui = url.removesuffix("/api")
    return (
        f"watch: {ui}   start: Deployments > Run in the UI, or\n"
        f"  PREFECT_API_URL={url} prefect deployment run pipeline/pipeline\n"
        "schedules: hibari up --schedules, or one by one in the UI   stop: Ctrl-C"
    )


def watch(services: Services) -> None:
    """Return never; what ends is a Ctrl-C or an error.

    Raises:
        ConnectionError: the server or the worker ended by itself.
    """
    assert services.server is not None
    assert services.worker is not None
    worker = find(services.worker.pid)
    while True:
        for name, process in (("server", services.server), ("worker", services.worker)):
            if (status := process.poll()) is not None:
                raise ConnectionError(f"the {name} ended by itself, with status {status}; start again: hibari up")
        services.runs = runs_of(worker) if worker else []
        time.sleep(WATCH_S)


def shut_down(services: Services, console: Console) -> None:
    """Stop runs, worker and server, in this order; interrupted again, kill them at once. Leaves nothing behind."""
    started = [service for service in (services.worker, services.server) if service is not None]
    everything = [member for service in started if (root := find(service.pid)) for member in family(root)]
    try:
        worker = find(services.worker.pid) if services.worker and services.worker.poll() is None else None
        if worker is not None and services.worker is not None:
            if runs_of(worker):
                console.print(f"stopping {', '.join(_active_runs(services.url))}; training saves a checkpoint first")
                stop_runs(services.url, worker, STOP_RUNS_S)
            services.worker.terminate()
            services.worker.wait(STOP_WORKER_S)
        wait_for(services.runs, STOP_RUNS_S)  # of a worker that ended by itself
        if services.server is not None:
            stop_server(services.server)
    except subprocess.TimeoutExpired:
        console.print(f"the worker did not end within {STOP_WORKER_S:.0f} s and is killed")
    finally:
        stop([*everything, *services.runs], grace_s=0)
        shutil.rmtree(services.scratch, ignore_errors=True)
        if services.url:
            remove(record_uri())
    if started:
        console.print("stopped; deployments, schedules and what was done are there again at the next `hibari up`")


def _active_runs(url: str) -> list[str]:
    """Names of the flow runs that the pool's worker has at work."""
    chosen = {"work_pools": {"name": {"any_": [POOL]}}, "flow_runs": AT_WORK}
    try:
        return [run["name"] for run in call(url, "POST", "/flow_runs/filter", chosen)]
    except ApiError:  # the server is gone; the runs are stopped all the same
        return ["the runs"]

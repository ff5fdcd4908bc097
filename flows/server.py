"""A Prefect API to run flows against: one that is there, else our own on loopback for as long as we live.

Our own is uvicorn, started as a child before `prefect` is imported, which reads its URL then. It is stopped by atexit,
registered before Prefect's own handlers and so run after them: a server that goes first leaves the process hanging.
A server that `hibari up` keeps running is found, on whatever port, by the record it leaves in the cache.

    url, own = ensure_api()      # before anything imports prefect
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from storage.artifact import cache_folder
from storage.processes import Process, alive, die_with_parent
from storage.swap import file_lock
from storage.uri import write_bytes

logger = logging.getLogger(__name__)

DEFAULT_URL = "http://127.0.0.1:4200/api"
START_TIMEOUT_S = 120
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,tasks,trainer,tokenizer,storage",
}
# The automation that `hibari up` installs takes a run for dead when it has missed three heartbeats, so every process
# that may run a flow of ours must send them this often (Prefect's default is 180 s).
HEARTBEAT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}


@dataclass(frozen=True)
class UpRecord:
    """A running `hibari up`: the URL of its API, its process, since when, its folder, and whose database it uses."""

    url: str
    process: Process
    since: str
    folder: str
    prefect_home: str

    @property
    def ui(self) -> str:
        return self.url.removesuffix("/api")


def ensure_api() -> tuple[str, bool]:
    """Make sure `PREFECT_API_URL` names a server that answers.

    Returns:
        The URL, and whether the server is our own (it is stopped when this process ends).

    Raises:
        ConnectionError: `PREFECT_API_URL` is set and nothing answers there, or our own server did not come up.
    """
    assert "prefect" not in sys.modules, "the API must be chosen before prefect is imported"
    os.environ.update(QUIET | dict(os.environ) | HEARTBEAT)
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        if not answers(configured):
            raise ConnectionError(f"PREFECT_API_URL is {configured}, but no Prefect server answers there")
        return configured, False
    record = running_up()
    url = record.url if record else DEFAULT_URL
    if answers(url):
        os.environ["PREFECT_API_URL"] = url
        return url, False
    url, server = start_own()
    atexit.register(stop, server)
    os.environ["PREFECT_API_URL"] = url
    return url, True


def record_uri() -> str:
    return str(cache_folder() / "up.json")


def write_record(record: UpRecord) -> None:
    write_bytes(record_uri(), json.dumps(asdict(record), indent=1).encode() + b"\n")


def running_up() -> UpRecord | None:
    """What `hibari up` has written, if its process is still alive."""
    try:
        with open(record_uri(), encoding="utf-8") as file:
            fields = json.load(file)
        record = UpRecord(**fields | {"process": Process(**fields["process"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        logger.warning("%s is not a record of `hibari up` and is not used: %s", record_uri(), error)
        return None
    return record if alive([record.process]) else None


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_own(port: int | None = None) -> tuple[str, subprocess.Popen[bytes]]:
    """Start a server on loopback, on a free port unless one is given; its API URL, and the process, for `stop`.

    Raises:
        ConnectionError: it did not come up; the message ends with what it said.
    """
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    with file_lock(home / "hibari-server.lock"):  # two that make the tables of a new database at once both fail
        return _start(port or _free_port())


def _start(port: int) -> tuple[str, subprocess.Popen[bytes]]:
    url = f"http://127.0.0.1:{port}/api"
    log = tempfile.TemporaryFile("w+b", prefix="hibari-prefect-")  # noqa: SIM115 the server's; it has no name
    command = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    environment = os.environ | {"PREFECT_SERVER_UI_API_URL": url}
    server = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for the flow; the server must outlive it
        preexec_fn=partial(die_with_parent, signal.SIGTERM, os.getpid()),  # noqa: PLW1509 there are no threads yet
    )
    deadline = time.monotonic() + START_TIMEOUT_S
    try:
        while time.monotonic() < deadline and server.poll() is None:
            if answers(url):
                return url, server
            time.sleep(0.1)
    except BaseException:  # interrupted while waiting
        stop(server)
        raise
    stop(server)
    log.seek(0)
    tail = log.read().decode(errors="replace")[-2000:]
    raise ConnectionError(f"the Prefect server did not come up within {START_TIMEOUT_S} s; it said:\n{tail}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """End a server that `start_own` started, if it still runs."""
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

"""A Prefect API to run flows against: one that is there, else our own on loopback for as long as we live.

Our own is uvicorn, started as a child before `prefect` is imported, which reads its URL then. It is stopped by atexit,
registered before Prefect's own handlers and so run after them: a server that goes first leaves the process hanging.

    url = ensure_api()      # before anything imports prefect
"""

from __future__ import annotations

import atexit
import ctypes
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

logger = logging.getLogger(__name__)

DEFAULT_URL = "http://127.0.0.1:4200/api"
START_TIMEOUT_S = 120
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,tasks,trainer,tokenizer,storage",
}


def ensure_api() -> tuple[str, bool]:
    """Make sure `PREFECT_API_URL` names a server that answers.

    Returns:
        The URL, and whether the server is our own (it is stopped when this process ends).

    Raises:
        ConnectionError: `PREFECT_API_URL` is set and nothing answers there, or our own server did not come up.
    """
    assert "prefect" not in sys.modules, "the API must be chosen before prefect is imported"
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        if not answers(configured):
            raise ConnectionError(f"PREFECT_API_URL is {configured}, but no Prefect server answers there")
        return configured, False
    if answers(DEFAULT_URL):
        os.environ["PREFECT_API_URL"] = DEFAULT_URL
        return DEFAULT_URL, False
    url, server = start_own()
    atexit.register(stop, server)
    os.environ["PREFECT_API_URL"] = url
    return url, True


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


def _die_with_parent() -> None:
    """In the child, on Linux: SIGTERM when the parent is gone, even by kill -9 (PR_SET_PDEATHSIG is 1)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def start_own() -> tuple[str, subprocess.Popen[bytes]]:
    """Start a server on a free loopback port; its API URL, and the process, for `stop`.

    Raises:
        ConnectionError: it did not come up; the message ends with what it said.
    """
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    log = tempfile.NamedTemporaryFile("w+b", prefix="hibari-prefect-", suffix=".log")  # noqa: SIM115 the server's
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
        preexec_fn=_die_with_parent,  # noqa: PLW1509 there are no threads yet
    )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        if answers(url):
            return url, server
        time.sleep(0.1)
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

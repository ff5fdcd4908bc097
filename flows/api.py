"""The few calls to Prefect's REST API that need no Prefect: importing it takes seconds, and `hibari up` only watches.

call(url, "POST", "/work_pools/", {"name": "hibari", "type": "process"})
"""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

TIMEOUT_S = 30
# A server that has just started is writing to its SQLite database, and answers 503 where that is locked.
BUSY_S = 60


class ApiError(ConnectionError):
    """The server refused a request (`status` is its HTTP status), or did not answer (`status` is 0)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def call(url: str, method: str, path: str, body: Any = None) -> Any:
    """One request, made again while the server is busy; the decoded answer, None where it is empty.

    Args:
        url: of the API, ending in `/api`.
        body: sent as JSON.

    Raises:
        ApiError: it was refused or not answered.
    """
    headers = {"Content-Type": "application/json"}
    if user := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, headers, method=method)
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                text = answer.read()
            return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:500]
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                raise ApiError(
                    f"the Prefect server refused {method} {path}: {error.code} {said}", error.code
                ) from error
        except OSError as error:
            raise ApiError(f"the Prefect server at {url} does not answer {method} {path}: {error}", 0) from error
        time.sleep(1)

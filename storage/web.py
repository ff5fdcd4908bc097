"""Files on web servers, read from front to back.

One request streams the file, however large it is and whether or not the server serves ranges. An answer that breaks off
is asked for again from where it ended, and only if the file is still the same one (RFC 9110, `If-Range`); a file is
never cut off in silence.

    with open_web("https://example.jp/pile/00.jsonl.zst") as file: file.read(1 << 16)
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Mapping
from typing import IO, Any, cast

import urllib3

logger = logging.getLogger(__name__)

_TIMEOUT = urllib3.Timeout(connect=30, read=60)  # seconds, the second for every block
_ATTEMPTS = 5  # in a row without a byte
_PAUSE_S = 2.0  # before the third attempt, twice that before the fourth
_BUFFER = 1 << 18


def serves_ranges(uri: str) -> bool:
    """Whether the server gives the first byte when asked for no more.

    Raises:
        OSError: it does not answer.
    """
    response = _get(uri, {"Range": "bytes=0-0"})
    response.close()
    return response.status == 206


def open_web(uri: str) -> IO[bytes]:
    """A file on a web server, open for reading from front to back.

    Raises:
        FileNotFoundError: nothing at `uri`.
        OSError: the server does not answer, or, while reading, breaks off again and again.
    """
    return cast(IO[bytes], io.BufferedReader(_Body(uri), _BUFFER))


class _NoRestError(OSError):
    """The rest of a file cannot be had."""


class _Body(io.RawIOBase):
    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._at = 0  # bytes read
        self._response = _get(uri)
        if self._response.status != 200:
            self._response.close()
            raise FileNotFoundError(f"nothing found at {uri}: the server answers {self._response.status}")
        headers = self._response.headers
        version = headers.get("ETag", "")
        self._version = headers.get("Last-Modified", "") if version.startswith("W/") or not version else version

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one block of the answer goes; asks for the rest of an answer that breaks off."""
        for attempt in range(_ATTEMPTS):
            try:
                if attempt:
                    self._resume(attempt)
                data = self._response.read(len(buffer))
            except _NoRestError as error:
                raise OSError(
                    f"{self._uri} broke off after {self._at} bytes ({error}); fetch the file first"
                ) from error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                problem = error
                logger.warning("%s broke off after %d bytes (%s)", self._uri, self._at, error)
            else:
                buffer[: len(data)] = data
                self._at += len(data)
                return len(data)
        raise OSError(f"{self._uri} broke off after {self._at} bytes, {_ATTEMPTS} times ({problem}); try again later")

    def _resume(self, attempt: int) -> None:
        """Ask for what comes after the bytes that were handed out."""
        self._response.close()
        if not self._version:
            raise _NoRestError("the server tells no version of the file, so its rest could be that of another one")
        time.sleep((attempt - 1) * _PAUSE_S)
        self._response = _get(self._uri, {"Range": f"bytes={self._at}-", "If-Range": self._version})
        if self._response.status == 200:
            raise _NoRestError("asked for the rest, the server gives the whole file: another one, or it has no parts")
        if self._response.status != 206:
            raise OSError(f"asked for the rest, the server answers {self._response.status}")

    def close(self) -> None:
        if not self.closed:
            self._response.close()
        super().close()


def _get(uri: str, headers: Mapping[str, str] | None = None) -> urllib3.BaseHTTPResponse:
    """The answer to a request, its body unread and as the server keeps it."""
    asked = {"Accept-Encoding": "identity"} | dict(headers or {})
    try:
        return urllib3.request("GET", uri, headers=asked, preload_content=False, timeout=_TIMEOUT)
    except urllib3.exceptions.HTTPError as error:
        raise OSError(f"{uri}: no answer ({error})") from error

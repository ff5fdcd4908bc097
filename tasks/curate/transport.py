"""One request for a range of bytes, to an HTTP server or to S3, and what can come of it.

HTTP goes through urllib3, S3 through botocore: both are there with s3fs, both hand out the body as it arrives, and
neither repeats anything by itself here, so that how often a server is asked is decided in one place (`remote.py`). What
a server says is sorted into an `Answer` and five kinds of errors: slow down (`RefusedError`), try again
(`BrokenError`), changed (`ChangedError`), not there (`FileNotFoundError`), not for you (`PermissionError`).

    with get("https://data.commoncrawl.org/crawl-data/…", 1000, 2000, version=None, timeout_s=60) as answer:
        b"".join(answer.chunks)
"""

from __future__ import annotations

import email.utils
import re
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as installed_version
from typing import Any
from urllib.parse import urlsplit

import urllib3

_CHUNK = 64 << 10
_POOL = 64  # connections kept open to a server; how many there are is `politeness.py`'s affair
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_SLOWER = (403, 408, 429, 500, 502, 503, 504)  # CloudFront answers 403 to who asks too often
_SLOWER_CODES = ("SlowDown", "ServiceUnavailable", "RequestLimitExceeded", "Throttling", "InternalError")


@dataclass(frozen=True)
class Answer:
    """Bytes of a file from `first` on, as they arrive.

    Attributes:
        size: of the whole file, None where the server does not say.
        version: ETag or time of change of the file, None where the server names neither.
    """

    first: int
    size: int | None
    version: str | None
    content_type: str
    chunks: Iterator[bytes]


class RefusedError(Exception):
    """The server would not answer now; `retry_after_s` is the wait it asked for, if it asked."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BrokenError(Exception):
    """No connection, or one that broke off."""


class ChangedError(Exception):
    """The file is not the one that was asked for."""


@contextmanager
def get(uri: str, first: int, last: int | None, version: str | None, timeout_s: float) -> Iterator[Answer]:
    """Ask once for the bytes from `first` to before `last`, None for all that follow.

    Args:
        version: of the file that is meant; None for any.

    Raises:
        RefusedError, BrokenError, ChangedError, FileNotFoundError, PermissionError: see above; BrokenError also while
            the chunks are read.
        ValueError: neither HTTP nor S3, or a status that means nothing here.
    """
    scheme = urlsplit(uri).scheme
    if scheme in ("http", "https"):
        with _get_http(uri, first, last, version, timeout_s) as answer:
            yield answer
    elif scheme == "s3":
        with _get_s3(uri, first, last, version, timeout_s) as answer:
            yield answer
    else:
        raise ValueError(f"{uri}: expected https://, http:// or s3://")


@contextmanager
def _get_http(uri: str, first: int, last: int | None, version: str | None, timeout_s: float) -> Iterator[Answer]:
    headers = {"Accept-Encoding": "identity", "User-Agent": f"hibari/{installed_version('hibari')}"}
    if first > 0 or last is not None:
        headers["Range"] = _range(first, last)
        if version is not None and version.startswith('"'):  # a weak ETag may not be used here (RFC 9110 §13.1.5)
            headers["If-Range"] = version
    try:
        response = _pool(urlsplit(uri).scheme, urlsplit(uri).hostname or "").request(
            "GET",
            uri,
            headers=headers,
            preload_content=False,
            decode_content=False,
            timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s),
        )
    except urllib3.exceptions.HTTPError as error:
        raise BrokenError(str(error)) from error
    try:
        yield _http_answer(uri, response, first)
    finally:
        response.close() if response.length_remaining else response.release_conn()


def _http_answer(uri: str, response: urllib3.BaseHTTPResponse, first: int) -> Answer:
    status, headers = response.status, response.headers
    content_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    version = headers.get("ETag") or headers.get("Last-Modified")
    if status == 200:
        length = headers.get("Content-Length", "")
        return Answer(0, int(length) if length.isdigit() else None, version, content_type, _http_chunks(response))
    said = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    size = int(said[3]) if said and said[3] != "*" else None
    if status == 206 and said and said[1]:
        return Answer(int(said[1]), size, version, content_type, _http_chunks(response))
    if status == 416:
        return Answer(first, size if size is not None else first, None, "", iter(()))  # beyond the end of the file
    if status in (404, 410):
        raise FileNotFoundError(f"nothing at {uri} (status {status})")
    if status == 412:
        raise ChangedError(f"{uri}: status 412")
    if status == 401:
        raise PermissionError(f"{uri} asks for a password (status 401)")
    if status in _SLOWER:
        raise RefusedError(f"status {status} {response.reason or ''}".strip(), _retry_after(headers))
    raise ValueError(f"{uri}: status {status} {response.reason or ''}, expected 200 or 206")


def _http_chunks(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    try:
        yield from response.stream(_CHUNK, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise BrokenError(str(error)) from error


@cache
def _pool(scheme: str, host: str) -> urllib3.PoolManager:
    """Connections of this process to a server, through the proxy that the environment names, if it names one."""
    only_redirects = urllib3.Retry(total=None, connect=False, read=False, redirect=5, status=False, other=False)
    proxy = urllib.request.getproxies().get(scheme)
    if proxy is None or urllib.request.proxy_bypass(host):
        return urllib3.PoolManager(retries=only_redirects, maxsize=_POOL)
    return urllib3.ProxyManager(proxy, retries=only_redirects, maxsize=_POOL)


@contextmanager
def _get_s3(uri: str, first: int, last: int | None, version: str | None, timeout_s: float) -> Iterator[Answer]:
    import botocore.exceptions as boto

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    wanted = {"Bucket": bucket, "Key": key, "Range": _range(first, last)} | ({"IfMatch": version} if version else {})
    try:
        response = _s3_client(timeout_s).get_object(**wanted)
    except boto.ClientError as error:
        yield _s3_refusal(uri, error, first)
        return
    except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
        raise PermissionError(
            f"{uri}: no AWS credentials (Common Crawl's bucket wants any valid ones): set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or use https://data.commoncrawl.org/"
        ) from error
    except boto.BotoCoreError as error:
        raise BrokenError(str(error)) from error
    body = response["Body"]
    said = _CONTENT_RANGE.fullmatch(response.get("ContentRange", ""))
    start = int(said[1]) if said and said[1] else 0
    size = int(said[3]) if said and said[3] != "*" else response.get("ContentLength")
    try:
        yield Answer(start, size, response.get("ETag"), response.get("ContentType", "").lower(), _s3_chunks(body))
    finally:
        body.close()


def _s3_chunks(body: Any) -> Iterator[bytes]:
    import botocore.exceptions as boto

    try:
        yield from body.iter_chunks(_CHUNK)
    except (boto.BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
        raise BrokenError(str(error)) from error


def _s3_refusal(uri: str, error: Any, first: int) -> Answer:
    """What S3 means by an error: an empty answer beyond the end of the file, else one of ours."""
    metadata, code = error.response.get("ResponseMetadata", {}), error.response.get("Error", {}).get("Code", "")
    status, headers = metadata.get("HTTPStatusCode"), metadata.get("HTTPHeaders", {})
    if status == 416:
        return Answer(first, None, None, "", iter(()))
    if status == 404:
        raise FileNotFoundError(f"nothing at {uri} ({code})") from error
    if status == 412:
        raise ChangedError(f"{uri}: {code}") from error
    if code in _SLOWER_CODES or status in (429, 500, 502, 503, 504):
        raise RefusedError(f"{code} (status {status})", _retry_after(headers)) from error
    if status in (401, 403):
        raise PermissionError(f"{uri}: {code}; the AWS credentials of the environment may not read it") from error
    raise ValueError(f"{uri}: {error}") from error


@cache
def _s3_client(timeout_s: float) -> Any:
    """A client of this process; endpoint, region and credentials are the environment's."""
    import botocore.session
    from botocore.config import Config

    once = {"total_max_attempts": 1}
    config = Config(connect_timeout=timeout_s, read_timeout=timeout_s, retries=once, max_pool_connections=_POOL)
    return botocore.session.get_session().create_client("s3", config=config)


def _range(first: int, last: int | None) -> str:
    return f"bytes={first}-{'' if last is None else last - 1}"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, of a header that holds seconds or a date (RFC 9110 §10.2.3)."""
    value = headers.get("Retry-After") or headers.get("retry-after") or ""
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None

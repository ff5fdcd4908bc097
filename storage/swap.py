"""Small files that several processes change at once: created only where absent, replaced only while unchanged.

Locally a swap happens under flock on the very file that is replaced, so that of two one finds it changed; where a file
system has no flock the last one wins. On S3 requests are conditional (If-None-Match, If-Match; AWS S3 and SeaweedFS
honour them); on other object stores only creation is.

    create("a.lease", b"mine") or swap("a.lease", expected=b"theirs", data=b"mine")
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.uri import filesystem, is_local, local_path, read_bytes, write_bytes

_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def read(uri: str) -> bytes | None:
    """What the file holds, None where there is none."""
    try:
        return read_bytes(uri)
    except FileNotFoundError:
        return None


def create(uri: str, data: bytes) -> bool:
    """Write a new file; False where there is one. Locally a reader may find it empty for a moment."""
    if not is_local(uri):
        fs, path = filesystem(uri)
        # Refused, although it is ours: the answer to our own request was lost, and it was repeated.
        return _conditional(lambda: fs.pipe_file(path, data, mode="create")) or read(uri) == data
    local = local_path(uri)
    local.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(local, "xb") as file:
            file.write(data)
    except FileExistsError:
        return False
    except OSError:  # such as a full disk
        local.unlink(missing_ok=True)
        raise
    return True


def swap(uri: str, expected: bytes, data: bytes | None) -> bool:
    """Replace the file by `data`, or remove it (None), if it holds what is expected; False where it does not."""
    if not is_local(uri):
        return _swap_object(uri, expected, data)
    path = local_path(uri)
    try:
        with open(path, "rb") as file:
            _flock(file.fileno())
            if file.read() != expected or not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return False
            if data is None:
                path.unlink()
            else:
                write_bytes(str(path), data)
            return True
    except FileNotFoundError:
        return False


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Alone among this machine's processes for a moment, such as to read, change and write another file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        _flock(file.fileno())
        yield


def _swap_object(uri: str, expected: bytes, data: bytes | None) -> bool:
    fs, path = filesystem(uri)
    is_s3 = "s3" in fs.protocol
    try:
        etag = fs.info(path, **({"refresh": True} if is_s3 else {})).get("ETag")
    except FileNotFoundError:
        return False
    if read(uri) != expected:
        return False
    condition: dict[str, Any] = {"IfMatch": etag} if is_s3 else {}
    if data is not None:
        # As in `create`.
        return _conditional(lambda: fs.pipe_file(path, data, **condition)) or read(uri) == data
    if not is_s3:
        fs.rm_file(path)
        return True
    bucket, key, _ = fs.split_path(path)
    return _conditional(lambda: fs.call_s3("delete_object", Bucket=bucket, Key=key, **condition))


def _conditional(request: Callable[[], Any]) -> bool:
    """Do a conditional request; False where the store says that its condition does not hold."""
    try:
        request()
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno != errno.EINVAL:  # what s3fs makes of "412 Precondition Failed"
            raise
        return False
    return True


def _flock(descriptor: int) -> None:
    """Lock an open file until it is closed, where the file system can."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise

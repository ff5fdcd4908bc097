"""URIs: one way to name bytes on a disk, on S3 and behind HTTP (fsspec).

A URI without a scheme is a local path. Writing is atomic everywhere: `open_atomic` shows the bytes under
their name only when the block ends without an error. Locally that is a temporary file, fsync and rename; on an
object store an upload that is committed when whole, because s3fs publishes truncated objects when a
plain `with fs.open(...)` block raises (s3fs issue 154).

    with open_atomic("s3://bucket/run/part-0.parquet") as file:
        file.write(data)
    print(file.size, file.sha256)
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.core import url_to_fs

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")  # as `open_atomic` names them


class HashingFile:
    """A binary file open for writing that knows the size and sha256 of what went through it.

    It cannot seek: every byte is hashed once, in order, so no format that rewrites its header fits here.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()
        self.size = 0
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._raw.write(view)
        self._hash.update(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._raw.flush()

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Do nothing: `open_atomic` closes the file beneath (gzip and pyarrow call this when they end)."""

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def is_local(uri: str) -> bool:
    return "://" not in uri or uri.startswith("file://")


def is_web(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def local_path(uri: str) -> Path:
    """The path behind a local URI.

    Raises:
        ValueError: the URI is not local.
    """
    if not is_local(uri):
        raise ValueError(f"expected a local path, got {uri}")
    return Path(uri.removeprefix("file://"))


def join(base: str, *parts: str) -> str:
    return "/".join([base.rstrip("/"), *(part.strip("/") for part in parts)])


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system behind a URI, and the path it uses there.

    Compression and chaining are not interpreted: `.gz` files are opened by their readers.
    """
    return url_to_fs(uri)


def open_stream(uri: str) -> IO[bytes]:
    """A file open for reading from front to back, with a few blocks of it in memory.

    Raises:
        FileNotFoundError: nothing at `uri`.
    """
    if is_web(uri):
        from storage.web import open_web  # urllib3 takes a tenth of a second to import, and few files are there

        return open_web(uri)
    fs, path = filesystem(uri)
    return fs.open(path, "rb")


@contextmanager
def open_atomic(uri: str) -> Iterator[HashingFile]:
    """Open `uri` for writing; it appears, whole, when the block ends, and not at all if the block raises."""
    if is_local(uri):
        path = local_path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            with open(temporary, "wb") as raw:
                yield (file := HashingFile(raw))
                raw.flush()
                os.fsync(raw.fileno())
            file.closed = True
            os.replace(temporary, path)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
                error.filename = str(path)  # a write does not say to which file
            raise
        finally:
            temporary.unlink(missing_ok=True)
        return
    fs, path_there = filesystem(uri)
    raw = fs.open(path_there, "wb", autocommit=False)
    try:
        yield (file := HashingFile(raw))
    except BaseException:
        raw.discard()
        raise
    raw.close()
    raw.commit()


def write_bytes(uri: str, data: bytes) -> None:
    with open_atomic(uri) as file:
        file.write(data)


def read_bytes(uri: str) -> bytes:
    fs, path = filesystem(uri)
    return fs.cat_file(path)


def exists(uri: str) -> bool:
    fs, path = filesystem(uri)
    return fs.exists(path)


def size(uri: str) -> int | None:
    """Bytes under `uri`, or None where there is no such file."""
    if is_local(uri):
        path = local_path(uri)
        return path.stat().st_size if path.is_file() else None
    fs, path_there = filesystem(uri)
    try:
        return fs.info(path_there)["size"]
    except FileNotFoundError:
        return None


def sha256(uri: str) -> str:
    digest = hashlib.sha256()
    with open_stream(uri) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def listing(uri: str) -> list[str]:
    """Relative paths of all files below a folder, sorted; empty where there is no such folder.

    Temporary names (leading dot) are left out.
    """
    fs, path = filesystem(uri)
    if not fs.exists(path):
        return []
    fs.invalidate_cache()
    found = [str(name)[len(path.rstrip("/")) + 1 :] for name in fs.find(path)]
    return sorted(name for name in found if not name.rsplit("/", 1)[-1].startswith("."))


def remove(uri: str) -> None:
    """Remove a file or a whole folder; what is not there is no error."""
    fs, path = filesystem(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def remove_temporaries(uri: str) -> None:
    """Remove what killed writers of `open_atomic` left below a folder: temporary files, or parts of uploads.

    Nobody else may be writing there.
    """
    if is_local(uri):
        for path in local_path(uri).rglob(".*.tmp"):
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)
        return
    fs, path_there = filesystem(uri)
    if "s3" not in fs.protocol:
        return
    bucket, prefix, _ = fs.split_path(path_there.rstrip("/") + "/")
    for upload in fs.list_multipart_uploads(bucket):
        if upload["Key"].startswith(prefix):
            fs.abort_mpu(bucket, upload["Key"], upload["UploadId"])


def link(source: str, target: str) -> None:
    """Have a file under another name too, in whole or not at all: a hard link, or a copy made where the file lies.

    Files of artifacts are never written in place, so two names of the same bytes do no harm.
    """
    if not is_local(source) or not is_local(target):
        fs, path = filesystem(source)
        fs.copy(path, filesystem(target)[1])
        return
    path_there = local_path(target)
    path_there.parent.mkdir(parents=True, exist_ok=True)
    temporary = path_there.with_name(f".{path_there.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        try:
            os.link(local_path(source), temporary)
        except OSError:  # a file system without hard links, or another one
            shutil.copyfile(local_path(source), temporary)
        os.replace(temporary, path_there)
    finally:
        temporary.unlink(missing_ok=True)  # renaming one name of a file to another of its names does nothing


def expand_glob(uri: str) -> list[str]:
    """All files that a path, folder or glob names, sorted, with their scheme.

    Raises:
        FileNotFoundError: nothing matches.
    """
    fs, path = filesystem(uri)
    scheme = "" if is_local(uri) else uri.split("://", 1)[0] + "://"
    relative = is_local(uri) and not os.path.isabs(uri.removeprefix("file://"))
    wildcards = "*[" if is_web(uri) else "*?["  # `?` begins the query of a web address
    found = fs.glob(path) if any(c in path for c in wildcards) else [path] if fs.exists(path) else []
    names = [os.path.relpath(name) if relative else name for name in found]
    if not names:
        raise FileNotFoundError(f"nothing found at {uri}")
    return sorted(name if name.startswith(scheme) else scheme + name for name in names)


@contextmanager
def localized(uri: str) -> Iterator[Path]:
    """A local copy of a file or folder for as long as the block lasts; the thing itself where it is local."""
    if is_local(uri):
        path = local_path(uri)
        if not path.exists():
            raise FileNotFoundError(f"nothing found at {uri}")
        yield path
        return
    fs, path_there = filesystem(uri)
    with tempfile.TemporaryDirectory(prefix="hibari-") as folder:
        target = Path(folder) / path_there.rstrip("/").rsplit("/", 1)[-1]
        fs.get(path_there, str(target), recursive=fs.isdir(path_there))
        yield target


def upload_tree(folder: Path, uri: str) -> None:
    """Copy every file below a local folder under `uri`, each atomically."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with (
                open(path, "rb") as source,
                open_atomic(join(uri, path.relative_to(folder).as_posix())) as sink,
            ):
                shutil.copyfileobj(source, sink, 1 << 20)


@contextmanager
def staged(uri: str) -> Iterator[Path]:
    """A local folder to write to, for libraries that know only paths: `uri` itself, or a copy uploaded at the end.

    What an interrupted block had written is kept where `uri` is local, and lost where it is not.
    """
    if is_local(uri):
        path = local_path(uri)
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="hibari-") as folder:
        yield Path(folder)
        upload_tree(Path(folder), uri)

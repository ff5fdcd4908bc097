"""Fetching ranges of remote files into local ones, so that a killed process need not begin again.

`fetched` puts ranges of a file one after another into a file below `$HIBARI_CACHE/fetch/`, and `fetched_span` what
is needed to read the records that start in a part of a WARC. A process that is killed leaves that file, and the
next one that wants the same goes on at its end; after an error it is kept too. It is removed when it has been read, or
a week after nobody came back for it. So the disk holds one for each worker that is fetching or reading: a whole WARC
(about 1 GB), one of its parts, or the ranges of the records wanted of it.

    with fetched("https://data.commoncrawl.org/…/a.warc.gz", [(0, None)], config) as path: ...
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import mmap
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from storage.artifact import cache_folder, canonical_json
from storage.uri import write_bytes
from tasks.curate.config import CommonCrawlConfig
from tasks.curate.remote import RemoteFile, SourceChangedError

Range = tuple[int, int | None]
Watch = Callable[[float], None]
FindMember = Callable[[mmap.mmap, int], int]

MARGIN = 1 << 20  # bytes fetched beyond a span to find the end of its last record
KEPT_S = 7 * 24 * 3600  # how long what is left of a fetch waits for someone to go on with it


@contextmanager
def fetched(uri: str, ranges: Sequence[Range], config: CommonCrawlConfig, watch: Watch | None = None) -> Iterator[Path]:
    """Ranges of a file, one after another in a local file, for as long as the block lasts.

    Args:
        ranges: (first, last) each, in order and apart; last None: to the end of the file.
        watch: told the fraction that is there, now and then.

    Raises:
        As `RemoteFile`.
    """
    with _local_part(uri, ranges, config) as part:
        total = sum(last - first for first, last in ranges if last is not None)
        present = part.num_bytes
        for first, last in ranges:
            length = None if last is None else last - first
            if length is None or present < length:
                part.append(first + present, last, total, watch)
                present = length or 0
            present -= length or 0
        if ranges and ranges[0][0] == 0:
            part.check_beginning()
        yield part.path


@contextmanager
def fetched_span(
    uri: str,
    first: int,
    last: int,
    config: CommonCrawlConfig,
    find_member: FindMember,
    watch: Watch | None = None,
) -> Iterator[Path]:
    """A local file that holds a WARC from `first` on, through the end of the last record that starts before `last`.

    Args:
        find_member: where in the data the next gzip member that opens a WARC record starts, from an offset on; the
            length of the data where there is none.

    Raises:
        As `RemoteFile`.
    """
    with _local_part(uri, [(first, last)], config) as part:
        end = last + MARGIN
        while True:
            part.append(first + part.num_bytes, end, end - first, watch)
            is_all = part.remote.size is not None and first + part.num_bytes >= part.remote.size
            if is_all or part.holds_member_after(last - first, find_member):
                break
            end += part.num_bytes  # a long torn stretch: look twice as far each time
        if first == 0:
            part.check_beginning()
        yield part.path


class _Part:
    """The local file of a fetch, open and locked."""

    def __init__(self, path: Path, file: IO[bytes], uri: str, config: CommonCrawlConfig) -> None:
        self.path, self._file = path, file
        self._beside = path.with_suffix(".json")
        known = self._known(uri)
        if known is None:
            file.truncate(0)
        self.num_bytes = file.seek(0, os.SEEK_END)
        self.remote = RemoteFile(uri, config, *(known or (None, None)))

    def append(self, first: int, last: int | None, total: int, watch: Watch | None) -> None:
        """Fetch a range to the end of this file, of which there will be `total` bytes (0: the whole remote file)."""
        known = (self.remote.size, self.remote.version)
        try:
            for chunk in self.remote.stream(first, last):
                if (self.remote.size, self.remote.version) != known:
                    known = (self.remote.size, self.remote.version)
                    content = {"uri": self.remote.uri, "size": known[0], "version": known[1]}
                    write_bytes(str(self._beside), json.dumps(content).encode())
                self.num_bytes += self._file.write(chunk)
                if watch:
                    watch(min(1.0, self.num_bytes / (total or self.remote.size or self.num_bytes)))
            self._file.flush()
        except SourceChangedError:
            self.remove()
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
                error.filename = str(self.path)  # a write does not say to which file
            raise

    def holds_member_after(self, place: int, find_member: FindMember) -> bool:
        """Whether the file holds the start of a record at or after a place in it, beyond doubt."""
        if self.num_bytes <= place:
            return False
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return find_member(data, place) <= len(data) - 1024  # enough of it to tell what it opens

    def check_beginning(self) -> None:
        """Refuse an error page that came under the name of a WARC.

        Raises:
            ValueError: the file begins as a page does.
        """
        with open(self.path, "rb") as file:
            head = file.read(64)
        if head.lstrip()[:1] in (b"<", b"{"):
            self.remove()
            raise ValueError(
                f"{self.remote.uri} is no WARC file: it begins with {head[:40]!r}, as an error page does; open it in "
                "a browser to see what it says, and name another place in curate.commoncrawl.base or curate.sources"
            )

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._beside.unlink(missing_ok=True)

    def _known(self, uri: str) -> tuple[int | None, str | None] | None:
        """Size and version of the file whose bytes are here; None where that is not known."""
        try:
            content = json.loads(self._beside.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return (content["size"], content["version"]) if content.get("uri") == uri else None


@contextmanager
def _local_part(uri: str, ranges: Sequence[Range], config: CommonCrawlConfig) -> Iterator[_Part]:
    """The local file of a fetch, with what an earlier process left of it; removed when the block ends well."""
    folder = cache_folder() / "fetch"
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    name = hashlib.sha256(canonical_json([uri, list(ranges)])).hexdigest()[:32]
    number = 0
    while (file := _open_locked(folder / f"{name}-{number}.part")) is None:
        number += 1  # another run is reading the same
    with file:
        part = _Part(folder / f"{name}-{number}.part", file, uri, config)
        yield part
        part.remove()


def _open_locked(path: Path) -> IO[bytes] | None:
    """Open for appending, alone; None where another process has it."""
    while True:
        file = open(path, "ab")  # noqa: SIM115 whoever asked closes it
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                file.close()
                raise
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # whoever had it has just removed it


def _remove_abandoned(folder: Path) -> None:
    """Remove what nobody came back for."""
    for path in folder.glob("*.part"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > KEPT_S and (file := _open_locked(path)) is not None:
                with file:
                    path.unlink()
                    path.with_suffix(".json").unlink(missing_ok=True)

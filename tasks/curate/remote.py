"""A file that is not on this machine, read by ranges: politely, and without starting over.

Requests go on at the byte where a connection broke off, wait as long as the server asks (`politeness.py`), and are held
against what is known of the file: its size and its version (ETag, or time of change) must stay what the first answer
said they are.

    RemoteFile("https://data.commoncrawl.org/…/a.warc.gz", config.commoncrawl).read(1000, 2000)
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from tasks.curate.config import CommonCrawlConfig
from tasks.curate.politeness import Politeness
from tasks.curate.transport import Answer, BrokenError, ChangedError, RefusedError, get

logger = logging.getLogger(__name__)

MAX_WRONG_ANSWERS = 5  # in a row, such as the whole file in place of a range
FIRST_WAIT_S, MAX_WAIT_S = 0.2, 30.0  # after a connection that broke off
_ERROR_PAGES = ("text/html", "application/xhtml+xml", "application/xml", "text/xml")


class SourceChangedError(RuntimeError):
    """A file is not what it was when fetching it began."""


class RemoteFile:
    """A file behind HTTP or on S3, read by ranges.

    Args:
        size, version: what is known of it from before.

    Raises (whatever reads):
        FileNotFoundError, PermissionError: it is not there, or may not be read.
        SourceChangedError: another version of it answers.
        ValueError: the server sends something else, or whole files in place of ranges.
        ConnectionError: nothing more came for `give_up_s`.
    """

    def __init__(
        self, uri: str, config: CommonCrawlConfig, size: int | None = None, version: str | None = None
    ) -> None:
        self.uri, self.config = uri, config
        self.size, self.version = size, version
        server = urlsplit(uri).scheme + "-" + urlsplit(uri).netloc.rsplit("@", 1)[-1]
        self._politeness = Politeness(server, config.max_connections, config.requests_per_second)

    def stream(self, first: int, last: int | None = None) -> Iterator[bytes]:
        """The bytes from `first` to before `last`, or to the end of the file where that comes sooner."""
        position, patience = first, _Patience(self.uri, self.config)
        while self._wants(position, last):
            try:
                with (
                    self._politeness.request() as sent,
                    get(self.uri, position, last, self.version, self.config.timeout_s) as answer,
                ):
                    self._check(answer, position)
                    self._politeness.answered()
                    for chunk in answer.chunks:
                        chunk = chunk if last is None else chunk[: last - position]
                        position += len(chunk)
                        patience.progressed()
                        yield chunk
                        if position == last:
                            break
                if self.size is None and position != last:  # an answer of unknown length that ended well
                    self.size = position
                if self._wants(position, last):
                    patience.failed("the answer ended early")
            except RefusedError as error:
                patience.refused(error)
                self._politeness.refused(sent, error.retry_after_s)
            except BrokenError as error:
                patience.failed(str(error))
            except _WrongAnswerError as error:
                patience.answered_wrong(str(error))
            except ChangedError as error:
                raise self._changed() from error

    def read(self, first: int = 0, last: int | None = None) -> bytes:
        """The bytes of a range, in memory."""
        return b"".join(self.stream(first, last))

    def learn_size(self) -> int:
        """Bytes of the file; asked for once."""
        if self.size is None:
            self.read(0, 1)
        assert self.size is not None
        return self.size

    def _wants(self, position: int, last: int | None) -> bool:
        end = min((bound for bound in (last, self.size) if bound is not None), default=None)
        return end is None or position < end

    def _check(self, answer: Answer, position: int) -> None:
        """Hold an answer against what is known of the file, and learn from the first one."""
        if answer.content_type in _ERROR_PAGES:
            raise _WrongAnswerError(f"it sends {answer.content_type}, as if it were a web page")
        if None not in (self.size, answer.size) and self.size != answer.size:
            raise self._changed()
        if not _may_be_equal(self.version, answer.version):
            raise self._changed()
        if answer.first != position:
            raise _WrongAnswerError(f"asked for the bytes from {position:,}, it sends those from {answer.first:,}")
        self.size = answer.size if self.size is None else self.size
        self.version = answer.version if self.version is None else self.version

    def _changed(self) -> SourceChangedError:
        return SourceChangedError(
            f"{self.uri} was changed while it was being fetched (it was {self.size} bytes, version {self.version}); "
            "run again to fetch it as it is now, and if that happens again, ask who writes it"
        )


def _may_be_equal(one: str | None, other: str | None) -> bool:
    """Whether two versions may be of the same file: an ETag and a time of change say nothing of each other."""
    if one is None or other is None or one.endswith('"') != other.endswith('"'):
        return True
    return one == other


class _WrongAnswerError(Exception):
    """Not the bytes that were asked for; another attempt may bring them."""


class _Patience:
    """How long to go on with a file that does not come."""

    def __init__(self, uri: str, config: CommonCrawlConfig) -> None:
        self.uri, self.config = uri, config
        self._progress = time.monotonic()
        self._failures = self._wrong = 0
        self._random = random.Random()  # spreads repetitions over time; decides no byte

    def progressed(self) -> None:
        self._progress = time.monotonic()
        self._failures = self._wrong = 0

    def failed(self, reason: str) -> None:
        """Wait before the next attempt, longer each time."""
        wait = min(MAX_WAIT_S, FIRST_WAIT_S * 2**self._failures) * self._random.uniform(0.5, 1.0)
        self._note(reason, wait)
        time.sleep(wait)

    def refused(self, error: RefusedError) -> None:
        """The waiting itself is `Politeness`'s, for all workers."""
        self._note(str(error), error.retry_after_s or 0.0)

    def answered_wrong(self, reason: str) -> None:
        self._wrong += 1
        if self._wrong >= MAX_WRONG_ANSWERS:
            raise ValueError(
                f"{self.uri}: {reason}, {self._wrong} times in a row; is something else in between (a proxy, a login "
                "page), or a server that cannot serve ranges? Set curate.commoncrawl.base, or download the file "
                "and name the copy in curate.sources"
            )
        self.failed(reason)

    def _note(self, reason: str, wait: float) -> None:
        self._failures += 1
        level = logging.INFO if self._failures < 3 else logging.WARNING
        logger.log(level, "%s: %s; attempt %d follows", self.uri, reason, self._failures + 1)
        if time.monotonic() + wait - self._progress > self.config.give_up_s:
            raise ConnectionError(
                f"{self.uri}: {reason}; nothing came for {self.config.give_up_s:g} s in {self._failures} attempts. "
                "What was fetched is kept: run again later to go on with it, with lower "
                "curate.commoncrawl.requests_per_second and max_connections if the server refuses (status 403 "
                "can also mean that there is no such file)"
            )


def read_remote(uri: str, config: CommonCrawlConfig) -> bytes:
    """A small file as a whole.

    Raises:
        As `RemoteFile`.
    """
    return RemoteFile(uri, config).read()

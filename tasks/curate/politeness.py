"""Politeness towards a server: few connections, few requests a second, and fewer still when it asks for it.

What the user sets holds for all workers of this machine together, and for all runs: they meet in small files below
`$HIBARI_CACHE/politeness/<server>/`. A connection is one of `max_connections` files, held by flock, so that a killed
worker gives it back. The time of the next request is a number in another: whoever wants to send one takes that time
and moves it on by `1 / requests_per_second`. When the server refuses (503, 429, 403), the distance between requests
doubles for everybody, and nobody asks before the time it named in Retry-After, if it named one; every request
that is answered takes a quarter of the added distance back.

    politeness = Politeness("data.commoncrawl.org", max_connections=4, requests_per_second=5)
    with politeness.request() as sent:
        ...
    politeness.answered()               # or politeness.refused(sent, retry_after_s=30)
"""

from __future__ import annotations

import errno
import fcntl
import random
import re
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO

from storage.artifact import cache_folder

MAX_SLOWNESS = 64.0  # times the user's distance between requests, to a server that keeps refusing
RECOVERY = 0.75  # of the slowness is left after each request that is answered
_FAR_S = 6 * 3600.0  # a next request further away than this was noted before the clock was set back
_POLL_S = (0.02, 0.1)  # between two looks for a free connection
_STATE = struct.Struct("<4d")
_NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@dataclass
class _State:
    """What all workers know about a server; times as of `time.time()`.

    Attributes:
        next: of the next request; `not_before` is what the server asked for.
        slowness: by how much the distance between requests is longer than the user's.
        slowed: when it was last made longer.
    """

    next: float = 0.0
    not_before: float = 0.0
    slowness: float = 1.0
    slowed: float = 0.0


class Politeness:
    """The rules towards one server, shared by every process of this machine."""

    def __init__(self, server: str, max_connections: int, requests_per_second: float) -> None:
        self.max_connections = max_connections
        self.interval_s = 1 / requests_per_second
        self.folder = cache_folder() / "politeness" / re.sub(r"[^A-Za-z0-9._-]", "_", server)
        self._random = random.Random()  # spreads the workers over time; decides no byte
        self._slow = False  # whether this process last saw the server slowed down

    @contextmanager
    def request(self) -> Iterator[float]:
        """Wait for a connection and for the time to send; both are kept while the block lasts.

        Yields:
            When the request was sent, for `refused`.
        """
        with self._connection():
            self._wait_for_turn()
            yield time.time()

    def answered(self) -> None:
        """Say that a request went well."""
        if self._slow:
            with self._state() as state:
                state.slowness = max(1.0, 1.0 + (state.slowness - 1.0) * RECOVERY - 0.01)
                self._slow = state.slowness > 1.0

    def refused(self, sent: float, retry_after_s: float | None = None) -> None:
        """Say that the server refused the request sent at `sent`: all workers ask less often from now on."""
        now = time.time()
        with self._state() as state:
            if sent > state.slowed:  # else one of several that were under way when the server was last found slow
                state.slowness = min(2 * state.slowness, MAX_SLOWNESS)
                state.slowed = now
            distance = self.interval_s * state.slowness * self._random.uniform(1.0, 1.5)
            state.not_before = max(state.not_before, now + max(distance, retry_after_s or 0.0))
            self._slow = True

    def _wait_for_turn(self) -> None:
        turn = self._take_turn()
        while (wait := turn - time.time()) > 0:
            time.sleep(min(wait, 1.0))
            if self._read().not_before > turn:  # refused while this one waited: all move on together
                turn = self._take_turn()

    def _take_turn(self) -> float:
        with self._state() as state:
            turn = max(time.time(), state.next, state.not_before)
            state.next = turn + self.interval_s * state.slowness
            self._slow = state.slowness > 1.0
        return turn

    @contextmanager
    def _connection(self) -> Iterator[None]:
        """Hold one of the `max_connections` files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            for number in self._random.sample(range(self.max_connections), self.max_connections):
                with ExitStack() as stack:
                    file = stack.enter_context(open(self.folder / f"connection-{number}", "ab"))
                    if _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
                        yield
                        return
            time.sleep(self._random.uniform(*_POLL_S))

    @contextmanager
    def _state(self) -> Iterator[_State]:
        """Change what is known, alone."""
        with open(self._opened_state(), "r+b", buffering=0) as file:
            _lock(file, fcntl.LOCK_EX)
            state = _unpack(file.read())
            yield state
            file.seek(0)
            file.write(_STATE.pack(*astuple(state)))

    def _read(self) -> _State:
        return _unpack(self._opened_state().read_bytes())

    def _opened_state(self) -> Path:
        """The file of what is known, made where it is not there."""
        path = self.folder / "state"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            path.touch()
        return path


def _unpack(data: bytes) -> _State:
    if len(data) != _STATE.size:  # the first to come
        return _State()
    state = _State(*_STATE.unpack(data))
    return _State() if max(state.next, state.not_before) > time.time() + _FAR_S else state


def _lock(file: IO[bytes], how: int) -> bool:
    """Lock an open file until it is closed, where the file system can; False where another holds it, if not to wait."""
    try:
        fcntl.flock(file.fileno(), how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
    return True

"""Leases: of several runs that want to make the same artifact, one makes it and the others wait.

`<artifact>.lease` lies beside the artifact, so it is never part of it: JSON that names its holder (`Holder`), rewritten
every `BEAT_S` while the holder lives and removed when it is done. Whoever finds one watches it: a holder on this
machine whose process is gone has lost it at once, any other when the file has not changed for `STALE_S` of the
*watcher's own* monotonic clock. No two clocks are ever compared, so a wrong one does no harm; the price is that the
lease of a machine that died is always watched for `STALE_S` first.

Every change is a swap (`storage.swap`), so of many that take over a stale lease one wins. Where a file system has no
flock, or a holder was suspended for longer than `STALE_S`, two may believe they hold it: `check`, called before
anything is published, tells the one that lost.

    with hold("runs/curate/demo-0123.lease", run="demo", waiting=tell) as lease:
        make_it()
        lease.check()
        publish_it()
"""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from storage.processes import Process, alive, find, machine
from storage.swap import create, read, swap

logger = logging.getLogger(__name__)

BEAT_S = 10.0
STALE_S = 60.0
POLL_S = 1.0
TELL_S = 5.0

Waiting = Callable[["Holder | None"], None]


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes:
        owner: unique to one acquisition.
        run: name of the run.
        started: when process `pid` started, opaque (`storage.processes`).
        machine: where `pid` means something.
        since, beat: when it was acquired, and last renewed, by the holder's clock; for people.
    """

    owner: str
    run: str
    host: str
    pid: int
    started: str
    machine: str
    since: str
    beat: str

    @classmethod
    def new(cls, run: str) -> Holder:
        """This process, for a new acquisition."""
        this = find(os.getpid())
        assert this is not None, "this process runs"
        now = _now()
        return cls(uuid.uuid4().hex, run, platform.node(), this.pid, this.started, machine(), now, now)

    @property
    def is_gone(self) -> bool:
        """Whether its process has certainly ended; False where that cannot be known from here."""
        return self.machine == machine() and not alive([Process(self.pid, self.started)])

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False, indent=1).encode() + b"\n"

    def __str__(self) -> str:
        return f"run {self.run} on {self.host}, pid {self.pid}, since {self.since[:19].replace('T', ' ')} UTC"


class LeaseHeldError(RuntimeError):
    """Somebody else holds the lease; the message names them."""


class LeaseLostError(RuntimeError):
    """The lease was taken over, or removed, while it was held here."""


class Lease:
    """A lease that is held: renewed by a thread of its own until it is released."""

    def __init__(self, uri: str, holder: Holder) -> None:
        self.uri = uri
        self.holder = holder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {uri}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that it is still held.

        Raises:
            LeaseLostError: it is not; with who has it.
        """
        found = _holder(read(self.uri))
        if found is None or found.owner != self.holder.owner:
            by = f"was taken over by {found}" if found else "is gone: somebody removed it, or took it over and is done"
            raise LeaseLostError(
                f"{self.uri} {by}. It had not been renewed for {STALE_S:g} s: was this process suspended, or its "
                f"storage out of reach? What was made here is not published; run again"
            )

    def release(self) -> None:
        """Stop renewing it, and remove it unless it is somebody else's by now."""
        self._ended.set()
        self._thread.join()
        try:
            self._swap(None)
        except Exception as error:  # the work is done, or its own error is on its way; this lease will fall silent
            logger.warning("cannot remove %s: %s", self.uri, error)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                if not self._swap(replace(self.holder, beat=_now()).to_json()):
                    logger.error("%s was taken over; what is made here will not be published", self.uri)
                    return
            except Exception as error:  # such as a full disk, or a store that does not answer: try again
                logger.warning("cannot renew %s, which others may take over in %g s: %s", self.uri, STALE_S, error)

    def _swap(self, data: bytes | None) -> bool:
        """Rewrite or remove the file while it is ours."""
        found = read(self.uri)
        holder = _holder(found)
        if found is None or holder is None or holder.owner != self.holder.owner:
            return False
        return swap(self.uri, found, data)


@contextmanager
def hold(uri: str, run: str, *, wait: bool = True, waiting: Waiting | None = None) -> Iterator[Lease]:
    """Hold a lease for as long as the block lasts, waiting for it first.

    Args:
        wait: wait for another holder, instead of failing.
        waiting: called every `TELL_S` with the holder waited for; with None while its name cannot be read.

    Raises:
        LeaseHeldError: somebody holds it, and `wait` is False.
    """
    lease = Lease(uri, _acquire(uri, Holder.new(run), wait, waiting))
    try:
        yield lease
    finally:
        lease.release()


def current(uri: str) -> Holder | None:
    """Who holds a lease now; None where nobody does, as far as can be told without watching it."""
    holder = _holder(read(uri))
    return None if holder is None or holder.is_gone else holder


def _acquire(uri: str, mine: Holder, wait: bool, waiting: Waiting | None) -> Holder:
    """Create the lease, or take it over from a holder that is gone or has been silent for too long."""
    watched, since, tell_at = None, time.monotonic(), -math.inf
    while True:
        found = read(uri)
        if found is None:
            if create(uri, mine.to_json()):
                return mine
            continue
        if found != watched:
            watched, since = found, time.monotonic()
        holder = _holder(found)
        gone = holder is not None and holder.is_gone
        if gone or time.monotonic() - since > STALE_S:
            if swap(uri, found, mine.to_json()):
                logger.warning("took over %s from %s, which %s", uri, holder, "is gone" if gone else "fell silent")
                return mine
            continue
        if not wait:
            raise LeaseHeldError(f"{holder or 'somebody'} holds {uri}")
        if waiting is not None and time.monotonic() >= tell_at:
            waiting(holder)
            tell_at = time.monotonic() + TELL_S
        time.sleep(POLL_S)


def _holder(data: bytes | None) -> Holder | None:
    """The holder that a lease names; None where there is no lease, or its creator has not filled it yet."""
    try:
        return Holder(**json.loads(data)) if data else None
    except (ValueError, TypeError):
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat()

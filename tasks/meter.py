"""How far a shard is: counted by the worker that does it, read by the process that waits for all of them.

Workers may be processes of this machine or of a Dask cluster, so they speak through small files beside the shard
records: `_shards/<key>.progress`, rewritten at most every `INTERVAL_S`. What is counted here is shown and forgotten;
the figures that stay are those of the `ShardRecord`.

    with metering(out, "warc-00001"):           # map_shards does this around a shard's function
        advance(0.25, records=120, documents=7)   # the function, wherever it has something to say
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from storage.uri import filesystem, is_local, join, read_bytes, remove, write_bytes

INTERVAL_S = 1.0
REMOTE_INTERVAL_S = 15.0  # an object store is asked and told less often
SUFFIX = ".progress"


@dataclass
class _Meter:
    uri: str
    fraction: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    written: float = field(default_factory=time.monotonic)

    def write(self) -> None:
        self.written = time.monotonic()
        write_bytes(self.uri, json.dumps({"fraction": self.fraction, "counts": self.counts}).encode())


class _Running(threading.local):  # a Dask worker may run a shard on each of its threads
    meter: _Meter | None = None


_running = _Running()


def interval_s(out: str) -> float:
    """Seconds between two looks at, or two writings of, the files below `out`."""
    return INTERVAL_S if is_local(out) else REMOTE_INTERVAL_S


@contextmanager
def metering(out: str, key: str) -> Iterator[None]:
    """Let `advance` count for this shard while the block lasts."""
    meter = _running.meter = _Meter(join(out, "_shards", key + SUFFIX))
    try:
        yield
    finally:
        _running.meter = None
        remove(meter.uri)


def advance(fraction: float, **counts: int) -> None:
    """Say that `fraction` (0 to 1) of the shard is done, and add to its counts; outside a shard, nothing happens."""
    meter = _running.meter
    if meter is None:
        return
    meter.fraction = fraction
    meter.counts.update(counts)
    if time.monotonic() - meter.written >= interval_s(meter.uri):
        meter.write()


def read_meters(out: str) -> tuple[float, Counter[str]]:
    """Shards' worth of work done in the shards that are under way, and what they have counted together."""
    fs, folder = filesystem(join(out, "_shards"))
    fs.invalidate_cache()
    done, counts = 0.0, Counter[str]()
    for path in fs.glob(f"{folder}/*{SUFFIX}"):
        try:
            said = json.loads(read_bytes(join(out, "_shards", str(path).rsplit("/", 1)[-1])))
        except FileNotFoundError:
            continue  # that shard has just ended
        done += said["fraction"]
        counts.update(said["counts"])
    return done, counts


def clear_meters(out: str) -> None:
    """Remove what a killed attempt left."""
    fs, folder = filesystem(join(out, "_shards"))
    for path in fs.glob(f"{folder}/*{SUFFIX}"):
        fs.rm(path)

"""The one way to map a function over shards: on a process pool or a Dask cluster, resumably.

Each shard is a `Shard(key, argument)`; the function gets the argument, writes its own files (atomically, under
names that only this shard uses) and returns a `ShardRecord` of what it wrote and counted. The record is stored as
`_shards/<key>.json` inside the artifact, so a killed stage redoes only the shards without one, and shards may run
twice without harm (a Dask cluster reruns those of a killed worker). Records come back in the order of
the shards whatever order they finished in, so the result does not depend on the number of workers.

    records = map_shards(curate_warc, shards, out="runs/curate/x-0123", executor=ExecutorConfig(workers=2))

A stage of several mappings opens its workers once with `one_pool(executor)` around them.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from storage.artifact import FileEntry, Outcome
from storage.processes import die_with_parent
from storage.uri import join, read_bytes, size, write_bytes
from tasks.meter import clear_meters, interval_s, metering, read_meters

logger = logging.getLogger(__name__)

Argument = TypeVar("Argument")
Progress = Callable[[float, int, Mapping[str, int]], None]
_shared: ContextVar[tuple[ExecutorConfig, Executor] | None] = ContextVar("_shared", default=None)


class ExecutorConfig(BaseModel):
    """Where shards run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["process", "dask"] = Field("process", description="a process pool here, or a Dask cluster")
    workers: int = Field(2, ge=1, description="processes of the pool")
    address: str | None = Field(None, description="tcp://host:port of the Dask scheduler")


@dataclass(frozen=True)
class Shard(Generic[Argument]):
    """A unit of work and of resumption; `key` is unique in its stage and safe in a file name."""

    key: str
    argument: Argument


@dataclass(frozen=True)
class ShardRecord:
    """What one shard wrote and counted; all that resumption needs to know."""

    key: str
    files: list[FileEntry] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


class ShardFailedError(RuntimeError):
    """A shard's function raised; the message names the shard, the cause is chained."""


def map_shards(
    function: Callable[[Argument], ShardRecord],
    shards: Sequence[Shard[Argument]],
    *,
    out: str,
    executor: ExecutorConfig,
    progress: Progress | None = None,
) -> list[ShardRecord]:
    """Run `function` on every shard that has no record under `out` yet.

    Args:
        function: importable by name from a fresh process; idempotent.
        progress: called in this process at the start, whenever a shard ends, and every second or so between, with
            shards done (those under way count by the part that is done), shards in all, and what all of them have
            counted so far.

    Raises:
        ShardFailedError: a shard failed; shards that finished keep their records, waiting ones are cancelled.
        ValueError: two shards share a key.
    """
    if len({shard.key for shard in shards}) != len(shards):
        raise ValueError("shard keys are not unique")
    records = {shard.key: record for shard in shards if (record := finished_shard(out, shard.key))}
    if records:
        logger.info("%d of %d shards were already done", len(records), len(shards))
    clear_meters(out)
    missing = [shard for shard in shards if shard.key not in records]
    watch = _Watch(out, len(shards), records.values(), progress)
    if missing:
        with _pool_for(executor, len(missing)) as pool:
            futures: dict[Future[ShardRecord], str] = {
                pool.submit(_run_shard, function, shard.argument, out, shard.key): shard.key for shard in missing
            }
            try:
                waiting = set(futures)
                while waiting:
                    ended, waiting = wait(waiting, timeout=interval_s(out), return_when=FIRST_COMPLETED)
                    # What failed comes last: all that ended with it has its record by then.
                    for future in sorted(ended, key=lambda future: future.exception() is not None):
                        key = futures[future]
                        records[key] = _finish(future, out, key)
                        watch.finished(records[key])
                    watch.look()
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
    return [records[shard.key] for shard in shards]


def part_of(progress: Progress | None, first: int, total: int) -> Progress | None:
    """The progress callback of one of several mappings that are one stage: `first` shards came before, of `total`."""
    if progress is None:
        return None
    return lambda done, _, counts: progress(first + done, total, counts)


class _Watch:
    """Tells the progress callback of finished shards and, when asked to look, of those under way."""

    def __init__(self, out: str, total: int, done: Iterable[ShardRecord], progress: Progress | None) -> None:
        self._out = out
        self._total = total
        self._progress = progress
        self._done = 0
        self._counts: Counter[str] = Counter()
        for record in done:
            self.finished(record)
        self._tell(0.0, Counter())

    def finished(self, record: ShardRecord) -> None:
        self._done += 1
        self._counts.update(record.counts)

    def look(self) -> None:
        if self._progress:
            self._tell(*read_meters(self._out))

    def _tell(self, under_way: float, counts: Counter[str]) -> None:
        if self._progress:
            self._progress(min(self._done + under_way, self._total), self._total, self._counts + counts)


def _run_shard(function: Callable[[Argument], ShardRecord], argument: Argument, out: str, key: str) -> ShardRecord:
    """In the worker."""
    with metering(out, key):
        return function(argument)


def _finish(future: Future[ShardRecord], out: str, key: str) -> ShardRecord:
    try:
        record = future.result()
    except Exception as error:
        raise ShardFailedError(f"shard {key}: {type(error).__name__}: {error}") from error
    record_shard(out, record)
    return record


def combine(records: Sequence[ShardRecord]) -> Outcome:
    """One outcome of many shards: all files, counts added up."""
    outcome = Outcome()
    for record in records:
        outcome.files += record.files
        for name, count in record.counts.items():
            outcome.counts[name] = outcome.counts.get(name, 0) + count
    return outcome


def _record_uri(out: str, key: str) -> str:
    return join(out, "_shards", f"{key}.json")


def record_shard(out: str, record: ShardRecord) -> None:
    """Say that a shard is done: from here on `finished_shard` finds it."""
    write_bytes(_record_uri(out, record.key), json.dumps(asdict(record), ensure_ascii=False).encode())


def finished_shard(out: str, key: str) -> ShardRecord | None:
    """The record of a shard whose files are all there, else None."""
    try:
        fields = json.loads(read_bytes(_record_uri(out, key)))
    except FileNotFoundError:
        return None
    fields["files"] = [FileEntry(**entry) for entry in fields["files"]]
    record = ShardRecord(**fields)
    return record if all(size(join(out, file.path)) == file.size for file in record.files) else None


@contextmanager
def one_pool(executor: ExecutorConfig) -> Iterator[None]:
    """All `map_shards` of the block on this executor share its workers, which start with the first shard.

    The one worker of a pool of one is a thread of this process: compiled code and libraries are loaded once, not twice.

    A worker that dies breaks the pool and with it the block, as it fails a mapping that has its own pool. The block
    ends when what a failed or cancelled mapping had under way has ended.
    """
    alone = executor.kind == "process" and executor.workers == 1
    with ThreadPoolExecutor(1) if alone else _open_executor(executor, executor.workers) as pool:
        token = _shared.set((executor, pool))
        try:
            yield
        finally:
            _shared.reset(token)


@contextmanager
def _pool_for(config: ExecutorConfig, num_shards: int) -> Iterator[Executor]:
    """The block's executor where `one_pool` opened this one, else one for a single mapping."""
    shared = _shared.get()
    if shared is not None and shared[0] == config:
        yield shared[1]
        return
    with _open_executor(config, num_shards) as pool:
        yield pool


@contextmanager
def _open_executor(config: ExecutorConfig, num_shards: int) -> Iterator[Executor]:
    if config.kind == "dask":
        if config.address is None:
            raise ValueError("executor.address: a Dask executor needs the scheduler's tcp://host:port")
        from distributed import Client

        with Client(config.address) as client:
            yield client.get_executor(pure=False)  # pure=True would memoise results between calls
        return
    # Not fork: the parent has Prefect's threads. A worker's imports take well under a second.
    context = multiprocessing.get_context("spawn")
    # A worker whose stage was killed must not go on writing: what it had finished is recorded, the rest is redone.
    with ProcessPoolExecutor(
        min(config.workers, num_shards),
        mp_context=context,
        initializer=die_with_parent,
        initargs=(signal.SIGKILL, os.getpid()),
    ) as pool:
        yield pool

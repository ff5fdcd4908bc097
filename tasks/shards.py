"""The one way to map a function over shards: on a process pool or a Dask cluster, resumably.

Each shard is a `Shard(key, argument)`; the function gets the argument, writes its own files (atomically, under
names that only this shard uses) and returns a `ShardRecord` of what it wrote and counted. The record is stored as
`_shards/<key>.json` inside the artifact, so a killed stage redoes only the shards without one, and shards may run
twice without harm (a Dask cluster reruns those of a killed worker). Records come back in the order of
the shards whatever order they finished in, so the result does not depend on the number of workers.

    records = map_shards(curate_warc, shards, out="runs/curate/x-0123", executor=ExecutorConfig(workers=2))
"""

from __future__ import annotations

import json
import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from storage.artifact import FileEntry, Outcome
from storage.uri import join, read_bytes, size, write_bytes

logger = logging.getLogger(__name__)

Argument = TypeVar("Argument")
Progress = Callable[[int, int, "ShardRecord"], None]


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
        progress: called in this process with (shards done, shards in all, the record just finished).

    Raises:
        ShardFailedError: a shard failed; shards that finished keep their records, waiting ones are cancelled.
        ValueError: two shards share a key.
    """
    if len({shard.key for shard in shards}) != len(shards):
        raise ValueError("shard keys are not unique")
    records = {shard.key: record for shard in shards if (record := _finished(out, shard.key))}
    if records:
        logger.info("%d of %d shards were already done", len(records), len(shards))
    missing = [shard for shard in shards if shard.key not in records]
    if missing:
        with _open_executor(executor, len(missing)) as pool:
            futures: dict[Future[ShardRecord], str] = {
                pool.submit(function, shard.argument): shard.key for shard in missing
            }
            try:
                for future in as_completed(futures):
                    key = futures[future]
                    try:
                        record = future.result()
                    except Exception as error:
                        raise ShardFailedError(f"shard {key}: {type(error).__name__}: {error}") from error
                    write_bytes(_record_uri(out, key), json.dumps(asdict(record), ensure_ascii=False).encode())
                    records[key] = record
                    if progress:
                        progress(len(records), len(shards), record)
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
    return [records[shard.key] for shard in shards]


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


def _finished(out: str, key: str) -> ShardRecord | None:
    try:
        fields = json.loads(read_bytes(_record_uri(out, key)))
    except FileNotFoundError:
        return None
    fields["files"] = [FileEntry(**entry) for entry in fields["files"]]
    record = ShardRecord(**fields)
    return record if all(size(join(out, file.path)) == file.size for file in record.files) else None


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
    with ProcessPoolExecutor(min(config.workers, num_shards), mp_context=context) as pool:
        yield pool

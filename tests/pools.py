"""Threads in place of a stage's processes, whose start takes most of the time of a small test."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tasks.shards import ExecutorConfig


def threads(config: ExecutorConfig, num_shards: int) -> ThreadPoolExecutor:
    """A stand-in for `tasks.shards._open_executor`."""
    return ThreadPoolExecutor(config.workers)

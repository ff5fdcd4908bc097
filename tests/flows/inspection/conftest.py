"""The crawl, curated and deduplicated once for all tests of inspection."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from flows.config import RunConfig
from flows.inspection.run import OpenedRun, Rereader, open_run
from tasks.shards import ExecutorConfig
from tests.flows.inspection.crawl import make_run


def one_thread(config: ExecutorConfig, num_shards: int) -> ThreadPoolExecutor:
    """Instead of processes, whose start would take most of the time of these tests."""
    return ThreadPoolExecutor(1)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.shards._open_executor", one_thread)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A finished corpus."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.shards._open_executor", one_thread)
        return make_run(tmp_path_factory.mktemp("inspected"))


@pytest.fixture(scope="session")
def opened(made: RunConfig) -> OpenedRun:
    return open_run(made, "run.yaml")


@pytest.fixture(scope="session")
def rereader(opened: OpenedRun) -> Iterator[Rereader]:
    """One for all: it starts a process."""
    with Rereader(opened) as rereader:
        yield rereader

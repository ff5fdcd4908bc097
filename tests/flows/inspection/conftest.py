"""The crawl, curated and deduplicated once for all tests of inspection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows.config import RunConfig
from flows.inspection.run import OpenedRun, Rereader, open_run
from tests.flows.inspection.crawl import make_run
from tests.pools import threads


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A finished corpus."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.shards._open_executor", threads)
        return make_run(tmp_path_factory.mktemp("inspected"))


@pytest.fixture(scope="session")
def opened(made: RunConfig) -> OpenedRun:
    return open_run(made, "run.yaml")


@pytest.fixture(scope="session")
def rereader(opened: OpenedRun) -> Iterator[Rereader]:
    """One for all: it starts a process."""
    with Rereader(opened) as rereader:
        yield rereader

"""Fixtures every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pools import threads

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real inputs that may lie beside the checkout; the test is skipped where they do not."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data is not there")
    return SHARED_DATA


@pytest.fixture
def shards_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are worked on by threads of this process."""
    monkeypatch.setattr("tasks.shards._open_executor", threads)


@pytest.fixture(autouse=True)
def _private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("HIBARI_CACHE", str(tmp_path / "hibari-cache"))

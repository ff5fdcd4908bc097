"""Shards under way: what they count is seen while they work, and nothing of it is left behind."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tasks import meter
from tasks.meter import advance, clear_meters, metering, read_meters


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "INTERVAL_S", 0.0)


def test_what_running_shards_count_adds_up(tmp_path: Path) -> None:
    out = str(tmp_path)
    release, counted = threading.Event(), threading.Barrier(3)

    def shard(key: str, fraction: float, records: int) -> None:
        with metering(out, key):
            advance(0.1, records=1)
            advance(fraction, records=records - 1, documents=2)
            counted.wait()
            release.wait()

    threads = [threading.Thread(target=shard, args=args) for args in (("a", 0.5, 10), ("b", 0.25, 5))]
    for thread in threads:
        thread.start()
    counted.wait()
    done, counts = read_meters(out)
    release.set()
    for thread in threads:
        thread.join()
    assert done == 0.75
    assert counts == {"records": 15, "documents": 4}
    assert read_meters(out) == (0.0, {}), "a shard that has ended is counted by its record"


def test_a_shard_that_fails_leaves_no_meter(tmp_path: Path) -> None:
    def fail() -> None:
        with metering(str(tmp_path), "a"):
            advance(0.5, records=1)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert not list((tmp_path / "_shards").iterdir())


def test_what_a_killed_attempt_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / "_shards").mkdir()
    (tmp_path / "_shards" / "a.progress").write_text('{"fraction": 0.9, "counts": {"records": 7}}')
    (tmp_path / "_shards" / "b.json").write_text("{}")
    assert read_meters(str(tmp_path))[0] == 0.9
    clear_meters(str(tmp_path))
    assert read_meters(str(tmp_path)) == (0.0, {})
    assert (tmp_path / "_shards" / "b.json").exists()


def test_outside_a_shard_nothing_is_written(tmp_path: Path) -> None:
    advance(0.5, records=1)
    assert not list(tmp_path.iterdir())

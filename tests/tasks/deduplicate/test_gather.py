"""An index of many small shards, gathered: the same rows, band for band."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.deduplicate import gather
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.gather import gather_index
from tasks.deduplicate.index import ROWS, IndexShard, check_index, read_band, read_rows
from tasks.shards import ExecutorConfig
from tests.tasks.deduplicate.made_index import Document, write_index

CONFIG = DeduplicateConfig(bands=3, rows=2)
EXECUTOR = ExecutorConfig(workers=1)

pytestmark = pytest.mark.usefixtures("shards_in_threads")


def made(*sizes: int) -> list[list[Document]]:
    rng = np.random.default_rng(0)
    return [
        [
            Document(
                id=rng.bytes(16),
                bands=tuple(rng.integers(0, 1 << 64, 3, np.uint64).tolist()),
                exact=rng.bytes(16),
                crawl=["CC-MAIN-2024-10", None][int(rng.integers(2))],
                quality=[0.5, None][int(rng.integers(2))],
                page=int(rng.integers(5)),
            )
            for _ in range(size)
        ]
        for size in sizes
    ]


def band(shards: list[IndexShard], number: int, first_byte: int = 0, last_byte: int = 256) -> dict[int, int]:
    """Hashes of one band by row over all shards."""
    found = {}
    for shard in shards:
        hashes, rows = read_band(shard, number, first_byte, last_byte)
        found |= dict(zip((rows + shard.first).tolist(), hashes.tolist(), strict=True))
    return found


def test_rows_and_bands_are_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "GATHERED", 12)
    shards = write_index(str(tmp_path), made(5, 0, 7, 1, 20, 2, 3), CONFIG)
    gathered = gather_index(shards, CONFIG, out=str(tmp_path / "out"), executor=EXECUTOR)
    assert [(shard.first, shard.documents) for shard in gathered] == [(0, 12), (12, 1), (13, 20), (33, 5)]
    assert gathered[1] == shards[3], "one shard alone is read where it lies"
    for shard in gathered:
        check_index(shard, CONFIG)
    before = [row for shard in shards for row in read_rows(shard, ROWS.names).to_pylist()]
    assert [row for shard in gathered for row in read_rows(shard, ROWS.names).to_pylist()] == before
    for number in range(CONFIG.bands):
        assert len(band(gathered, number)) == 38
        assert band(gathered, number) == band(shards, number)
        assert band(gathered, number, 50, 99) == band(shards, number, 50, 99)


def test_large_shards_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "SMALL_SLICE", 5)
    shards = write_index(str(tmp_path), made(5, 6), CONFIG)
    assert gather_index(shards, CONFIG, out=str(tmp_path / "out"), executor=EXECUTOR) == shards
    assert not (tmp_path / "out" / "_work").exists()


@pytest.mark.parametrize("sizes", [(3,), (3, 4)])
def test_an_index_of_other_settings_is_refused(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    shards = write_index(str(tmp_path), made(*sizes), CONFIG)
    other = DeduplicateConfig(bands=3, rows=5)
    with pytest.raises(ValueError, match="rows 2, this run 5"):
        gather_index(shards, other, out=str(tmp_path / "out"), executor=EXECUTOR)

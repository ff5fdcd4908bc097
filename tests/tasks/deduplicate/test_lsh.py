"""LSH over an index on disk: which documents share a bucket, and how the work for it is cut."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.deduplicate import buckets
from tasks.deduplicate.buckets import MAX_ROWS, write_alive
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.lsh import DIGESTS, PAGES, pieces
from tasks.shards import ExecutorConfig
from tests.tasks.deduplicate.made_index import Document, pairs_in, write_index

EXECUTOR = ExecutorConfig(workers=1)
CONFIG = DeduplicateConfig(bands=2, rows=2)


def documents(bands: list[tuple[int, int]], **others: Any) -> list[Document]:
    ids = [number.to_bytes(16, "big") for number in range(len(bands))]
    return [Document(id=id, bands=both, exact=id, **others) for id, both in zip(ids, bands, strict=True)]


TOP = 0xFF << 56
BANDS = [(1, TOP), (2, TOP + 1), (3, TOP), (1, TOP + 2), (TOP, 1), (4, TOP), (2, 7)]


@pytest.mark.usefixtures("shards_in_threads")
@pytest.mark.parametrize("max_rows", [1, 2, MAX_ROWS])
def test_buckets_across_shards_band_by_band(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_rows: int) -> None:
    made = documents(BANDS)
    shards = write_index(str(tmp_path), [made[:2], [], made[2:]], CONFIG)
    monkeypatch.setattr(buckets, "MAX_ROWS", max_rows)
    assert pairs_in(tmp_path, shards, [0, 1]) == {(0, 3), (1, 6), (0, 2), (0, 5), (2, 5)}


@pytest.mark.usefixtures("shards_in_threads")
def test_who_was_dropped_before_is_in_no_bucket(tmp_path: Path) -> None:
    made = documents(BANDS)
    shards = write_index(str(tmp_path), [made[:4], made[4:]], CONFIG)
    write_alive(str(tmp_path), "_work/alive-near", np.array([0, 1, 1, 1, 1, 1, 0], bool))
    assert pairs_in(tmp_path, shards, [0, 1], "_work/alive-near") == {(2, 5)}


@pytest.mark.usefixtures("shards_in_threads")
@pytest.mark.parametrize("max_rows", [2, MAX_ROWS])
def test_pages_and_digests_are_found_in_every_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_rows: int
) -> None:
    monkeypatch.setattr(buckets, "MAX_ROWS", max_rows)
    pages = [0, 5, TOP + 3, 5, 0, TOP + 3, TOP]
    made = [
        Document(id=bytes([row] * 16), bands=(row, row), exact=bytes([9 * (row % 3)] * 16), page=page)
        for row, page in enumerate(pages)
    ]
    shards = write_index(str(tmp_path), [made[:3], made[3:]], CONFIG)
    assert pairs_in(tmp_path / "pages", shards, [PAGES]) == {(1, 3), (2, 5)}, "page 0 is no page"
    thirds = {pair for rest in range(3) for pair in combinations(range(rest, 7, 3), 2)}
    assert pairs_in(tmp_path / "digests", shards, [DIGESTS]) == thirds


@pytest.mark.parametrize("num_documents", [1, 20_000, 100_000, 1_000_000, 5_000_000, 650_000_000])
def test_every_band_of_every_range_is_one_workers_work(num_documents: int) -> None:
    work = pieces(num_documents, range(40))
    covered = sorted((key, byte) for keys, (first, last) in work for key in keys for byte in range(first, last))
    assert covered == [(key, byte) for key in range(40) for byte in range(256)]
    expected = {1: 1, 20_000: 1, 100_000: 2, 1_000_000: 20, 5_000_000: 64, 650_000_000: 256}
    assert len(work) == expected[num_documents]

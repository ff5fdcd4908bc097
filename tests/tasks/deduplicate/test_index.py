"""The index of a shard: what is in it, that any part of it can be read alone, and that a wrong one is refused."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from storage.artifact import FileEntry
from storage.documents import document_schema, read_texts, write_documents
from storage.tombstones import page_of
from storage.uri import join, read_bytes, write_bytes
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.index import IndexShard, SignShard, check_index, read_band, read_rows, sign_shard
from tasks.deduplicate.signatures import Signer, exact_digest
from tasks.refine.boilerplate import host_key
from tests.tasks.deduplicate.corpora import Page, sentences, write_pages

CONFIG = DeduplicateConfig(ngram=5, bands=6, rows=3)
PAGES = [
    Page(
        sentences(number, 3),
        crawl=["CC-MAIN-2023-50", None][number % 2],
        url=f"http://example.jp/{number}",
        host=["example.jp", "例え.jp", None][number % 3],
        fetched_at=datetime(2023, 11, 28, 1, 2, 3, 456_000, UTC) if number % 4 else None,
        quality=number / 8 if number % 5 else None,
    )
    for number in range(70)
]


def sign(documents: str, out: str, config: DeduplicateConfig = CONFIG, key: str = "a") -> IndexShard:
    record = sign_shard(SignShard(key, documents, out, config))
    return IndexShard(key, out, 0, record.counts["documents"])


@pytest.fixture
def index(tmp_path: Path) -> IndexShard:
    return sign(write_pages(tmp_path, "a", PAGES), str(tmp_path / "out"))


def band_hashes(pages: list[Page] = PAGES, config: DeduplicateConfig = CONFIG) -> np.ndarray:
    return Signer(config.ngram, config.bands, config.rows).sign(pa.array([page.text for page in pages])).bands


def test_a_row_for_every_document(tmp_path: Path) -> None:
    documents = write_pages(tmp_path, "a", PAGES)
    index = sign(documents, str(tmp_path / "out"))
    rows = read_rows(
        index, ["id", "crawl", "host", "url", "page", "fetched_at", "num_characters", "quality", "exact"]
    ).to_pylist()
    assert [row["id"] for row in rows] == [id for id, _ in read_texts(documents)]
    assert [row["crawl"] for row in rows] == [page.crawl for page in PAGES]
    assert [row["host"] for row in rows] == [host_key(page.host) for page in PAGES]
    assert [row["url"] for row in rows] == [xxhash.xxh3_64_intdigest(str(page.url).encode()) for page in PAGES]
    assert {row["page"] for row in rows} == {0}
    times = [page.fetched_at and round(page.fetched_at.timestamp() * 1000) for page in PAGES]
    assert [row["fetched_at"] for row in rows] == times
    assert [row["num_characters"] for row in rows] == [len(page.text) for page in PAGES]
    assert [row["quality"] for row in rows] == [page.quality for page in PAGES]
    assert [row["exact"] for row in rows] == [exact_digest(page.text) for page in PAGES]


def test_pages_are_hashed_only_where_urls_are_compared(tmp_path: Path) -> None:
    """http and https are one page; what is no page on the web has none."""
    urls = ["http://Example.jp/a#b", "https://example.jp/a", "urn:isbn:1", "http://example.jp/A"]
    pages = [Page(sentences(number, 3), url=url) for number, url in enumerate(urls)]
    config = CONFIG.model_copy(update={"urls": True})
    found = read_rows(sign(write_pages(tmp_path, "a", pages), str(tmp_path / "out"), config), ["page"])
    hashes = found["page"].to_pylist()
    assert hashes[0] == hashes[1] == xxhash.xxh3_64_intdigest(str(page_of(urls[0])).encode())
    assert hashes[2] == 0
    assert len(set(hashes)) == 3


def test_documents_without_the_optional_columns(tmp_path: Path) -> None:
    schema = pa.schema([field for field in document_schema() if field.name != "fetched_at"])
    row: dict[str, Any] = dict.fromkeys(schema.names) | {"id": bytes(16), "text": "雲雀", "num_characters": 2}
    row |= {"lines_removed": 0, "characters_removed": 0}
    write_documents(str(tmp_path), "a.parquet", pa.Table.from_pylist([row], schema))
    index = sign(str(tmp_path / "a.parquet"), str(tmp_path / "out"))
    columns = ["crawl", "host", "url", "fetched_at", "quality"]
    assert read_rows(index, columns).to_pylist() == [
        {"crawl": None, "host": 0, "url": 0, "fetched_at": None, "quality": None}
    ]


def test_a_band_holds_every_document_once_ordered_by_the_first_byte(index: IndexShard) -> None:
    expected = band_hashes()
    for band in range(CONFIG.bands):
        hashes, rows = read_band(index, band)
        assert hashes.dtype == np.uint64
        assert rows.dtype == np.uint32
        np.testing.assert_array_equal(hashes, expected[rows, band])
        # Ordered by (first byte, row), which also says that each row is there once.
        order = sorted(range(len(PAGES)), key=lambda row: (int(expected[row, band]) >> 56, row))
        assert rows.tolist() == order


@pytest.mark.parametrize("borders", [[0, 256], [0, 1, 128, 256], list(range(257))])
def test_a_band_is_the_sum_of_its_ranges(index: IndexShard, borders: list[int]) -> None:
    for band in (0, CONFIG.bands - 1):
        whole = read_band(index, band)
        parts = [read_band(index, band, first, last) for first, last in pairwise(borders)]
        for column in range(2):
            np.testing.assert_array_equal(np.concatenate([part[column] for part in parts]), whole[column])


def test_on_an_object_store_too(tmp_path: Path, index: IndexShard) -> None:
    there = sign(write_pages(tmp_path, "a", PAGES), f"memory://{uuid.uuid4().hex}")
    check_index(there, CONFIG)
    for part in [(0, 256), (100, 200), (255, 256)]:
        for here, away in zip(read_band(index, 3, *part), read_band(there, 3, *part), strict=True):
            np.testing.assert_array_equal(here, away)
    assert read_rows(there, ["exact"]).equals(read_rows(index, ["exact"]))


def test_the_same_bytes_from_either_library_and_in_any_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = write_pages(tmp_path, "a", PAGES)

    def files(out: str, **changed: Any) -> list[FileEntry]:
        return sign_shard(SignShard("a", documents, str(tmp_path / out), CONFIG.model_copy(update=changed))).files

    ours = files("ours")
    assert files("theirs", signatures="datasketch") == ours
    monkeypatch.setattr("tasks.deduplicate.index.ROWS_AT_A_TIME", 9)
    assert files("batches") == ours
    assert [entry.path for entry in ours] == ["index/a.parquet", "index/a.bands"]
    assert all(read_bytes(join(str(tmp_path / "ours"), entry.path)) for entry in ours)


def test_a_shard_without_documents(tmp_path: Path) -> None:
    index = sign(write_pages(tmp_path, "a", []), str(tmp_path / "out"))
    check_index(index, CONFIG)
    assert [len(column) for column in read_band(index, 5)] == [0, 0]
    assert read_rows(index, ["id", "quality"]).num_rows == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ngram": 4}, "signed with ngram 5, this run 4"),
        ({"bands": 7}, "signed with bands 6, this run 7"),
        ({"bands": 3, "rows": 6}, "signed with bands 6, this run 3; rows 3, this run 6"),
        ({"urls": True}, "signed with pages no, this run yes"),
    ],
)
def test_an_index_signed_in_another_way_is_refused(index: IndexShard, changed: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_index(index, CONFIG.model_copy(update=changed))


def test_another_scheme_is_refused(index: IndexShard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.deduplicate.index.SCHEME", "hibari-2")
    with pytest.raises(ValueError, match="signed with scheme datasketch-affine32-xxh3-codepoints-1, this run hibari-2"):
        check_index(index, CONFIG)


def test_what_does_not_matter_to_signatures_may_differ(index: IndexShard) -> None:
    check_index(index, CONFIG.model_copy(update={"survivor": "longest", "signatures": "datasketch"}))


def test_an_index_with_pages_serves_a_run_that_does_not_ask_for_them(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"urls": True})
    check_index(sign(write_pages(tmp_path, "a", PAGES), str(tmp_path / "out"), config), CONFIG)


@pytest.mark.parametrize("kept", [0, 40, 2000, -1])
def test_a_truncated_index_is_refused(index: IndexShard, kept: int) -> None:
    uri = join(index.artifact, "index/a.bands")
    write_bytes(uri, read_bytes(uri)[:kept])
    with pytest.raises(ValueError, match=r"a\.bands: .*sign the documents again"):
        check_index(index, CONFIG)
    with pytest.raises(ValueError, match=r"a\.bands: .*sign the documents again"):
        read_band(index, CONFIG.bands - 1)


def test_a_truncated_index_on_an_object_store_is_refused(tmp_path: Path) -> None:
    index = sign(write_pages(tmp_path, "a", PAGES), f"memory://{uuid.uuid4().hex}")
    uri = join(index.artifact, "index/a.bands")
    write_bytes(uri, read_bytes(uri)[:-1])
    with pytest.raises(ValueError, match="sign the documents again"):
        read_band(index, CONFIG.bands - 1)


def test_foreign_files_are_refused(index: IndexShard) -> None:
    rows, bands = (join(index.artifact, f"index/a.{suffix}") for suffix in ("parquet", "bands"))
    good = read_bytes(bands)
    write_bytes(bands, b"\0" * len(good))
    with pytest.raises(ValueError, match="not the bands of an index"):
        check_index(index, CONFIG)
    with pytest.raises(ValueError, match="band 2 is damaged"):
        read_band(index, 2)
    write_bytes(bands, good)
    write_bytes(rows, b"PAR1, but no more")
    with pytest.raises(ValueError, match="not a readable Parquet file"):
        check_index(index, CONFIG)


def test_the_index_of_other_documents_is_refused(index: IndexShard) -> None:
    other = IndexShard(index.key, index.artifact, 0, len(PAGES) - 1)
    with pytest.raises(ValueError, match="70 documents"):
        check_index(other, CONFIG)
    with pytest.raises(ValueError, match="not of 69 documents"):
        read_band(other, 0)
    with pytest.raises(ValueError, match="70 rows, expected 69"):
        read_rows(other, ["id"])
    with pytest.raises(FileNotFoundError):
        check_index(IndexShard("b", index.artifact, 0, 70), CONFIG)


def test_documents_that_cannot_be_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = pa.schema([field.with_nullable(True) for field in document_schema()])
    row: dict[str, Any] = dict.fromkeys(schema.names) | {"id": bytes(16), "num_characters": 0}
    write_documents(str(tmp_path), "a.parquet", pa.Table.from_pylist([row], schema))
    with pytest.raises(ValueError, match=r"a\.parquet.*1 of 1 documents have no text"):
        sign(str(tmp_path / "a.parquet"), str(tmp_path / "out"))
    write_documents(str(tmp_path), "b.parquet", pa.table({"id": [bytes(16)], "text": ["雲雀"]}))
    with pytest.raises(ValueError, match=r"b\.parquet: no column url"):
        sign(str(tmp_path / "b.parquet"), str(tmp_path / "out"))
    with pytest.raises(FileNotFoundError):
        sign(str(tmp_path / "c.parquet"), str(tmp_path / "out"))
    monkeypatch.setattr("tasks.deduplicate.index.MAX_DOCUMENTS", 69)
    with pytest.raises(ValueError, match="70 documents, 69 fit in a shard; split the file"):
        sign(write_pages(tmp_path, "d", PAGES), str(tmp_path / "out"))

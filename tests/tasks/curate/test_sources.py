"""Breaks when a source is read as another one, or a WARC file is split into shards that are not its parts."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tasks.curate.config import CommonCrawlConfig, CurateConfig
from tasks.curate.sources import WarcSource, list_warcs, split_warcs
from tests.tasks.curate.common_crawl_server import Server

CRAWL = "CC-MAIN-2024-10"


def config(**commoncrawl: Any) -> CurateConfig:
    return CurateConfig(sources=["x"], shard_mib=1, commoncrawl=commoncrawl)


def test_sources_are_listed_in_order_with_their_crawl(tmp_path: Path) -> None:
    folder = tmp_path / CRAWL
    folder.mkdir()
    for name in ("b.warc.gz", "a.warc.gz", "CC-MAIN-20240223-00001.warc.gz"):
        (folder / name).write_bytes(b"")
    (tmp_path / "z 1.warc.gz").write_bytes(b"")
    found = list_warcs([str(tmp_path / "z 1.warc.gz"), f"{folder}/*.warc.gz"])
    names = ["z 1.warc.gz", "CC-MAIN-20240223-00001.warc.gz", "a.warc.gz", "b.warc.gz"]
    assert [warc.name for warc in found] == names
    assert [warc.crawl for warc in found] == ["unknown", *[CRAWL] * 3]
    assert [warc.key for warc in found][:2] == ["z_1", "CC-MAIN-20240223-00001"]


def test_sources_that_cannot_be_meant_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"curate\.sources: nothing found at .*none\.warc\.gz"):
        list_warcs([str(tmp_path / "none.warc.gz")])
    with pytest.raises(FileNotFoundError, match=r"curate\.sources: nothing found at .*\*\.warc\.gz"):
        list_warcs([str(tmp_path / "*.warc.gz")])
    with pytest.raises(ValueError, match="is a folder; name its files"):
        list_warcs([str(tmp_path)])
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.warc.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"one/x\.warc\.gz and .*two/x\.warc\.gz are both named x\.warc\.gz"):
        list_warcs([str(tmp_path / "*" / "x.warc.gz")])
    with pytest.raises(ValueError, match="expected commoncrawl:CC-MAIN-YYYY-WW"):
        list_warcs(["commoncrawl:2024-10"])


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    """The base of a crawl of three files that are not there."""
    folder = tmp_path / "base" / "crawl-data" / CRAWL
    folder.mkdir(parents=True)
    paths = [f"crawl-data/{CRAWL}/segments/1/warc/part-{number:05d}.warc.gz" for number in range(3)]
    (folder / "warc.paths.gz").write_bytes(gzip.compress("\n".join(paths).encode()))
    return tmp_path / "base"


def test_the_base_is_the_setting_else_the_environment(crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIBARI_COMMONCRAWL", "/nowhere")
    with Server(crawl) as server:
        for base in (str(crawl), f"{crawl}/", f"file://{crawl}", server.url, f"{server.url}/"):
            found = list_warcs([f"commoncrawl:{CRAWL}:2"], CommonCrawlConfig(base=base))
            assert [warc.uri for warc in found] == [
                f"{base.rstrip('/')}/crawl-data/{CRAWL}/segments/1/warc/part-{number:05}.warc.gz" for number in (0, 1)
            ]
            assert [warc.number for warc in found] == [0, 1]
            assert found[1].identity == f"{CRAWL}/part-00001.warc.gz"
        assert len(server.served) == 2  # one small file each, whatever there is in the crawl
    with pytest.raises(FileNotFoundError, match=f"no such crawl {CRAWL}: nothing at /nowhere/crawl-data"):
        list_warcs([f"commoncrawl:{CRAWL}"])


def test_a_listing_that_is_cut_off_is_told(crawl: Path) -> None:
    listing = crawl / "crawl-data" / CRAWL / "warc.paths.gz"
    listing.write_bytes(listing.read_bytes()[:-12])
    with pytest.raises(ValueError, match="cannot read the file list"):
        list_warcs([f"commoncrawl:{CRAWL}"], CommonCrawlConfig(base=str(crawl)))
    listing.write_bytes(gzip.compress(b""))
    with pytest.raises(ValueError, match="names no files"):
        list_warcs([f"commoncrawl:{CRAWL}"], CommonCrawlConfig(base=str(crawl)))


def test_files_behind_http_are_taken_as_named() -> None:
    """Whether a file is there is seen when it is fetched: planning asks no server for it."""
    (warc,) = list_warcs(["https://crawl.example/CC-MAIN-2023-50/a.warc.gz"])
    assert (warc.name, warc.crawl, warc.identity, warc.number) == ("a.warc.gz", "CC-MAIN-2023-50", None, None)


def test_local_files_are_split_by_size_and_others_by_number(tmp_path: Path) -> None:
    small, large = tmp_path / "small.warc.gz", tmp_path / "large.warc.gz"
    small.write_bytes(b"x")
    large.write_bytes(b"x" * (5 << 19))
    here = list_warcs([str(small), str(large)])
    there = [WarcSource("https://crawl.example/a.warc.gz", "a.warc.gz", CRAWL)]
    assert [warc.key for warc in split_warcs(here + there, config())] == [
        "small",
        *["large.000", "large.001", "large.002"],
        "a",
    ]
    assert [warc.part for warc in split_warcs(there, config(parts_per_warc=3))] == [(0, 3), (1, 3), (2, 3)]


def test_a_file_whose_records_an_index_names_is_not_split(crawl: Path) -> None:
    by_index = config(mode="index", base=str(crawl), parts_per_warc=3)
    warcs = list_warcs([f"commoncrawl:{CRAWL}"], by_index.commoncrawl)
    assert [warc.key for warc in split_warcs(warcs, by_index)] == ["part-00000", "part-00001", "part-00002"]
    assert [warc.key for warc in split_warcs([WarcSource("https://x/a.warc.gz", "a.warc.gz", CRAWL)], by_index)] == [
        "a.000",
        "a.001",
        "a.002",
    ]

"""Breaks when index mode takes other records than it was told to, asks for more bytes than it needs, or loses one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.ledger import Rule
from tasks.curate import index
from tasks.curate.config import CommonCrawlConfig, CurateConfig
from tasks.curate.index import find_records, locate_records, read_records
from tasks.curate.pages import merge, open_pages
from tasks.curate.sources import WarcSource, list_warcs
from tasks.shards import ExecutorConfig, ShardFailedError
from tests.tasks.curate.common_crawl_server import INDEX_SCHEMA, Server, lay_out
from tests.tasks.curate.warc_files import ENGLISH, JAPANESE, html, record, write_warc

CRAWL = "CC-MAIN-2024-10"
LANGUAGES = {0: "jpn", 1: "eng", 2: "eng,jpn", 3: "zho", 4: None, 5: "jpnx"}


pytestmark = pytest.mark.usefixtures("shards_in_threads")


def language(body: bytes) -> str | None:
    """The number of a page, modulo 6, says what the index finds in it."""
    return LANGUAGES[int(body.split(b"<title>")[1].split(b"<")[0]) % 6]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The base of a crawl of three WARC files of 24 pages each, 4 + 4 of them with Japanese."""
    warcs = []
    for number in range(3):
        path = tmp_path / f"CC-MAIN-20240301-{number:05}.warc.gz"
        pages = [html(JAPANESE, ENGLISH, title=f"{100 * number + page}").encode() for page in range(24)]
        write_warc(path, [record(100 * number + page, body) for page, body in enumerate(pages)])
        warcs.append(path)
    lay_out(tmp_path / "base", CRAWL, warcs, language)
    return tmp_path / "base"


def located(base: str, out: Path, sources: str = f"commoncrawl:{CRAWL}", **changes: Any) -> list[WarcSource]:
    config = CommonCrawlConfig(mode="index", base=base, requests_per_second=2000, **changes)
    return locate_records(list_warcs([sources], config), config, str(out), ExecutorConfig(workers=1))


def wanted(base: Path, out: Path, **changes: Any) -> list[int]:
    """Numbers of the records that are located."""
    found = []
    for source in located(str(base), out, **changes):
        with open_pages(source, CurateConfig(sources=["x"])) as pages:
            found += [int((page.url or "").rsplit("/", 1)[1].removesuffix(".html")) for page in pages]
    return found


def test_records_of_a_language_wherever_it_stands_in_the_list(base: Path, tmp_path: Path) -> None:
    every = [100 * warc + page for warc in range(3) for page in range(24)]
    assert wanted(base, tmp_path / "ja") == [number for number in every if LANGUAGES[number % 6] in ("jpn", "eng,jpn")]
    assert wanted(base, tmp_path / "zh", languages=["zho"]) == [n for n in every if LANGUAGES[n % 6] == "zho"]
    two = wanted(base, tmp_path / "two", languages=["zho", "eng"])
    assert two == [number for number in every if LANGUAGES[number % 6] in ("zho", "eng", "eng,jpn")]
    assert wanted(base, tmp_path / "mime", mime=["application/pdf"]) == []


def test_the_first_files_of_a_crawl_are_those_of_the_other_mode(base: Path, tmp_path: Path) -> None:
    sources = located(str(base), tmp_path / "out", sources=f"commoncrawl:{CRAWL}:2")
    assert [source.name for source in sources] == ["CC-MAIN-20240301-00000.warc.gz", "CC-MAIN-20240301-00001.warc.gz"]
    assert [len(read_records(source)[0]) for source in sources] == [8, 8]


def test_what_was_not_fetched_well_is_left_out(base: Path, tmp_path: Path) -> None:
    (warc, *_) = sorted((base / "crawl-data").rglob("*.warc.gz"))
    row = {
        "url_surtkey": "jp,example)/moved",
        "fetch_status": 301,
        "content_mime_detected": "text/html",
        "content_languages": "jpn",
        "warc_filename": f"crawl-data/{CRAWL}/segments/1/warc/{warc.name}",
        "warc_record_offset": 1,
        "warc_record_length": 1,
    }
    lay_out(tmp_path / "again", CRAWL, [warc], language, more_rows=[row, row | {"fetch_status": None}])
    (source,) = located(str(tmp_path / "again"), tmp_path / "out")
    assert len(read_records(source)[0]) == 8


def test_a_record_that_the_index_names_twice_is_read_once(base: Path, tmp_path: Path) -> None:
    (warc, *_) = sorted((base / "crawl-data").rglob("*.warc.gz"))
    tables = [pq.ParquetFile(path).read() for path in sorted((base / "cc-index").rglob("*subset=warc/*.parquet"))]
    again = [row for table in tables for row in table.to_pylist() if row["warc_filename"].endswith(warc.name)]
    lay_out(tmp_path / "again", CRAWL, [warc], language, more_rows=again)
    (source,) = located(str(tmp_path / "again"), tmp_path / "out")
    assert len(read_records(source)[0]) == 8


def test_warc_files_of_several_groups(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "WARCS_PER_FILE", 2)
    monkeypatch.setattr(index, "ROWS_PER_GROUP", 3)
    sources = located(str(base), tmp_path / "out")
    assert len({source.records for source in sources}) == 2
    assert wanted(base, tmp_path / "other") == wanted(base, tmp_path / "out")
    assert [len(read_records(source)[0]) for source in sources] == [8, 8, 8]


def test_a_finished_index_file_is_not_read_again(base: Path, tmp_path: Path) -> None:
    with Server(base) as server:
        located(server.url, tmp_path / "out")
        asked = [each.path for each in server.served]
        located(server.url, tmp_path / "out")
        again = [each.path for each in server.served[len(asked) :]]
    assert sum("subset=warc" in path for path in asked) >= 2
    assert not any("crawldiagnostics" in path for path in asked)
    assert [path.rsplit("/", 1)[1] for path in again] == ["warc.paths.gz", "cc-index-table.paths.gz"]


def test_only_the_columns_and_row_groups_that_matter_are_fetched(tmp_path: Path) -> None:
    """URLs are most of an index; most row groups of a crawl sorted by URL are of one country."""
    rows = []
    for number in range(4000):
        language = "jpn" if 1000 <= number < 2000 else "deu"
        rows.append(
            dict.fromkeys(INDEX_SCHEMA.names)
            | {
                "url": f"https://example.jp/{number * 7919 % 4001}/{number * 104729 % 10007}/page.html" * 4,
                "fetch_status": 200,
                "content_mime_detected": "text/html",
                "content_languages": language,
                "warc_filename": f"crawl-data/{CRAWL}/x.warc.gz",
                "warc_record_offset": number * 100,
                "warc_record_length": 100,
            }
        )
    file = tmp_path / "base" / "x.parquet"
    file.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA), file, row_group_size=1000, compression="gzip")
    (tmp_path / "names.txt").write_text("x.warc.gz")
    with Server(tmp_path / "base") as server:
        shard = index.IndexShard(
            *("index.0", f"{server.url}/x.parquet", str(tmp_path / "names.txt"), str(tmp_path), "found.parquet"),
            CommonCrawlConfig(mode="index", requests_per_second=2000),
        )
        record = find_records(shard)
        ranges = [each.range for each in server.served if each.range != "bytes=0-0"]
        assert record.counts == {"index_rows": 4000, "wanted": 1000}
        footer = 64 << 10  # at most: what the Parquet reader asks for at first
        assert server.bytes_of("x.parquet") < footer + file.stat().st_size / 8
        assert 2 <= len(ranges) <= 4


def test_a_file_that_is_no_index_is_told(base: Path, tmp_path: Path) -> None:
    (path, *_) = sorted((base / "cc-index").rglob("*subset=warc/*.parquet"))
    pq.write_table(pa.table({"text": ["x"]}), path)
    with pytest.raises(ShardFailedError, match="is no index file of Common Crawl"):
        located(str(base), tmp_path / "out")
    pq.write_table(pa.table({"warc_filename": ["x"]}), path)
    with pytest.raises(ShardFailedError, match=r"no column content_languages, .*; expected an index file"):
        located(str(base), tmp_path / "some")
    path.write_bytes(b"PAR1 was here")
    with pytest.raises(ShardFailedError, match="is no index file of Common Crawl"):
        located(str(base), tmp_path / "other")


def ranges(offsets: list[int], lengths: list[int], max_gap: int) -> list[tuple[int, int, list[tuple[int, ...]]]]:
    merged = merge(offsets, lengths, max_gap)
    return [(first, last, [stretch.offsets or () for stretch in stretches]) for first, last, stretches in merged]


def test_near_records_share_a_request() -> None:
    assert ranges([], [], 10) == []
    assert ranges([5], [10], 0) == [(5, 15, [(5,)])]
    assert ranges([0, 10, 30], [10, 10, 5], 0) == [(0, 20, [(0, 10)]), (30, 35, [(30,)])]
    assert ranges([0, 10, 30], [10, 10, 5], 9) == [(0, 20, [(0, 10)]), (30, 35, [(30,)])]
    assert ranges([0, 10, 30], [10, 10, 5], 10) == [(0, 35, [(0, 10), (30,)])]


def test_gaps_cost_requests_or_bytes(base: Path, tmp_path: Path) -> None:
    """Pages 0, 2, 6, 8, ... are wanted, so there is a gap after each."""
    with Server(base) as server:
        for gap, num_requests in ((0, 8), (1 << 20, 1)):
            config = CurateConfig(
                sources=["x"], commoncrawl={"base": server.url, "requests_per_second": 2000, "max_gap_bytes": gap}
            )
            source = located(server.url, tmp_path / "out")[0]
            asked = len(server.served)
            with open_pages(source, config) as pages:
                assert len(list(pages)) == 8
            lengths = read_records(source)[1]
            sent = sum(each.num_bytes for each in server.served[asked:])
            assert len(server.served) - asked == num_requests
            assert (sent == sum(lengths)) == (gap == 0)


@pytest.mark.parametrize("remote", [True, False])
def test_every_record_that_the_index_names_has_a_page_be_it_torn(base: Path, tmp_path: Path, remote: bool) -> None:
    source = located(str(base), tmp_path / "out")[0]
    offsets, lengths = read_records(source)
    path = base / source.uri.removeprefix(f"{base}/")
    data = bytearray(path.read_bytes())
    data[offsets[2] + 20 : offsets[2] + 60] = bytes(40)  # damaged
    data[offsets[4] : offsets[4] + 3] = bytes(3)  # not even a member
    path.write_bytes(data[: offsets[7] + lengths[7] // 2])  # cut off
    with Server(base) as server:
        at = WarcSource(
            f"{server.url}{source.uri.removeprefix(str(base))}" if remote else source.uri,
            *(source.name, CRAWL, source.identity, 0),
            records=source.records,
        )
        config = CurateConfig(sources=["x"], commoncrawl={"requests_per_second": 2000, "max_gap_bytes": 100})
        with open_pages(at, config) as pages:
            problems = [(page.offset, page.problem) for page in pages]
    torn = {offsets[2], offsets[4], offsets[7]}
    assert problems == [(offset, Rule.TORN_MEMBER if offset in torn else None) for offset in offsets]

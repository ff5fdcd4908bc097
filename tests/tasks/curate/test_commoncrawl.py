"""A whole curation from a Common Crawl on loopback: breaks when mode, parts, faults or a kill change a document."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks.commoncrawl import language_finder
from storage.artifact import Outcome, cache_folder, content_digest
from storage.documents import read_documents
from storage.ledger import Rule, compact_path, full_path, read_compact, read_full
from tasks.curate import remote
from tasks.curate.commoncrawl import list_crawls
from tasks.curate.config import CommonCrawlConfig, CurateConfig
from tasks.curate.curate import curate
from tasks.shards import ExecutorConfig
from tests.tasks.curate.common_crawl_server import KINDS, Faults, Server, lay_out, seeded_faults
from tests.tasks.curate.warc_files import ENGLISH, PARAGRAPHS, html, member, record

CRAWL = "CC-MAIN-2024-10"
CHINESE = "云雀在春天飞到麦田上空，高得看不见身影，却一直不停地歌唱。它的巢筑在地面的浅坑里，铺着枯草。" * 8
NO_LONG_FAULTS = [kind for kind in KINDS if kind != "503 later"]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch, shards_in_threads: None) -> None:
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.005)


def page(number: int) -> bytes:
    """Every third page is Japanese, among them some with a long English quotation."""
    dice = random.Random(number)
    if number % 3 == 0:
        body = [*dice.sample(PARAGRAPHS, 5), ENGLISH * (3 if number % 2 else 0)]
        return html(*body, title=f"春の記録 {number}").encode()
    if number % 3 == 1:
        return html(CHINESE, lang="zh", title=f"{number}").encode()
    return html(ENGLISH * 20, lang="en", title=f"{number}").encode()


def languages(body: bytes) -> str | None:
    """As a detector would, which finds nothing on one page in ten."""
    number = int(body.split(b"<title>")[1].split(b"<")[0].split()[-1])
    return None if number % 10 == 9 else ["jpn,eng" if number % 2 else "jpn", "zho", "eng"][number % 3]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A crawl of two WARC files of 36 pages, each with requests between them and one member torn."""
    warcs = []
    for warc in range(2):
        members = []
        for number in range(100 * warc, 100 * warc + 36):
            members.append(member(record(number, b"GET", kind="request")))
            members.append(member(record(number, page(number))))
        members[9] = members[9][:50] + bytes(60) + members[9][110:]
        path = tmp_path / f"CC-MAIN-20240301-{warc:05}.warc.gz"
        path.write_bytes(b"".join(members))
        warcs.append(path)
    lay_out(tmp_path / "base", CRAWL, warcs, languages)
    return tmp_path / "base"


def curated(base: str, out: Path, workers: int = 1, **commoncrawl: Any) -> Outcome:
    config = CurateConfig(
        sources=[f"commoncrawl:{CRAWL}"],
        commoncrawl={"base": base, "requests_per_second": 2000, "max_gap_bytes": 300} | commoncrawl,
    )
    return curate(config, out=str(out), executor=ExecutorConfig(workers=workers))


def documents(out: Path) -> list[dict[str, Any]]:
    paths = sorted((out / "documents").glob("*.parquet"))
    return sorted(
        (row for path in paths for batch in read_documents(str(path)) for row in batch.to_pylist()),
        key=lambda row: (row["warc"], row["offset"]),
    )


def fates(out: Path) -> list[tuple[str, int | None, Rule]]:
    """(WARC, offset, rule) of every ledger row."""
    found: list[tuple[str, int | None, Rule]] = []
    for path in sorted((out / "documents").glob("*.parquet")):
        warc, key = path.stem.split(".")[0], path.stem
        found += [(warc, offset, rule) for offset, rule in read_compact(str(out / compact_path(key)))]
        found += [(warc, row.offset, row.rule) for row in read_full(str(out / full_path(key)))]
    return sorted(found, key=lambda row: (row[0], row[1] or 0))


def faulty(seed: int) -> Faults:
    return seeded_faults(seed, 0.35, NO_LONG_FAULTS)


def test_a_crawl_read_whole_in_parts_and_with_faults_is_the_same(base: Path, tmp_path: Path) -> None:
    here = curated(str(base), tmp_path / "here")
    with Server(base) as server:
        whole = curated(server.url, tmp_path / "whole")
        assert server.bytes_of(".warc.gz") == sum(path.stat().st_size for path in base.rglob("*.warc.gz"))
    assert content_digest(whole.files) == content_digest(here.files)
    with Server(base, faulty(1)) as server:
        again = curated(server.url, tmp_path / "faulty", workers=2)
        assert any(each.status >= 400 for each in server.served)
    assert content_digest(again.files) == content_digest(here.files)
    with Server(base, faulty(2)) as server:
        curated(server.url, tmp_path / "parts", parts_per_warc=5)
    assert documents(tmp_path / "parts") == documents(tmp_path / "here")
    assert fates(tmp_path / "parts") == fates(tmp_path / "here")
    assert here.counts["torn_members"] == 2
    assert here.counts["records"] == 72
    assert list((cache_folder() / "fetch").iterdir()) == []


def test_by_the_index_the_same_documents_of_the_pages_it_names(base: Path, tmp_path: Path) -> None:
    curated(str(base), tmp_path / "whole")
    with Server(base) as server:
        found = curated(server.url, tmp_path / "index", mode="index")
        requests, num_bytes = len(server.served), server.bytes_of(".warc.gz")
    with Server(base, faulty(3)) as server:
        faults = curated(server.url, tmp_path / "faulty", mode="index", workers=2)
        assert len(server.served) > requests
    assert content_digest(faults.files) == content_digest(found.files)
    named = {row["id"] for row in documents(tmp_path / "index")}
    every = documents(tmp_path / "whole")
    assert documents(tmp_path / "index") == [row for row in every if row["id"] in named]
    missed = [row["url"] for row in every if row["id"] not in named]
    assert [int(url.rsplit("/", 1)[1].removesuffix(".html")) % 10 for url in missed] == [9] * len(missed)
    assert len(every) - len(missed) == len(named) > 15
    # Only what the index names has a row, and what was fetched is little more than that.
    assert found.counts["records"] == len(fates(tmp_path / "index")) == found.counts["kept"] + found.counts["dropped"]
    assert num_bytes < sum(path.stat().st_size for path in base.rglob("*.warc.gz")) * 0.7


def test_all_workers_together_keep_to_the_connections_allowed(base: Path, tmp_path: Path) -> None:
    with Server(base, delay_s=0.01) as server:
        curated(server.url, tmp_path / "out", workers=4, max_connections=2, parts_per_warc=4)
        assert server.most_at_once == 2


@pytest.mark.slow
def test_real_pages_by_an_index_of_another_detector(shared_data: Path, tmp_path: Path) -> None:
    """What `lid.176` says of a page's visible text stands for what the index says: it misses few."""
    pytest.importorskip("fasttext")
    find = language_finder(str(shared_data / "models" / "lid.176.ftz"))
    warcs = sorted((shared_data / "warc").glob("*.warc.gz"))[:2]
    lay_out(tmp_path / "base", CRAWL, warcs, find, rows_per_group=512)
    with Server(tmp_path / "base") as server:
        for mode in ("warc", "index"):
            curated(server.url, tmp_path / mode, mode=mode, max_gap_bytes=4096)
        fetched = server.bytes_of(".warc.gz")
    whole, found = ({row["id"]: row["text"] for row in documents(tmp_path / mode)} for mode in ("warc", "index"))
    assert found.items() <= whole.items()
    assert len(found) >= 0.98 * len(whole) > 150
    assert fetched < 1.25 * sum(warc.stat().st_size for warc in warcs)  # whole, and then by the index


def test_crawls_are_listed_oldest_first(tmp_path: Path) -> None:
    for crawl in ("CC-MAIN-2024-10", "CC-MAIN-2023-50", "CC-MAIN-2024-18"):
        lay_out(tmp_path, crawl, [], languages)
    with Server(tmp_path) as server:
        config = CommonCrawlConfig(base=server.url)
        assert list_crawls(config) == ["CC-MAIN-2023-50", "CC-MAIN-2024-10", "CC-MAIN-2024-18"]
        (tmp_path / "collinfo.json").write_text(json.dumps({"error": "no"}))
        with pytest.raises(ValueError, match=r"collinfo\.json is no list of crawls"):
            list_crawls(config)

"""A crawl in a bucket, as s3://commoncrawl is, on a real S3 server: the same documents as from a folder."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from storage import uri
from storage.artifact import Outcome, content_digest
from tasks.curate.config import CommonCrawlConfig, CurateConfig
from tasks.curate.curate import curate
from tasks.curate.fetch import fetched
from tasks.curate.remote import RemoteFile, SourceChangedError
from tasks.shards import ExecutorConfig
from tests.storage.test_s3 import s3_root as s3_root
from tests.tasks.curate.common_crawl_server import lay_out
from tests.tasks.curate.warc_files import ENGLISH, PARAGRAPHS, html, record, write_warc

pytestmark = pytest.mark.slow

CRAWL = "CC-MAIN-2024-10"
SETTINGS = CommonCrawlConfig(requests_per_second=1000, give_up_s=20)


def curated(base: str, out: str, **commoncrawl: Any) -> Outcome:
    config = CurateConfig(
        sources=[f"commoncrawl:{CRAWL}"],
        commoncrawl={"base": base, "requests_per_second": 1000, "max_gap_bytes": 500} | commoncrawl,
    )
    return curate(config, out=out, executor=ExecutorConfig(workers=2))


def test_both_modes_in_a_bucket(s3_root: str, tmp_path: Path) -> None:
    warcs = []
    orders = list(itertools.permutations(PARAGRAPHS, 5))
    for warc in range(2):
        path = tmp_path / f"CC-MAIN-20240301-{warc:05}.warc.gz"
        pages = [html(*orders[number * 2 + warc]) if number % 2 else html(ENGLISH * 9) for number in range(40)]
        write_warc(path, [record(number, page.encode()) for number, page in enumerate(pages)])
        warcs.append(path)
    lay_out(tmp_path / "base", CRAWL, warcs, lambda body: "jpn" if "雲雀".encode() in body else "eng")
    bucket = f"{s3_root}/commoncrawl"
    uri.upload_tree(tmp_path / "base", bucket)
    modes: list[dict[str, Any]] = [{"mode": "warc"}, {"mode": "warc", "parts_per_warc": 3}, {"mode": "index"}]
    for number, changes in enumerate(modes):
        here = curated(str(tmp_path / "base"), str(tmp_path / f"here-{number}"), **changes)
        there = curated(bucket, f"{s3_root}/out-{number}", **changes)
        assert here.counts["documents"] == 40
        assert there.counts == here.counts
        if "parts_per_warc" not in changes:  # a folder's files are split by size, a bucket's by number
            assert content_digest(there.files) == content_digest(here.files)
    assert here.counts["records"] == 40, "by the index, the Japanese ones only"


def test_ranges_versions_and_what_is_not_there(s3_root: str) -> None:
    data = bytes(range(256)) * 4000
    uri.write_bytes(f"{s3_root}/x.bin", data)
    file = RemoteFile(f"{s3_root}/x.bin", SETTINGS)
    assert file.read(1000, 5000) == data[1000:5000]
    assert file.size == len(data)
    assert file.read(len(data) - 5, len(data) + 5) == data[-5:]
    assert RemoteFile(f"{s3_root}/x.bin", SETTINGS).read(len(data) + 5, len(data) + 9) == b""
    with pytest.raises(FileNotFoundError, match="NoSuchKey"):
        RemoteFile(f"{s3_root}/y.bin", SETTINGS).read()
    uri.write_bytes(f"{s3_root}/x.bin", data[::-1])
    with pytest.raises(SourceChangedError, match="was changed"):
        file.read(1000, 5000)


def test_a_fetch_goes_on_where_it_was(s3_root: str) -> None:
    data = b"\x1f\x8b" + bytes(range(256)) * 8000
    uri.write_bytes(f"{s3_root}/x.warc.gz", data)

    def stop_later(fraction: float) -> None:
        if fraction > 0.5:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), fetched(f"{s3_root}/x.warc.gz", [(0, None)], SETTINGS, stop_later):
        pass
    seen: list[float] = []
    with fetched(f"{s3_root}/x.warc.gz", [(0, None)], SETTINGS, seen.append) as path:
        assert path.read_bytes() == data
    assert seen[0] > 0.5

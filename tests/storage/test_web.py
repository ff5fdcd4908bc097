"""Breaks when sources on web servers are read in part, twice, or not at all, or when a changed file goes unnoticed."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.artifact import input_digests
from storage.documents import document_id
from storage.sources import read_source
from storage.uri import expand_glob, open_stream, sha256
from tests.storage.source_files import lines
from tests.storage.web_server import Site, serve

MODIFIED = "Sun, 01 Mar 2026 00:00:00 GMT"
CONTENT = random.Random(7).randbytes(700_000)


@pytest.mark.parametrize("ranges", [True, False])
def test_sources_are_read_whether_or_not_the_server_serves_ranges(tmp_path: Path, ranges: bool) -> None:
    records = [{"id": number, "text": f"雲雀{number}"} for number in range(3)]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    files = {"/a.jsonl.gz": gzip.compress(lines(records)), "/a.parquet": (tmp_path / "a.parquet").read_bytes()}
    files["/b.jsonl?download=true"] = lines(records)
    with serve(Site(files, ranges=ranges)) as site:
        for path in files:
            found = list(read_source([site.uri + path], "web"))
            assert found == [(document_id("web", number), f"雲雀{number}") for number in range(3)]
        assert expand_glob(f"{site.uri}/b.jsonl?download=true") == [f"{site.uri}/b.jsonl?download=true"]
        with pytest.raises(FileNotFoundError, match=r"nothing found at .*/none\.jsonl"):
            list(read_source([f"{site.uri}/none.jsonl"], "web"))


@pytest.mark.parametrize(("etag", "modified"), [('"1"', ""), ("", MODIFIED), ('W/"1"', MODIFIED)])
def test_an_answer_that_breaks_off_is_taken_up_where_it_ended(etag: str, modified: str) -> None:
    site = Site({"/a": CONTENT}, etag=etag, modified=modified, cut_after=300_000)
    with serve(site), open_stream(f"{site.uri}/a") as file:
        assert b"".join(iter(lambda: file.read(10_000), b"")) == CONTENT
    whole, second, third = (asked for _, asked in site.requests)
    assert whole is None
    assert [asked and asked.startswith("bytes=") and asked.endswith("-") for asked in (second, third)] == [True, True]


@pytest.mark.parametrize("site", [Site(cut_after=300_000, etag=""), Site(cut_after=300_000, ranges=False)])
def test_what_cannot_be_taken_up_is_an_error_and_no_shorter_file(site: Site) -> None:
    site.files = {"/a": CONTENT}
    with (
        serve(site),
        open_stream(f"{site.uri}/a") as file,
        pytest.raises(OSError, match=r"broke off after 2\d{5} bytes"),
    ):
        file.read()


def test_the_rest_of_another_file_is_not_taken() -> None:
    site = Site({"/a": CONTENT}, cut_after=300_000)
    with serve(site), open_stream(f"{site.uri}/a") as file:
        assert file.read(100_000) == CONTENT[:100_000]
        site.files, site.etag = {"/a": CONTENT[::-1]}, '"2"'
        with pytest.raises(OSError, match=r"broke off after 2\d{5} bytes"):
            file.read()


@pytest.mark.parametrize(("etag", "modified"), [('"1"', ""), ("", MODIFIED)])
def test_a_digest_is_remembered_by_what_the_server_tells_of_the_version(etag: str, modified: str) -> None:
    with serve(Site({"/a": b"lark"}, etag=etag, modified=modified)) as site:
        (first,) = input_digests([f"{site.uri}/a"])
        assert first == sha256(f"{site.uri}/a")
        num_requests = len(site.requests)
        assert input_digests([f"{site.uri}/a"]) == [first]
        assert len(site.requests) == num_requests, "a rerun does not read the file again"
        site.files["/a"] = b"lork"
        site.etag, site.modified = etag and '"2"', modified and MODIFIED.replace("01 Mar", "02 Mar")
        assert input_digests([f"{site.uri}/a"]) != [first]


def test_without_a_version_the_content_is_read_every_time() -> None:
    with serve(Site({"/a": b"lark"}, etag="")) as site:
        before = input_digests([f"{site.uri}/a"])
        site.files["/a"] = b"lork"  # as long as before
        assert input_digests([f"{site.uri}/a"]) != before


def test_a_server_that_is_not_there_is_an_error_that_names_the_address() -> None:
    with serve(Site()) as site:
        gone = f"{site.uri}/a.jsonl"
    with pytest.raises(OSError, match=gone):
        open_stream(gone)

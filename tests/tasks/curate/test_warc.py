"""Breaks when damage in a WARC costs more than the damaged record, or offsets or bodies are wrong."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from storage.ledger import Rule
from tasks.curate.warc import WarcPage, WarcReader, list_warcs
from tests.tasks.curate.warc_files import member, record, write_warc

MAX_PAGE_BYTES = 1 << 20


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


BODIES = [f"<html>{number} {noise(300).hex()}</html>".encode() for number in range(5)]
MEMBERS = [member(record(number, body)) for number, body in enumerate(BODIES)]


def read(path: Path) -> list[WarcPage]:
    return list(WarcReader(path, MAX_PAGE_BYTES))


def read_bytes(tmp_path: Path, data: bytes) -> list[bytes | Rule]:
    """Bodies, or the problem, of what is in a file of these bytes."""
    path = tmp_path / "x.warc.gz"
    path.write_bytes(data)
    return [page.body if page.problem is None else page.problem for page in read(path)]


def test_offsets_bodies_and_headers(tmp_path: Path) -> None:
    records = [record(number, body) for number, body in enumerate(BODIES)]
    records.insert(1, record(9, b"ignored", kind="request"))
    offsets = write_warc(tmp_path / "x.warc.gz", records)
    reader = WarcReader(tmp_path / "x.warc.gz", MAX_PAGE_BYTES)
    pages = list(reader)
    assert [page.offset for page in pages] == [offsets[0], *offsets[2:]]
    assert [page.body for page in pages] == BODIES
    assert reader.num_other_records == 1
    page = pages[3]
    assert (page.url, page.content_type, page.http_charset) == (
        "https://example.jp/3.html",
        "text/html",
        "utf-8",
    )
    assert page.fetched_at is not None
    assert page.fetched_at.isoformat() == "2024-03-01T12:00:03+00:00"


def test_a_truncated_file_loses_its_last_record_only(tmp_path: Path) -> None:
    whole = b"".join(MEMBERS)
    for cut in (1, 8, 100, len(MEMBERS[4]) - 1):
        assert read_bytes(tmp_path, whole[:-cut]) == [*BODIES[:4], Rule.TORN_MEMBER]


def test_garbage_between_records_loses_nothing(tmp_path: Path) -> None:
    data = b"".join([*MEMBERS[:2], noise(5000), *MEMBERS[2:]])
    assert read_bytes(tmp_path, data) == [*BODIES[:2], Rule.TORN_MEMBER, *BODIES[2:]]


def test_garbage_inside_a_record_loses_that_record(tmp_path: Path) -> None:
    data = bytearray(b"".join(MEMBERS))
    start = sum(map(len, MEMBERS[:2])) + 60
    data[start : start + 30] = noise(30)
    assert read_bytes(tmp_path, bytes(data)) == [*BODIES[:2], Rule.TORN_MEMBER, *BODIES[3:]]


def test_a_member_cut_short_does_not_swallow_the_next(tmp_path: Path) -> None:
    data = b"".join([*MEMBERS[:2], MEMBERS[2][:150], *MEMBERS[3:]])
    assert read_bytes(tmp_path, data) == [*BODIES[:2], Rule.TORN_MEMBER, *BODIES[3:]]


def test_a_member_that_is_no_warc_is_torn(tmp_path: Path) -> None:
    data = b"".join([MEMBERS[0], member(b"something else entirely\r\n"), MEMBERS[1]])
    assert read_bytes(tmp_path, data) == [BODIES[0], Rule.TORN_MEMBER, BODIES[1]]


def test_a_content_length_beyond_the_member_is_torn(tmp_path: Path) -> None:
    lying = record(1, b"<html>short</html>").replace(b"\r\nContent-Length: ", b"\r\nContent-Length: 9")
    data = b"".join([MEMBERS[0], member(lying), MEMBERS[1]])
    assert read_bytes(tmp_path, data) == [BODIES[0], Rule.TORN_MEMBER, BODIES[1]]


@pytest.mark.parametrize("data", [b"", noise(3000), b"\x1f\x8b\x08" + noise(50)])
def test_a_file_that_is_all_damage_is_one_torn_stretch(tmp_path: Path, data: bytes) -> None:
    assert read_bytes(tmp_path, data) == [Rule.TORN_MEMBER]


def test_encoded_bodies_are_decoded_and_lying_encodings_cost_nothing(tmp_path: Path) -> None:
    body = b"<html>encoded</html>"
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    data = [
        record(0, gzip.compress(body), headers="Content-Encoding: gzip\r\n"),
        record(1, chunked, headers="Transfer-Encoding: chunked\r\n"),
        record(2, body, headers="Content-Encoding: gzip\r\n"),
        record(3, body, headers="Transfer-Encoding: chunked\r\n"),
        record(4, body, headers="Content-Encoding: br\r\n"),
        record(5, body),
    ]
    assert read_bytes(tmp_path, b"".join(map(member, data))) == [body] * 6


def test_several_records_in_a_member_get_offsets_of_their_own(tmp_path: Path) -> None:
    together = member(record(0, BODIES[0]) + record(1, BODIES[1]))
    (tmp_path / "x.warc.gz").write_bytes(together + MEMBERS[2])
    pages = read(tmp_path / "x.warc.gz")
    assert [page.body for page in pages] == BODIES[:3]
    assert len({page.offset for page in pages}) == 3


def test_files_not_compressed_by_record_are_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "plain.warc").write_bytes(record(0, BODIES[0]))
    with pytest.raises(ValueError, match=r"plain\.warc is not compressed.*fastwarc recompress"):
        read(tmp_path / "plain.warc")
    large = [record(number, noise(200_000).hex().encode()) for number in range(12)]
    (tmp_path / "one.warc.gz").write_bytes(gzip.compress(b"".join(large), 1))
    with pytest.raises(ValueError, match=r"holds many records in one gzip member.*fastwarc recompress"):
        read(tmp_path / "one.warc.gz")


def test_pages_that_cannot_be_used_come_without_body(tmp_path: Path) -> None:
    data = [
        record(0, b"x" * (30 << 20)),
        record(1, b"x" * (MAX_PAGE_BYTES + 1)),
        record(2, gzip.compress(b"x" * (20 << 20)), headers="Content-Encoding: gzip\r\n"),
        record(3, b"gone", status="404 Not Found"),
        record(4, b""),
        record(5, b" \r\n\t"),
        record(6, b"x" * MAX_PAGE_BYTES),
    ]
    assert read_bytes(tmp_path, b"".join(map(member, data))) == [
        Rule.PAGE_TOO_LARGE,
        Rule.PAGE_TOO_LARGE,
        Rule.PAGE_TOO_LARGE,
        Rule.BAD_STATUS,
        Rule.EMPTY_RECORD,
        Rule.EMPTY_RECORD,
        b"x" * MAX_PAGE_BYTES,
    ]


def test_sources_are_listed_in_order_with_their_crawl(tmp_path: Path) -> None:
    folder = tmp_path / "CC-MAIN-2024-10"
    folder.mkdir()
    for name in ("b.warc.gz", "a.warc.gz", "CC-MAIN-20240223-00001.warc.gz"):
        (folder / name).write_bytes(b"")
    (tmp_path / "z 1.warc.gz").write_bytes(b"")
    found = list_warcs([str(tmp_path / "z 1.warc.gz"), f"{folder}/*.warc.gz"])
    assert [warc.name for warc in found] == [
        "z 1.warc.gz",
        "CC-MAIN-20240223-00001.warc.gz",
        "a.warc.gz",
        "b.warc.gz",
    ]
    assert [warc.crawl for warc in found] == ["unknown", *["CC-MAIN-2024-10"] * 3]
    assert [warc.key for warc in found][:2] == ["z_1", "CC-MAIN-20240223-00001"]


def test_a_crawl_is_looked_up_in_its_file_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIBARI_COMMONCRAWL", str(tmp_path))
    crawl = tmp_path / "crawl-data" / "CC-MAIN-2024-10"
    crawl.mkdir(parents=True)
    paths = [f"crawl-data/CC-MAIN-2024-10/segments/1/warc/part-{number:05d}.warc.gz" for number in range(3)]
    (crawl / "warc.paths.gz").write_bytes(gzip.compress("\n".join(paths).encode()))
    found = list_warcs(["commoncrawl:CC-MAIN-2024-10:2"])
    assert [warc.uri for warc in found] == [f"{tmp_path}/{path}" for path in paths[:2]]
    assert found[1].identity == "CC-MAIN-2024-10/part-00001.warc.gz"
    assert found[1].crawl == "CC-MAIN-2024-10"
    assert len(list_warcs(["commoncrawl:CC-MAIN-2024-10"])) == 3
    with pytest.raises(FileNotFoundError, match="no such crawl CC-MAIN-2024-11"):
        list_warcs(["commoncrawl:CC-MAIN-2024-11"])
    with pytest.raises(ValueError, match="expected commoncrawl:CC-MAIN-YYYY-WW"):
        list_warcs(["commoncrawl:2024-10"])
    (crawl / "warc.paths.gz").write_bytes(b"<html>not today</html>")
    with pytest.raises(ValueError, match="cannot read the file list"):
        list_warcs(["commoncrawl:CC-MAIN-2024-10"])


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

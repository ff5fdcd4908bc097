"""Breaks when damage in a WARC costs more than the damaged record, or offsets or bodies are wrong."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from storage.ledger import Rule
from storage.uri import write_bytes
from tasks.curate import warc
from tasks.curate.warc import WarcPage, WarcReader, read_member
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


def test_a_record_longer_than_its_member_can_be_is_not_the_end_of_the_file(tmp_path: Path) -> None:
    """Only a file that begins with many records in one member is refused: later ones are damage."""
    large = member(b"".join(record(number, noise(300_000).hex().encode()) for number in range(5)))
    bodies = read_bytes(tmp_path, MEMBERS[0] + large + MEMBERS[1])
    assert bodies[0] == BODIES[0]
    assert bodies[-1] == BODIES[1]
    assert Rule.TORN_MEMBER in bodies[1:-1]


def test_reserved_gzip_flags_are_damage(tmp_path: Path) -> None:
    odd = MEMBERS[1][:3] + b"\xe0" + MEMBERS[1][4:]
    assert read_bytes(tmp_path, MEMBERS[0] + odd + MEMBERS[2]) == [BODIES[0], Rule.TORN_MEMBER, BODIES[2]]


def test_a_wrong_checksum_is_damage(tmp_path: Path) -> None:
    wrong = MEMBERS[1][:-6] + bytes([MEMBERS[1][-6] ^ 1]) + MEMBERS[1][-5:]
    assert read_bytes(tmp_path, MEMBERS[0] + wrong + MEMBERS[2]) == [BODIES[0], Rule.TORN_MEMBER, BODIES[2]]


# Small, for they are read once for each of their bytes.
SMALL = [member(record(number, noise(20))) for number in range(4)]
TORN = {
    "whole": b"".join(SMALL),
    "garbage first": noise(70) + b"".join(SMALL[:3]),
    "garbage between": SMALL[0] + noise(90) + SMALL[1] + bytes(40) + SMALL[2],
    "cut short": SMALL[0] + SMALL[1][:90] + SMALL[2] + SMALL[3][:-9],
    "wrong checksum": SMALL[0] + SMALL[1][:-8] + bytes(8) + SMALL[2],
    "foreign member": SMALL[0] + member(b"no WARC") + SMALL[1],
    "two records in a member": member(record(0, b"one") + record(1, b"two")) + SMALL[2],
    "requests between": SMALL[0] + member(record(9, b"", kind="request")) + SMALL[1],
    "garbage last": SMALL[0] + SMALL[1] + noise(50),
    "garbage only": noise(200),
}


@pytest.mark.parametrize("kind", TORN)
def test_two_spans_give_each_record_once_wherever_they_meet(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.warc.gz"
    path.write_bytes(TORN[kind])
    whole = WarcReader(path, MAX_PAGE_BYTES)
    pages = list(whole)
    for boundary in range(len(TORN[kind]) + 1):
        spans = [(0, boundary), (boundary, len(TORN[kind]))]
        readers = [WarcReader(path, MAX_PAGE_BYTES, span) for span in spans]
        assert [page for reader in readers for page in reader] == pages, boundary
        assert sum(reader.num_other_records for reader in readers) == whole.num_other_records


@pytest.mark.parametrize("kind", TORN)
def test_many_spans_give_each_record_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.warc.gz"
    path.write_bytes(TORN[kind])
    bounds = [*range(0, len(TORN[kind]), 57), len(TORN[kind])]
    spans = itertools.pairwise(bounds)
    assert [page for span in spans for page in WarcReader(path, MAX_PAGE_BYTES, span)] == read(path)


def test_a_part_of_a_file_has_the_offsets_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.warc.gz").write_bytes(b"".join(MEMBERS))
    pages = read(tmp_path / "x.warc.gz")
    base = pages[2].offset
    (tmp_path / "part").write_bytes(b"".join(MEMBERS[2:]))
    assert list(WarcReader(tmp_path / "part", MAX_PAGE_BYTES, base=base)) == pages[2:]
    for first, last in itertools.combinations([base, base + 1, pages[3].offset, pages[4].offset], 2):
        expected = [page for page in pages if first <= page.offset < last]
        assert list(WarcReader(tmp_path / "part", MAX_PAGE_BYTES, (first, last), base)) == expected


def test_a_part_that_begins_with_a_torn_member_says_so(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(MEMBERS[0][:-9] + MEMBERS[1])
    pages = list(WarcReader(tmp_path / "part", MAX_PAGE_BYTES, base=5000))
    assert [(page.offset, page.problem) for page in pages] == [
        (5000, Rule.TORN_MEMBER),
        (5000 + len(MEMBERS[0]) - 9, None),
    ]


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_a_page_is_read_again_at_its_offset(tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warc, "_MEMBER_BYTES", 1000)  # so that members of more take several requests
    together = member(record(5, BODIES[0]) + record(6, b"", kind="request") + record(7, BODIES[1]))
    large = member(record(8, noise(9000).hex().encode()))
    data = b"".join([*MEMBERS[:2], together, MEMBERS[2][:150], noise(40), large, MEMBERS[3]])
    path = tmp_path / "x.warc.gz"
    path.write_bytes(data)
    uri = scheme + str(path)
    write_bytes(uri, data)
    pages = read(path)
    assert len(pages) == 7
    assert [read_member(uri, page.offset, MAX_PAGE_BYTES) for page in pages] == pages
    with pytest.raises(ValueError, match="no response record at"):
        read_member(uri, pages[2].offset + 1, MAX_PAGE_BYTES)
    with pytest.raises(FileNotFoundError):
        read_member(uri + "x", 0, MAX_PAGE_BYTES)


def test_reading_agrees_with_fastwarc(shared_data: Path) -> None:
    """An independent reader gives the same records of undamaged files."""
    paths = [shared_data / "warc" / "CC-LIKE-shared-00003.warc.gz", *(shared_data / "real_crawl").glob("*.warc.gz")]
    for path in paths:
        with open(path, "rb") as file:
            theirs = []
            for found in ArchiveIterator(file, record_types=WarcRecordType.response, parse_http=False):
                found.parse_http(auto_decode="all")
                theirs.append((found.stream_pos, found.headers["WARC-Target-URI"].strip("<>"), found.record_date))
        assert [(page.offset, page.url, page.fetched_at) for page in read(path) if page.fetched_at] == theirs


def test_every_duplicate_and_every_real_record_comes_through(shared_data: Path) -> None:
    with gzip.open(shared_data / "manifest.jsonl.gz", "rt") as lines:
        manifest = [json.loads(line) for line in lines]
    times = Counter(row["sha1"] for row in manifest)
    again = {(row["warc"], row["url"]): row["sha1"] for row in manifest if times[row["sha1"]] > 1}
    assert sum(times[sha1] - 1 for sha1 in set(again.values())) == 338
    for path in sorted((shared_data / "warc").glob("*.warc.gz")):
        for page in WarcReader(path, 8 << 20):
            sha1 = again.pop((path.name, page.url or ""), None)
            assert sha1 is None or hashlib.sha1(page.body).hexdigest() == sha1
    assert not again
    real = [page for path in (shared_data / "real_crawl").glob("*.warc.gz") for page in WarcReader(path, 8 << 20)]
    assert Rule.TORN_MEMBER not in {page.problem for page in real}
    assert len([page for page in real if page.problem is None]) >= 38


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the largest memory of a process is read in /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    pages = [member(record(number, noise(20_000).hex().encode())) for number in range(200)]
    sizes = []
    for times in (1, 60):
        path = tmp_path / f"{times}.warc.gz"
        path.write_bytes(b"".join(pages) * times)
        command = [sys.executable, "-c", READ_ALL, str(path)]
        sizes.append(int(subprocess.run(command, capture_output=True, check=True, text=True).stdout))
    assert path.stat().st_size > 200 << 20
    assert sizes[1] - sizes[0] < 80 << 10, "kibibytes"


READ_ALL = """
import sys
from pathlib import Path
from tasks.curate.warc import WarcReader
for page in WarcReader(Path(sys.argv[1]), 8 << 20): pass
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""

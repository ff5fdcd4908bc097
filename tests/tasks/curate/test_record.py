"""Breaks when a header or an encoding of a real or damaged HTTP response is read as something else than it is."""

from __future__ import annotations

import gzip
import random
import zlib

import brotli
import pyarrow as pa
import pytest

from tasks.curate.record import DamagedBodyError, Response, parse_date, parse_record, parse_response
from tests.tasks.curate.warc_files import ENGLISH, record

MAX_PAGE_BYTES = 1 << 20
BODY = (f"<html>{ENGLISH}</html>" * 50).encode()


def response(data: bytes, max_page_bytes: int = MAX_PAGE_BYTES) -> Response:
    found = parse_record(data, 0)
    assert found is not None
    assert found.is_response
    return parse_response(data, found, max_page_bytes)


def block(head: str, body: bytes) -> bytes:
    """A record whose HTTP part is exactly this."""
    http = head.encode() + body
    warc = f"WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http\r\nContent-Length: {len(http)}\r\n\r\n"
    return warc.encode() + http + b"\r\n\r\n"


def test_the_header_of_a_record() -> None:
    data = record(7, BODY)
    found = parse_record(data, 0)
    assert found is not None
    assert data[found.start : found.end].startswith(b"HTTP/1.1 200 OK")
    assert data[found.end :] == b"\r\n\r\n"
    assert (found.url, found.date, found.is_response) == ("https://example.jp/7.html", b"2024-03-01T12:00:07Z", True)
    assert not getattr(parse_record(record(7, BODY, kind="request"), 0), "is_response", True)


def test_header_names_in_any_case_bare_line_ends_and_uris_in_brackets() -> None:
    data = (
        b"WARC/1.1\nwarc-type: Response\nWARC-TARGET-URI:   <https://example.jp/wget>  \n"
        b"content-type: Application/HTTP; msgtype=response\nContent-Length: 26\n\nHTTP/1.0 200\nA: b\n\nhello!!"
    )
    found = parse_record(data, 0)
    assert found is not None
    assert (found.url, found.is_response) == ("https://example.jp/wget", True)
    assert parse_response(data, found, 100) == Response(200, "", None, b"hello!!"[:7])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"WARC/1.0", b"WORK/1.0"),
        (b"Content-Length: ", b"Content-Length: -"),
        (b"Content-Length: ", b"Content-Length: x"),
        (b"Content-Length: ", b"Content-Length: " + b"9" * 5000),
        (b"Content-Length: ", b"Content-Lenght: "),
    ],
)
def test_what_is_no_record(old: bytes, new: bytes) -> None:
    data = record(0, b"").replace(b"Content-Type: application/http; msgtype=response\r\n", b"")
    assert parse_record(data, 0) is not None
    assert parse_record(data.replace(old, new, 1), 0) is None


def test_a_header_without_an_end_is_no_record() -> None:
    assert parse_record(b"WARC/1.0\r\nContent-Length: 5\r\n", 0) is None
    assert parse_record(b"WARC/1.0\r\n" + b"A: " + b"a" * (2 << 20) + b"\r\n\r\n", 0) is None


@pytest.mark.parametrize(
    ("content_type", "expected", "charset"),
    [
        ("text/html; charset=UTF-8", "text/html", "UTF-8"),
        ("Text/HTML;charset='shift_jis'", "text/html", "shift_jis"),
        ('text/html; boundary=x; CHARSET = "euc-jp"; y=z', "text/html", "euc-jp"),
        ("text/html", "text/html", None),
        ("", "", None),
        ("text/html;", "text/html", None),
        ("\xff\x00", "\xff\x00".encode().decode("latin-1"), None),
    ],
)
def test_content_types(content_type: str, expected: str, charset: str | None) -> None:
    found = response(block(f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n", BODY))
    assert (found.content_type, found.charset) == (expected, charset)


@pytest.mark.parametrize(
    ("head", "status", "content_type", "body"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Type:\r\n\ttext/html\r\n\r\n", 200, "text/html", b"body"),
        ("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\n", 200, "a/b", b"body"),
        ("HTTP/2 404\r\n\r\n", 404, "", b"body"),
        ("HTTP/1.1 OK\r\n\r\n", None, "", b"body"),
        ("HTTP/1.1 20000 OK\r\n\r\n", None, "", b"body"),
        ("<p>no header ", None, "", b"<p>no header body"),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX: ", 200, "text/html", b""),
    ],
)
def test_odd_headers(head: str, status: int | None, content_type: str, body: bytes) -> None:
    assert response(block(head, b"body")) == Response(status, content_type, None, body)


def chunked(body: bytes, size: int = 700, extension: bytes = b"") -> bytes:
    chunks = [body[place : place + size] for place in range(0, len(body), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks) + b"0\r\nTrailer: x\r\n\r\n"


def raw_deflate(body: bytes) -> bytes:
    return zlib.compress(body)[2:-4]


@pytest.mark.parametrize(
    ("headers", "encoded"),
    [
        ("Transfer-Encoding: chunked", chunked(BODY)),
        ("Transfer-Encoding: chunked", chunked(BODY, extension=b" ;name=value")),
        ("Content-Encoding: gzip", gzip.compress(BODY)),
        ("Content-Encoding: x-gzip", gzip.compress(BODY)),
        ("Content-Encoding: deflate", zlib.compress(BODY)),
        ("Content-Encoding: deflate", raw_deflate(BODY)),
        ("Content-Encoding: br", brotli.compress(BODY)),
        ("Content-Encoding: zstd", pa.compress(BODY, "zstd", asbytes=True)),
        ("Content-Encoding: deflate, gzip", gzip.compress(zlib.compress(BODY))),
        ("Content-Encoding: identity", BODY),
        ("Content-Encoding: gzip\r\nTransfer-Encoding: chunked", chunked(gzip.compress(BODY))),
    ],
)
def test_encodings_are_undone(headers: str, encoded: bytes) -> None:
    assert response(record(0, encoded, headers=f"{headers}\r\n")).body == BODY


@pytest.mark.parametrize(
    "headers",
    [
        "Transfer-Encoding: chunked",
        *(f"Content-Encoding: {coding}" for coding in ("gzip", "deflate", "br", "zstd", "compress", ",")),
    ],
)
def test_encodings_that_a_body_is_not_in_cost_nothing(headers: str) -> None:
    assert response(record(0, BODY, headers=f"{headers}\r\n")).body == BODY
    assert response(record(0, b"", headers=f"{headers}\r\n")).body == b""


@pytest.mark.parametrize(
    ("headers", "encoded"),
    [
        ("Transfer-Encoding: chunked", chunked(BODY)[:-900]),
        ("Content-Encoding: gzip", gzip.compress(BODY, 1)[:-20]),
        ("Content-Encoding: deflate", zlib.compress(BODY, 1)[:-20]),
    ],
)
def test_of_a_body_cut_off_there_is_what_there_is(headers: str, encoded: bytes) -> None:
    body = response(record(0, encoded, headers=f"{headers}\r\n")).body
    assert BODY.startswith(body)
    assert len(body) > len(BODY) // 2


def test_a_chunk_that_is_broken_ends_the_body() -> None:
    broken = chunked(BODY, 1000).replace(b"\r\n3e8\r\n", b"\r\nzzz\r\n", 1)
    assert response(record(0, broken, headers="Transfer-Encoding: chunked\r\n")).body == BODY[:1000]


def test_a_body_damaged_in_its_encoding_is_not_taken_for_text() -> None:
    damaged = bytearray(gzip.compress("".join(map(str, range(20_000))).encode()))
    half = len(damaged) // 2
    damaged[half:] = random.Random(1).randbytes(half)
    with pytest.raises(DamagedBodyError):
        response(record(0, bytes(damaged), headers="Content-Encoding: gzip\r\n"))


@pytest.mark.parametrize(
    ("headers", "encode"),
    [
        ("Content-Encoding: gzip", gzip.compress),
        ("Content-Encoding: deflate", zlib.compress),
        ("Content-Encoding: br", brotli.compress),
        ("X: y", bytes),
    ],
)
def test_an_expansion_ends_just_beyond_the_limit(headers: str, encode) -> None:  # type: ignore[no-untyped-def]
    data = record(0, encode(b"x" * (3 << 20)), headers=f"{headers}\r\n")
    assert len(response(data, 5000).body) == 5001


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        (b"2024-03-01T12:00:00Z", "2024-03-01T12:00:00+00:00"),
        (b"2024-03-01T12:00:00.25Z", "2024-03-01T12:00:00.250000+00:00"),
        (b"2024-03-01T21:00:00+09:00", "2024-03-01T12:00:00+00:00"),
        (b"2024-03-01T12:00:00", "2024-03-01T12:00:00+00:00"),
        (b"yesterday", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_dates(date: bytes, expected: str | None) -> None:
    parsed = parse_date(date)
    assert (parsed.isoformat() if parsed else None) == expected

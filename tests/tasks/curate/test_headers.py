"""Breaks when a record's headers are not found where the ledger says that it starts."""

from __future__ import annotations

from pathlib import Path

from tasks.curate.headers import RecordHead, heads_at, parse_head
from tests.tasks.curate.warc_files import html, member, record, write_warc


def test_heads_are_read_at_their_offsets(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    large = html("雲雀が鳴く。" * 20_000).encode()
    offsets = write_warc(path, [record(0, large), record(1, b"", status="404 Not Found", content_type="text/plain")])
    found = dict(heads_at(str(path), offsets))
    assert found[offsets[0]] == RecordHead("https://example.jp/0.html", "200 OK", "text/html; charset=utf-8")
    assert found[offsets[1]] == RecordHead("https://example.jp/1.html", "404 Not Found", "text/plain")
    assert dict(heads_at(path.as_uri(), offsets)) == found
    assert list(heads_at(str(path), [offsets[1] + 1])) == [(offsets[1] + 1, RecordHead())]


def test_what_is_no_record_has_no_head() -> None:
    whole = member(record(0, b"x"))
    torn = bytearray(whole)
    torn[12:40] = b"\xff" * 28
    for data in (b"", b"\x1f\x8b\x08", whole[1:], bytes(torn), member(b"no WARC record"), member(b"WARC/1.0\r\n")):
        assert parse_head(data) == RecordHead()
    without_type = parse_head(member(record(0, b"x", content_type=None)))
    assert (without_type.status, without_type.content_type) == ("200 OK", None)

"""Reading WARC files: their response records, whatever state the file is in.

In: gzip-per-record WARC files, as Common Crawl publishes them. Out: one `WarcPage` per response record, and
one per torn stretch of the file (`problem` = TORN_MEMBER), in the order of the file.

A file is read member by member (`members.py`), each parsed here (`record.py`), so a damaged member loses only
itself: the next gzip header that opens a WARC record is looked for. FastWARC 2.0.1 on the whole stream ends at the
first damage, returns the half record of a truncated file as if it were whole, and ends at a body whose
Content-Encoding lies.

    for page in WarcReader(path, max_page_bytes=8 << 20): ...
    page = read_member("s3://commoncrawl/crawl-data/.../x.warc.gz", offset=8123, max_page_bytes=8 << 20)
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from storage.ledger import Rule
from storage.uri import filesystem
from tasks.curate.members import WARC_MAGIC, Member, inflate, next_record, opens_record
from tasks.curate.record import (
    MAX_HEADER_BYTES,
    DamagedBodyError,
    Record,
    parse_date,
    parse_record,
    parse_response,
)

_NEWLINES = re.compile(rb"[\r\n]+")
_MAPPED_BYTES = 32 << 20  # of the file in memory at a time
_MEMBER_BYTES = 1 << 20  # fetched for one member: Common Crawl's hold pages of at most 1 MiB, compressed
_MAX_PLACE = 64  # a record may be this far from the first of its member; no member is that short


@dataclass(frozen=True, slots=True)
class WarcPage:
    """A response record, or what stands for a torn one.

    `offset` is where its gzip member starts (plus its place in the member, if that holds several records).
    `body` is the payload with its transfer and content encodings undone. `problem` says why there is no body.
    """

    offset: int
    problem: Rule | None = None
    body: bytes = b""
    url: str | None = None
    fetched_at: datetime | None = None
    content_type: str = ""
    http_charset: str | None = None


class WarcReader:
    """Iterates over the pages of a local WARC file, or of the part of one between two offsets; once.

    A span begins at the first member from its start on that opens a WARC record, and ends before the first such
    member from its end on. So spans that partition a file give each record to one reader, and each torn stretch
    too: to the reader of the member before it. (A WARC file stored uncompressed inside a record is the exception: a
    span that starts inside it takes its members for the file's.)

    Args:
        max_page_bytes: larger pages come without body, as PAGE_TOO_LARGE; memory stays within some of these.
        span: the offsets in the WARC that the span starts at and ends before; the whole file where left out.
        base: the offset in the WARC of the local file's first byte, where that is a part of it. All offsets that
            come out are those in the WARC.

    Raises:
        ValueError: (while iterating) the file is a WARC that is not compressed record by record.
    """

    def __init__(self, path: Path, max_page_bytes: int, span: tuple[int, int] | None = None, base: int = 0) -> None:
        self.path = path
        self.num_bytes = max(1, path.stat().st_size)
        self.max_page_bytes = max_page_bytes
        self.span = span
        self.base = base
        self.num_other_records = 0  # requests, metadata, warcinfo: not pages

    def __iter__(self) -> Iterator[WarcPage]:
        if self.span is not None and self.span[0] == self.span[1]:
            return
        if self.path.stat().st_size == 0:
            if self.base == 0:
                yield WarcPage(0, Rule.TORN_MEMBER)
            return
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if self.base == 0 and data[:5] == WARC_MAGIC:
                raise self._not_by_record("is not compressed")
            yield from self._walk(data)

    def _walk(self, data: mmap.mmap) -> Iterator[WarcPage]:
        """The pages from the span's start on; offsets in here are those in `data`."""
        first, last = (0, len(data)) if self.span is None else (bound - self.base for bound in self.span)
        # Only a span that starts inside the file may start inside a member; a part's first byte starts one.
        offset = first if self.span is None or self.span[0] == 0 else next_record(data, max(0, first))
        forgotten = 0
        while offset < len(data):
            if offset >= last and opens_record(data, offset):
                return
            member = inflate(data, offset, self.max_page_bytes + MAX_HEADER_BYTES)
            if member is None or not member.data.startswith(WARC_MAGIC):
                yield WarcPage(self.base + offset, Rule.TORN_MEMBER)
                offset = next_record(data, offset + 1)
            else:
                if self.base + offset == 0 and not member.is_whole and _holds_many(member):
                    raise self._not_by_record("holds many records in one gzip member")
                for page in _pages(member, self.base + offset, self.max_page_bytes):
                    if page is None:
                        self.num_other_records += 1
                    else:
                        yield page
                offset = member.end
            if offset - forgotten > _MAPPED_BYTES:
                forgotten = _forget(data, forgotten, offset)

    def _not_by_record(self, what: str) -> ValueError:
        return ValueError(
            f"{self.path.name} {what}; expected gzip member by member, one record each. "
            f"Run: pip install fastwarc; fastwarc recompress {self.path.name} NEW.warc.gz"
        )


def read_member(uri: str, offset: int, max_page_bytes: int) -> WarcPage:
    """The page at one offset of a WARC file, on this machine or not, as `WarcReader` gives it.

    `_MEMBER_BYTES` are fetched in one request; more, in further ones, only where the member is larger.

    Returns:
        The page; one with the problem TORN_MEMBER where no whole record is.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the offset is that of a record that is no response.
    """
    fs, path = filesystem(uri)
    limit = max_page_bytes + MAX_HEADER_BYTES
    start, num_bytes = max(0, offset - _MAX_PLACE), _MEMBER_BYTES
    while True:
        data = fs.cat_file(path, start, start + num_bytes)
        opening = next((place for place in range(offset - start, -1, -1) if opens_record(data, place)), None)
        member = inflate(data, opening, limit) if opening is not None else None
        if member is not None or opening is None or len(data) < num_bytes or num_bytes > limit:
            break
        num_bytes *= 8
    if member is None or opening is None:
        return WarcPage(offset, Rule.TORN_MEMBER)
    for page in _pages(member, start + opening, max_page_bytes):
        if page is not None and page.offset == offset:
            return page
    raise ValueError(f"{uri}: no response record at {offset}; take an offset from the ledger")


def _pages(member: Member, offset: int, max_page_bytes: int) -> Iterator[WarcPage | None]:
    """What the records of a member are, nearly always one: None for one that is no response."""
    start = place = 0  # of the record in its member
    while start < len(member.data):
        record = parse_record(member.data, start)
        is_cut = record is not None and record.end > len(member.data)
        if record is None or (is_cut and (member.is_whole or start)):
            yield WarcPage(offset + place, Rule.TORN_MEMBER)
            return
        if not record.is_response:
            yield None
        elif is_cut:
            yield WarcPage(offset, Rule.PAGE_TOO_LARGE, url=record.url)
        else:
            yield _page(member.data, record, offset + place, max_page_bytes)
        start = record.end
        if found := _NEWLINES.match(member.data, start):
            start = found.end()
        place += 1


def _holds_many(member: Member) -> bool:
    first = parse_record(member.data, 0)
    return first is not None and member.data[first.end : first.end + 9].lstrip().startswith(WARC_MAGIC)


def _forget(data: mmap.mmap, first: int, last: int) -> int:
    """Let the system take back the pages that were read, so that a large file does not fill the memory; up to where."""
    last -= last % mmap.PAGESIZE
    if hasattr(mmap, "MADV_DONTNEED"):
        data.madvise(mmap.MADV_DONTNEED, first, last - first)
    return last


def _page(member: bytes, record: Record, offset: int, max_page_bytes: int) -> WarcPage:
    try:
        response = parse_response(member, record, max_page_bytes)
    except DamagedBodyError:
        return WarcPage(offset, Rule.TORN_MEMBER, url=record.url)
    if response.status is not None and not 200 <= response.status < 300:
        return WarcPage(offset, Rule.BAD_STATUS, url=record.url)
    if len(response.body) > max_page_bytes:
        return WarcPage(offset, Rule.PAGE_TOO_LARGE, url=record.url)
    return WarcPage(
        offset,
        Rule.EMPTY_RECORD if not response.body or response.body.isspace() else None,
        response.body,
        record.url,
        parse_date(record.date),
        response.content_type,
        response.charset,
    )

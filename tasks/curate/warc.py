"""Reading WARC files: which there are, and their response records whatever state the file is in.

In: gzip-per-record WARC files, as Common Crawl publishes them. Out: one `WarcPage` per response record, and
one per torn stretch of the file (`problem` = TORN_MEMBER), in the order of the file.

Members are inflated here and parsed by FastWARC one by one. FastWARC on the whole stream ends at the first
damage, returns the half record of a truncated file as if it were whole, and ends at a body whose
Content-Encoding lies (version 2.0.1). A member at a time costs 0.1 ms a record and loses the damaged record
only: after damage the next gzip header that opens a WARC record is looked for.

    for source in list_warcs(config.sources):
        for page in WarcReader(path, max_page_bytes=8 << 20): ...
"""

from __future__ import annotations

import gzip
import io
import mmap
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from storage.ledger import Rule
from storage.uri import expand_glob, read_bytes

COMMON_CRAWL = "https://data.commoncrawl.org/"
_GZIP_MAGIC = b"\x1f\x8b\x08"
_CRAWL = re.compile(r"CC-MAIN-\d{4}-\d{2}(?!\d)")
_CRAWL_SOURCE = re.compile(r"commoncrawl:(CC-MAIN-\d{4}-\d{2})(?::(\d+))?")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_BLOCK = 16 << 10  # compressed bytes inflated at a time: the size of a typical record
_HEADER_ROOM = 1 << 20  # bytes of WARC and HTTP headers allowed beside a page


@dataclass(frozen=True, slots=True)
class WarcSource:
    """A WARC file. `identity` is crawl/name for Common Crawl's own files, which never change, else None."""

    uri: str
    name: str
    crawl: str
    identity: str | None = None

    @property
    def key(self) -> str:
        """The name as a shard key: without `.warc.gz`, safe in a file name."""
        return re.sub(r"[^A-Za-z0-9._-]", "_", re.sub(r"(\.warc)?\.gz$", "", self.name)).lstrip(".")


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


def list_warcs(sources: Sequence[str]) -> list[WarcSource]:
    """The WARC files that `curate.sources` names, in the order given; what a glob matches is sorted.

    `commoncrawl:` sources are looked up in the crawl's `warc.paths.gz` below `$HIBARI_COMMONCRAWL` (default
    https://data.commoncrawl.org/; any fsspec URI or folder with the same layout).

    Raises:
        FileNotFoundError: a source that matches nothing.
        ValueError: a malformed source, a folder, or two files of the same name (names identify documents).
    """
    warcs = [warc for source in sources for warc in _expand(source)]
    seen: dict[str, str] = {}
    for warc in warcs:
        if warc.name in seen:
            raise ValueError(
                f"curate.sources: {seen[warc.name]} and {warc.uri} are both named {warc.name}; documents are "
                "identified by file name and offset, so rename one or leave it out"
            )
        seen[warc.name] = warc.uri
    return warcs


def _expand(source: str) -> list[WarcSource]:
    if source.startswith("commoncrawl:"):
        return _expand_crawl(source)
    try:
        uris = expand_glob(source)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"curate.sources: nothing found at {source}") from error
    if os.path.isdir(uris[0]):
        raise ValueError(f"curate.sources: {source} is a folder; name its files: {source.rstrip('/')}/*.warc.gz")
    return [WarcSource(uri, uri.rsplit("/", 1)[-1], _guess_crawl(uri)) for uri in uris]


def _expand_crawl(source: str) -> list[WarcSource]:
    if not (match := _CRAWL_SOURCE.fullmatch(source)):
        raise ValueError(f"curate.sources: expected commoncrawl:CC-MAIN-YYYY-WW or ...:N for N files, got {source}")
    crawl, first = match.groups()
    base = os.environ.get("HIBARI_COMMONCRAWL", COMMON_CRAWL).rstrip("/")
    index = f"{base}/crawl-data/{crawl}/warc.paths.gz"
    try:
        paths = gzip.decompress(read_bytes(index)).decode().split()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"curate.sources: no such crawl {crawl}: nothing at {index}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"curate.sources: cannot read the file list {index}: {error}") from error
    chosen = paths[: int(first)] if first else paths
    names = [path.rsplit("/", 1)[-1] for path in chosen]
    return [
        WarcSource(f"{base}/{path}", name, crawl, f"{crawl}/{name}") for path, name in zip(chosen, names, strict=True)
    ]


def _guess_crawl(uri: str) -> str:
    match = _CRAWL.search(uri)
    return match.group() if match else "unknown"


class WarcReader:
    """Iterates over the pages of a local WARC file; once.

    Args:
        max_page_bytes: larger pages come without body, as PAGE_TOO_LARGE; memory stays within some of these.

    Raises:
        ValueError: (while iterating) the file is a WARC that is not compressed record by record.
    """

    def __init__(self, path: Path, max_page_bytes: int) -> None:
        self.path = path
        self.num_bytes = max(1, path.stat().st_size)
        self.max_page_bytes = max_page_bytes
        self.num_other_records = 0  # requests, metadata, warcinfo: not pages

    def __iter__(self) -> Iterator[WarcPage]:
        if self.path.stat().st_size == 0:
            yield WarcPage(0, Rule.TORN_MEMBER)
            return
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:5] == b"WARC/":
                raise self._not_by_record("is not compressed")
            offset = 0
            while offset < len(data):
                member, end = _inflate(data, offset, self.max_page_bytes + _HEADER_ROOM)
                if end is None or not member.startswith(b"WARC/"):
                    yield WarcPage(offset, Rule.TORN_MEMBER)
                    offset = _resync(data, offset + 1)
                else:
                    yield from self._pages(member, offset)
                    offset = end

    def _pages(self, member: bytes, offset: int) -> Iterator[WarcPage]:
        whole = len(member) < self.max_page_bytes + _HEADER_ROOM
        start = place = 0  # of the record in its member
        while start < len(member):
            record = _record(member, start)
            header_end = _HEADER_END.search(member, start)
            end = header_end.end() + record.content_length if record and header_end else len(member) + 1
            if record is None or (whole and end > len(member)):
                yield WarcPage(offset + place, Rule.TORN_MEMBER)
                return
            if not whole and end + len(b"\r\n\r\n") < len(member):
                raise self._not_by_record("holds many records in one gzip member")
            if record.record_type == WarcRecordType.response and record.is_http:
                yield self._page(record, member, start, offset + place)
            else:
                self.num_other_records += 1
            start = end
            while member[start : start + 1] in (b"\r", b"\n"):
                start += 1
            place += 1

    def _page(self, record: WarcRecord, member: bytes, start: int, offset: int) -> WarcPage:
        url = record.headers.get("WARC-Target-URI")
        if record.content_length > self.max_page_bytes + _HEADER_ROOM:
            return WarcPage(offset, Rule.PAGE_TOO_LARGE, url=url)
        body = self._body(record, "all")
        if body is None:
            # A Content-Encoding that lies: crawlers store decoded bodies under the server's headers.
            again = _record(member, start)
            body = self._body(again, "none") if again else None
            record = again or record
        if body is None:
            return WarcPage(offset, Rule.TORN_MEMBER, url=url)  # no HTTP headers to be read
        status = record.http_headers.status_code if record.http_headers else None
        if status is not None and not 200 <= status < 300:
            return WarcPage(offset, Rule.BAD_STATUS, url=url)
        if len(body) > self.max_page_bytes:
            return WarcPage(offset, Rule.PAGE_TOO_LARGE, url=url)
        return WarcPage(
            offset,
            None if body.strip() else Rule.EMPTY_RECORD,
            body,
            url,
            record.record_date,
            (record.http_content_type or "").lower(),
            record.http_charset,
        )

    def _body(self, record: WarcRecord, auto_decode: Literal["none", "all"]) -> bytes | None:
        try:
            record.parse_http(auto_decode=auto_decode, quirks_mode=True)
            return record.reader.read(self.max_page_bytes + 1)
        except OSError:
            return None

    def _not_by_record(self, what: str) -> ValueError:
        return ValueError(
            f"{self.path.name} {what}; expected gzip member by member, one record each. "
            f"Run: fastwarc recompress {self.path.name} NEW.warc.gz"
        )


def _record(member: bytes, start: int) -> WarcRecord | None:
    """The record at `start`, its HTTP part unread; None where FastWARC cannot read its header."""
    stream = io.BytesIO(member)
    stream.seek(start)
    try:
        return next(iter(ArchiveIterator(stream, parse_http=False, quirks_mode=True, stream_detect=False)), None)
    except OSError:
        return None


def _inflate(data: mmap.mmap, offset: int, limit: int) -> tuple[bytes, int | None]:
    """A gzip member's first `limit` bytes and where it ends; None where it is damaged or cut off."""
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    parts: list[bytes] = []
    size, position = 0, offset
    try:
        while not inflater.eof:
            block = inflater.unconsumed_tail
            if not block:
                block = data[position : position + _BLOCK]
                position += len(block)
            part = inflater.decompress(block, 1 << 20)
            if not part and not block and not inflater.eof:
                return b"", None
            if size < limit:
                parts.append(part[: limit - size])
            size += len(part)
    except zlib.error:
        return b"", None
    return b"".join(parts), position - len(inflater.unused_data)


def _resync(data: mmap.mmap, offset: int) -> int:
    """Where the next gzip member that opens a WARC record starts, else the end of the file."""
    while (offset := data.find(_GZIP_MAGIC, offset)) >= 0:
        try:
            opening = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data[offset : offset + 512], 5)
        except zlib.error:
            opening = b""
        if opening == b"WARC/":
            return offset
        offset += 1
    return len(data)

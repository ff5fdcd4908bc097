"""The headers of single WARC records, read without their bodies.

In: a gzip-per-record WARC file and offsets in it. Out: the URL and the HTTP status of the records there. A few
kilobytes a record are read and inflated, whatever its size, so that a WARC file can be searched for a URL in a second.

    for offset, head in heads_at("a.warc.gz", [0, 354]):
        head.url, head.status
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from storage.uri import filesystem, is_local, local_path
from tasks.curate.members import GZIP_MAGIC
from tasks.curate.record import parse_record

_COMPRESSED_BYTES = 4096  # both headers take some 1,500 bytes before compression
_HEAD_BYTES = 32 << 10
_STATUS = re.compile(rb"HTTP/[\d.]+ ([^\r\n]*)")
_CONTENT_TYPE = re.compile(rb"\nContent-Type:[ \t]*([^\r\n]*)", re.IGNORECASE)
_HEADER_END = re.compile(rb"\n\r?\n")


@dataclass(frozen=True, slots=True)
class RecordHead:
    """What a record's headers say; `status` is `404 Not Found`, `content_type` that of the HTTP response."""

    url: str | None = None
    status: str | None = None
    content_type: str | None = None


def heads_at(uri: str, offsets: Iterable[int]) -> Iterator[tuple[int, RecordHead]]:
    """The heads of the records at these offsets; an empty one where no gzip member opens a WARC record.

    Raises:
        OSError: the file cannot be read.
    """
    if is_local(uri):
        with open(local_path(uri), "rb") as file:
            for offset in offsets:
                file.seek(offset)
                yield offset, parse_head(file.read(_COMPRESSED_BYTES))
        return
    fs, path = filesystem(uri)
    for offset in offsets:
        yield offset, parse_head(fs.cat_file(path, start=offset, end=offset + _COMPRESSED_BYTES))


def parse_head(compressed: bytes) -> RecordHead:
    """The head of the record that opens a gzip member, from the member's first bytes."""
    if not compressed.startswith(GZIP_MAGIC):
        return RecordHead()
    try:
        opening = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(compressed, _HEAD_BYTES)
    except zlib.error:
        return RecordHead()
    record = parse_record(opening, 0)
    if record is None:
        return RecordHead()
    end = _HEADER_END.search(opening, record.start)
    http = opening[record.start : end.start() + 1 if end else None]
    return RecordHead(record.url, _text(_STATUS.match(http)), _text(_CONTENT_TYPE.search(http)))


def _text(match: re.Match[bytes] | None) -> str | None:
    return match[1].decode("utf-8", "replace").strip() or None if match else None

"""Gzip members: where the next one is, and what it holds, in a file that may be damaged anywhere.

In: anything that slices to bytes and finds bytes (`bytes`, `mmap`), and an offset. Out: the member's bytes and where it
ends. A member is known by its magic number, and one that opens a WARC record by inflating its first bytes.

ISA-L's inflate takes a third of zlib's time here (0.6 s against 1.7 s for the 19,273 members of the shared WARCs).

    member = inflate(data, offset, limit=9 << 20)
    offset = member.end if member else next_record(data, offset + 1)
"""

from __future__ import annotations

import mmap
from typing import NamedTuple

from isal import isal_zlib
from isal.igzip_lib import IsalError

GZIP_MAGIC = b"\x1f\x8b\x08"
WARC_MAGIC = b"WARC/"
_GZIP_FORMAT = 31  # of isal_zlib and zlib: a gzip header, a 32 kB window, a checked trailer
_BLOCK = 16 << 10  # compressed bytes inflated at a time: the size of a typical record
_OPENING = 1 << 10  # compressed bytes in which the first five bytes of a record are; headers may have a file name
_PIECE = 1 << 20  # inflated bytes in memory beyond the limit, whatever a member expands to


class Member(NamedTuple):
    """A whole gzip member: its first `limit` bytes, whether that is all, and the offset after its last byte."""

    data: bytes
    is_whole: bool
    end: int


def inflate(data: bytes | mmap.mmap, offset: int, limit: int) -> Member | None:
    """The member at `offset`; None where there is none, or it is damaged or cut off."""
    if not _is_header(data, offset):
        return None
    inflater = isal_zlib.decompressobj(_GZIP_FORMAT)
    position = offset + _BLOCK
    try:
        part = inflater.decompress(data[offset:position], _PIECE)
        if inflater.eof and len(part) <= limit:  # nearly every member
            return Member(part, True, min(position, len(data)) - len(inflater.unused_data))
        parts = [part[:limit]]
        size = len(part)
        while not inflater.eof:
            block = inflater.unconsumed_tail
            if not block:
                block = data[position : position + _BLOCK]
                position += _BLOCK
            part = inflater.decompress(block, _PIECE)
            if not part and not block and not inflater.eof:
                return None
            if size < limit:
                parts.append(part[: limit - size])
            size += len(part)
    except IsalError:  # type: ignore[misc]  # a class, whatever its stub says
        return None
    return Member(b"".join(parts), size <= limit, min(position, len(data)) - len(inflater.unused_data))


def opens_record(data: bytes | mmap.mmap, offset: int) -> bool:
    """Whether a gzip member that begins with a WARC record starts at `offset`, damaged further on or not."""
    if not _is_header(data, offset):
        return False
    inflater = isal_zlib.decompressobj(_GZIP_FORMAT)
    try:
        return inflater.decompress(data[offset : offset + _OPENING], len(WARC_MAGIC)) == WARC_MAGIC
    except IsalError:  # type: ignore[misc]  # a class, whatever its stub says
        return False


def next_record(data: bytes | mmap.mmap, offset: int) -> int:
    """The first offset from this one on where a member opens a WARC record, else the end of the data."""
    while (offset := data.find(GZIP_MAGIC, offset)) >= 0:
        if opens_record(data, offset):
            return offset
        offset += 1
    return len(data)


def _is_header(data: bytes | mmap.mmap, offset: int) -> bool:
    # ISA-L does not mind the three reserved flags, which are never set.
    return data[offset : offset + 3] == GZIP_MAGIC and data[offset + 3 : offset + 4] < b"\x20"

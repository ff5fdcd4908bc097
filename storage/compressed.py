"""Compressed files as a stream of bytes or lines: gzip, Zstandard, bzip2, xz and plain, of any size.

In: the URI of a file; its name says how it is compressed (`.gz`, `.zst`, `.bz2`, `.xz`, anything else is plain).
Out: what it holds, block by block or line by line. A file may be several compressed streams one after another, as
parallel compressors, `cat` and Wikipedia's multistream dumps make them. One that ends in the middle of a stream is an
error, never a shorter file: Zstandard's own stream reader passes over that.

Memory: a block of what is read, what it inflates to (at most 1,032 times as much for gzip), and one line.

    for number, line in read_lines("pile/00.jsonl.zst"): ...
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import zstandard
from isal import isal_zlib
from isal.igzip_lib import IsalError

from storage.uri import open_stream

COMPRESSED_SUFFIXES = {".gz": "gzip", ".zst": "Zstandard", ".bz2": "bzip2", ".xz": "xz"}
_PLAIN_BLOCK = 1 << 20
_COMPRESSED_BLOCK = 1 << 14  # inflates to some 60 kB of text, and 16 MB of nothing but repetition
_ZSTD_MAX_WINDOW = 2**31  # what `zstd --long=31`, the widest, needs to be read
_NEW_DECOMPRESSOR: dict[str, Callable[[], Any]] = {
    ".gz": lambda: isal_zlib.decompressobj(wbits=31),  # 31: with gzip's header and checksum
    ".zst": lambda: zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW).decompressobj(),
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
}
# bzip2 raises OSError; what reading the file itself raises stays as it is.
_BROKEN: tuple[Any, ...] = (IsalError, zstandard.ZstdError, lzma.LZMAError, OSError)  # isal's stub gives an instance


class TornFileError(ValueError):
    """A compressed file ends too early or is damaged."""


def compression(name: str) -> str:
    """The suffix of a file's name that says how it is compressed, empty for a plain file."""
    return next((suffix for suffix in COMPRESSED_SUFFIXES if name.endswith(suffix)), "")


def read_blocks(uri: str, name: str | None = None, within: tuple[int, int] | None = None) -> Iterator[bytes]:
    """What a file holds, inflated, in blocks of no fixed size.

    Args:
        name: of the file, where it is not the end of the URI (a query of a web address may follow).
        within: only these bytes of a plain file, from the first to before the second.

    Raises:
        FileNotFoundError: nothing at `uri`.
        TornFileError: damaged, or cut off.
    """
    suffix = compression(name or uri)
    with open_stream(uri) as raw:
        if suffix:
            yield from _inflated(raw, suffix)
        elif within:
            first, end = within
            raw.seek(first)
            for at in range(first, end, _PLAIN_BLOCK):
                yield raw.read(min(_PLAIN_BLOCK, end - at))
        else:
            yield from iter(lambda: raw.read(_PLAIN_BLOCK), b"")


def read_lines(uri: str, name: str | None = None, within: tuple[int, int] | None = None) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line without its line feed) of every line of a file, or of some bytes of it, also of empty ones.

    Raises:
        FileNotFoundError, TornFileError: as `read_blocks`; the message names the last whole line.
    """
    number = 0
    try:
        for number, line in enumerate(_lines(read_blocks(uri, name, within)), 1):
            yield number, line
    except TornFileError as error:
        raise TornFileError(f"{uri}, after line {number}: {error}") from error


def _inflated(raw: IO[bytes], suffix: str) -> Iterator[bytes]:
    new_decompressor = _NEW_DECOMPRESSOR[suffix]
    kind = COMPRESSED_SUFFIXES[suffix]
    stream = None  # none is open
    while data := raw.read(_COMPRESSED_BLOCK):
        while data:
            if stream is None:
                data = data.lstrip(b"\0")  # padding between streams, as tapes and xz allow
                if not data:
                    break
                stream = new_decompressor()
            try:
                block = stream.decompress(data)
            except _BROKEN as error:
                raise TornFileError(f"broken {kind} ({error}); fetch the file again") from error
            if block:
                yield block
            data = stream.unused_data
            if stream.eof:
                stream = None
    if stream is not None:
        raise TornFileError(f"broken {kind} (it ends in the middle of a stream); fetch the file again")


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    pieces: list[bytes] = []  # of a line that goes on in the next block; joined once, however many there are
    for block in blocks:
        first, line_feed, others = block.partition(b"\n")
        pieces.append(first)
        if line_feed:
            yield b"".join(pieces)
            *lines, last = others.split(b"\n")
            yield from lines
            pieces = [last]
    if last := b"".join(pieces):
        yield last

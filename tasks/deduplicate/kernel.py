"""MinHash over Arrow's UTF-8 buffers, compiled by numba: shingles, permutations, minima, band hashes.

In: the bytes of many texts end to end (UTF-8) and the int64 offsets between them, as an Arrow string array holds them.
Out: for every text the minima of all permutations over its shingles (uint32), for every band the xxh3-64 of its minima
(uint64), and the texts without white space, whose digests find exact copies.

A shingle is `ngram` code points; a text of so many or fewer is its own only shingle. Its xxh3-64, cut to 32 bits and
mixed by MurmurHash3's finalizer, is h; permutation k is a_k * h + b_k mod 2^32 (datasketch 2's `affine32` scheme). A
minimum does not change when a shingle comes twice, so no set is built. The innermost loop runs over shingles: LLVM
makes it multiply, add and minimum of 8 lanes with a, b and the minima in registers, one multiplication a cycle.

Compiled code is kept by numba beside this file, else in the user's cache folder, for each kind of CPU; where neither
can be written every process compiles for itself.

Indices of the hottest loops are uint64: numba checks signed ones for being negative, which costs a third there.

Sources: Broder, On the resemblance and containment of documents, 1997; datasketch 2.0 for the permutations.

    fill_minima(octets, offsets, 5, factors, summands, minima)
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy import uint32, uint64

from storage.compiled import compiled
from tasks.deduplicate.xxh3 import xxh3

LANES = 32  # hashes that one turn of the innermost loop takes: 4 registers of 8
CHUNK = 128 * LANES  # hashes evaluated at a time: 16 KiB, half of a first-level cache
RECENT = uint32(2048)  # hashes remembered, by which most repeats are skipped: a seventh of Japanese web pages

_inlined: Any = numba.njit(forceinline=True, error_model="numpy")
_called: Any = numba.njit(error_model="numpy")


@_inlined
def _find_code_points(octets: np.ndarray, first: int, last: int, starts: np.ndarray) -> uint64:
    """Write where code points start, and after them `last`; how many there are."""
    count = uint64(0)
    for at in range(uint64(first), uint64(last)):
        starts[count] = at
        count += uint64((octets[at] & 0xC0) != 0x80)
    starts[count] = last
    return count


@_called
def _lower_minima(
    hashes: np.ndarray, count: int, factors: np.ndarray, summands: np.ndarray, minima: np.ndarray, text: int
) -> None:
    """Take `count` hashes (xxh3) of shingles, at least one, into a text's minima of all permutations."""
    while count % LANES:  # so that the vectorised loop has no rest
        hashes[count] = hashes[0]
        count += 1
    for at in range(count):
        mixed = hashes[at]  # MurmurHash3's finalizer
        mixed = uint32((mixed ^ (mixed >> uint32(16))) * uint32(0x85EBCA6B))
        mixed = uint32((mixed ^ (mixed >> uint32(13))) * uint32(0xC2B2AE35))
        hashes[at] = mixed ^ (mixed >> uint32(16))
    for permutation in range(len(factors)):
        factor, summand, lowest = factors[permutation], summands[permutation], minima[text, permutation]
        for at in range(count // LANES * LANES):
            lowest = min(lowest, uint32(factor * hashes[at] + summand))
        minima[text, permutation] = lowest


@_inlined
def _longest(offsets: np.ndarray) -> int:
    """Bytes of the longest text."""
    longest = 0
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    return longest


@compiled
def fill_minima(
    octets: np.ndarray,
    offsets: np.ndarray,
    ngram: int,
    factors: np.ndarray,
    summands: np.ndarray,
    minima: np.ndarray,
) -> int:
    """The minimum of every permutation over the shingles of every text.

    Args:
        octets: uint8, UTF-8 of all texts; read-only.
        offsets: int64 (texts + 1,): text i is octets[offsets[i] : offsets[i + 1]].
        ngram: code points of a shingle, at most 256.
        factors, summands: uint32 (permutations,).
        minima: uint32 (texts, permutations), lowered: 2^32 - 1 everywhere before.

    Returns:
        -1, or the first text that is not UTF-8 as far as shingles tell: one is longer than its code points can be.
    """
    starts = np.empty(_longest(offsets) + 1, np.int64)
    hashes = np.empty(CHUNK, uint32)
    recent = np.empty(RECENT, uint32)
    for text in range(len(offsets) - 1):
        for place in range(len(recent)):
            recent[place] = place + 1  # never the hash that is looked for there
        points = _find_code_points(octets, offsets[text], offsets[text + 1], starts)
        width = min(uint64(ngram), points)
        waiting = uint64(0)
        for shingle in range(points - width + uint64(1)):
            at, length = starts[shingle], starts[shingle + width] - starts[shingle]
            if length > 4 * ngram:
                return text
            value = uint32(xxh3(octets, at, length))
            slot = value % RECENT
            hashes[waiting] = value
            waiting += uint64(recent[slot] != value)  # a branch would often be foretold wrongly
            recent[slot] = value
            if waiting == uint64(CHUNK):
                _lower_minima(hashes, CHUNK, factors, summands, minima, text)
                waiting = uint64(0)
        if waiting:
            _lower_minima(hashes, np.int64(waiting), factors, summands, minima, text)
    return -1


@compiled
def fill_bands(octets: np.ndarray, bands: np.ndarray) -> None:
    """The hash of every band of every text.

    Args:
        octets: uint8: the minima of all texts, little endian.
        bands: uint64 (texts, bands), written.
    """
    num_bytes = len(octets) // bands.size
    for text in range(bands.shape[0]):
        for band in range(bands.shape[1]):
            bands[text, band] = xxh3(octets, (text * bands.shape[1] + band) * num_bytes, num_bytes)


@compiled
def compact(octets: np.ndarray, offsets: np.ndarray, left: np.ndarray, ends: np.ndarray) -> None:
    """Copy texts without white space, which is what `str.split` splits at.

    Args:
        octets, offsets: as in `fill_minima`.
        left: uint8, as long as all texts: the copies, end to end.
        ends: int64 (texts + 1,), written: the offsets in `left`.
    """
    longest = _longest(offsets)
    padded, kept = np.empty(longest + 2, np.uint8), np.empty(longest, np.uint8)
    widths = np.zeros(longest + 2, np.uint8)  # of the white-space character that starts two bytes before, or 0
    size = uint64(0)
    ends[0] = 0
    for text in range(len(offsets) - 1):
        first, length = uint64(offsets[text]), offsets[text + 1] - offsets[text]
        for at in range(uint64(length)):  # assigning a slice takes numba seconds to compile
            padded[at] = octets[first + at]
        padded[length] = padded[length + 1] = 0
        for at in range(length):
            widths[at + 2] = _white_width(padded[at], padded[at + 1], padded[at + 2])
        for at in range(length):
            kept[at] = (widths[at] < 3) & (widths[at + 1] < 2) & (widths[at + 2] == 0)
        for at in range(uint64(length)):
            left[size] = padded[at]
            size += uint64(kept[at])
        ends[text + 1] = size


@_inlined
def _white_width(first: int, second: int, third: int) -> int:
    """Bytes of the white-space character that starts with these three; 0 where another does, or one goes on."""
    one = (first <= 0x20) & ((first >= 0x1C) | ((first >= 0x09) & (first <= 0x0D)))
    two = (first == 0xC2) & ((second == 0x85) | (second == 0xA0))  # next line, no-break space
    # En quad to hair space, the separators of lines and paragraphs, narrow no-break space; medium mathematical space.
    general = (second == 0x80) & ((third <= 0x8A) | (third == 0xA8) | (third == 0xA9) | (third == 0xAF))
    three = (first == 0xE2) & (general | ((second == 0x81) & (third == 0x9F)))
    three |= (first == 0xE3) & (second == 0x80) & (third == 0x80)  # ideographic space
    three |= (first == 0xE1) & (second == 0x9A) & (third == 0x80)  # Ogham space mark
    return one + 2 * two + 3 * three

"""Exact Jaccard similarity of texts: of the sets of character n-grams that MinHash only samples.

A text's set is the sorted distinct xxh3-64 of its shingles, which are the signatures' (`tasks.deduplicate.signatures`):
n-grams of code points, or the text itself where it is no longer than one. Two sets are compared by merging them.
Different shingles of two texts of 2,000 shingles get one hash in one of 10^12 such pairs; "exact" is up to that.

Memory: 8 bytes x (bytes of the texts), and 8 x their distinct shingles.

    jaccards_of_texts(pa.array(["雲雀は春に歌う。"]), pa.array(["雲雀は春に歌った。"]), ngram=5)      # [0.29]
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from storage.compiled import compiled
from tasks.deduplicate.xxh3 import xxh3


@dataclass(frozen=True)
class ShingleSets:
    """Sets one after another: `hashes` uint64, each set's ascending; `starts` int64 (sets + 1,)."""

    hashes: np.ndarray
    starts: np.ndarray


def shingle_sets(texts: pa.Array, ngram: int) -> ShingleSets:
    """The set of shingles of every text.

    Args:
        texts: strings without nulls.
    """
    large = texts.cast(pa.large_string())
    _, offsets, data = large.buffers()
    octets = np.frombuffer(data or b"", np.uint8)
    places = np.frombuffer(offsets, np.int64, len(large) + 1, large.offset * 8)
    hashes = np.empty(places[-1] - places[0] + len(large), np.uint64)  # a byte begins at most one shingle
    starts = np.zeros(len(large) + 1, np.int64)
    for text, (first, last) in enumerate(pairwise(places)):
        start = starts[text]
        found = hashes[start : start + _fill_hashes(octets, first, last, ngram, hashes[start:])]
        found.sort()  # numpy's is vectorised, numba's is not
        starts[text + 1] = start + _drop_repeats(found)
    return ShingleSets(hashes[: starts[-1]], starts)


def jaccards_of_texts(left: pa.Array, right: pa.Array, ngram: int) -> np.ndarray:
    """Exact Jaccard similarity of text i of `left` and text i of `right`: float64 (texts,)."""
    one, other = shingle_sets(left, ngram), shingle_sets(right, ngram)
    shift = len(one.hashes)
    bounds = [one.starts[:-1], one.starts[1:], other.starts[:-1] + shift, other.starts[1:] + shift]
    values = np.empty(len(left), np.float64)
    fill_jaccards(np.concatenate([one.hashes, other.hashes]), np.stack(bounds, axis=1), values)
    return values


@compiled
def _fill_hashes(octets: np.ndarray, first: int, last: int, ngram: int, hashes: np.ndarray) -> int:
    """Write the xxh3-64 of every shingle of the text octets[first:last]; how many there are."""
    begins = np.empty(ngram + 1, np.int64)  # of the last code points, in a ring
    points = count = 0
    for at in range(first, last + 1):
        if at == last or (octets[at] & 0xC0) != 0x80:
            begins[points % (ngram + 1)] = at
            if points >= ngram:
                begin = begins[(points - ngram) % (ngram + 1)]
                hashes[count] = xxh3(octets, begin, at - begin)
                count += 1
            points += 1
    if count == 0:
        hashes[0] = xxh3(octets, first, last - first)
        count = 1
    return count


@compiled
def _drop_repeats(values: np.ndarray) -> int:
    """Move the distinct of sorted values to the front; how many there are."""
    count = 1
    for place in range(1, len(values)):
        if values[place] != values[count - 1]:
            values[count] = values[place]
            count += 1
    return count


@compiled
def fill_jaccards(hashes: np.ndarray, bounds: np.ndarray, values: np.ndarray) -> None:
    """Write the Jaccard similarity of the sets hashes[b0:b1] and hashes[b2:b3] for every row of bounds."""
    for pair in range(len(bounds)):
        left, left_end, right, right_end = bounds[pair]
        size = left_end - left + right_end - right
        common = 0
        while left < left_end and right < right_end:
            one, other = hashes[left], hashes[right]
            common += one == other
            left += one <= other
            right += other <= one
        values[pair] = common / (size - common)

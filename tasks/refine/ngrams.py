"""The n-grams of many texts at once, and a table that says which of the texts looked for have one.

Texts are reduced to letters and digits (`letters.py`) together, so that short ones cost no call each; no n-gram reaches
from one into the next. The table is a sorted array of hashes with the text of each, 12 bytes each, behind a table of
bits, 4 to 8 bytes for each, that answers "in no text" for 31 of 32 n-grams that are in none. Texts are not kept.

    points, bounds = joined_letters(items)
    hashes, owners = distinct_ngrams(*ngrams(points, bounds, 10))
    table = NgramTable.make(hashes, owners)
    places, first = table.known(ngram_hashes(letters(document).points, 10))
    which, owners = table.owners_of(first)     # the n-gram at places[which[0]] is in text owners[0]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.refine.letters import letters, ngram_hashes

NO_HASHES, NONE = np.empty(0, np.uint64), np.empty(0, np.int64)
_BITS_PER_NGRAM = 32
_BYTE, _BIT = np.uint64(3), np.uint64(7)


def joined_letters(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The letters of texts one after the other, uint32 (letters,), and where each begins, int64 (texts + 1,)."""
    found = letters("\n".join(texts))
    starts = np.cumsum([0] + [len(text) + 1 for text in texts])
    return found.points, np.searchsorted(found.positions, starts)


def letter_weights(points: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """int64 (texts,): how many Japanese characters say as much: three letters or digits of ASCII count as one."""
    num_ascii = np.concatenate([[0], np.cumsum(points < 0x80)])
    return np.diff(bounds) - np.diff(num_ascii[bounds]) * 2 // 3


def ngrams(points: np.ndarray, bounds: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The hash of every n-gram that lies in one text, uint64, and that text's number, int64, in reading order."""
    owners = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    hashes = ngram_hashes(points, n)
    first = owners[: len(hashes)]
    inside = first == owners[n - 1 :]
    return hashes[inside], first[inside]


def distinct_ngrams(hashes: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each n-gram of a text once, by text and then by hash."""
    order = np.lexsort((hashes, owners))
    hashes, owners = hashes[order], owners[order]
    new = np.ones(len(hashes), dtype=bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    return hashes[new], owners[new]


class NgramTable:
    """Which texts have an n-gram.

    Attributes:
        hashes: uint64, ascending; `owners`: int32, the number of a text that has it.
        bits: uint8, a bit for each value of a hash's first bits that occurs.
    """

    def __init__(self, hashes: np.ndarray, owners: np.ndarray, bits: np.ndarray) -> None:
        self.hashes, self.owners, self.bits = hashes, owners, bits
        self._shift = np.uint64(64 - (len(bits).bit_length() + 2))  # 2^n bytes hold 2^(n+3) bits

    @classmethod
    def make(cls, hashes: np.ndarray, owners: np.ndarray) -> NgramTable:
        """From n-grams and numbers of texts as `distinct_ngrams` gives them; 70 B each at the most."""
        order = np.argsort(hashes, kind="stable")
        num_bits = max(10, (max(1, len(hashes)) * _BITS_PER_NGRAM - 1).bit_length())
        slots = hashes >> np.uint64(64 - num_bits)
        bits = np.zeros(1 << (num_bits - 3), np.uint8)
        np.bitwise_or.at(bits, slots >> _BYTE, np.left_shift(np.uint8(1), (slots & _BIT).astype(np.uint8)))
        return cls(hashes[order], owners[order].astype(np.int32), bits)

    @property
    def size(self) -> int:
        """(n-gram, text) pairs."""
        return len(self.hashes)

    def known(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of `hashes` are in some text, ascending, and a number for each: the same for equal ones only."""
        slots = hashes >> self._shift
        maybe = np.flatnonzero((self.bits[slots >> _BYTE] >> (slots & _BIT).astype(np.uint8)) & 1)
        wanted = hashes[maybe]
        order = np.argsort(wanted)  # neighbours find each other's part of the table in the processor's cache
        first = np.empty(len(wanted), np.int64)
        first[order] = np.searchsorted(self.hashes, wanted[order], "left")
        known = np.take(self.hashes, first, mode="clip") == wanted if len(self.hashes) else first > 0
        return maybe[known], first[known]

    def owners_of(self, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The texts that have the n-grams of these numbers: index into `first`, and text, one for each pair."""
        counts = np.searchsorted(self.hashes, self.hashes[first], "right") - first if len(first) else NONE
        which = np.repeat(np.arange(len(first)), counts)
        within = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        return which, self.owners[first[which] + within]

"""What is left of a text when only its letters and digits count, and hashes of its n-grams.

Two writings of one sentence, in full-width or half-width forms, in capitals, with other spaces, line breaks or
punctuation, become the same letters: NFKC, case folding, and nothing but what Unicode calls alphanumeric.
A table does it for nearly all characters; those that become several (㎡) or combine with a neighbour
(half-width ﾞ) are few and go through `unicodedata`.

    letters("ＡＢ Ｃ、１２").points  # of "abc12"
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np

from tasks.code_points import code_points

_PLANES = 0x40000  # what has letters; the planes beyond are tags, selectors and private use
_NOTHING, _SPECIAL = 0, 0xFFFFFFFF
_BASE = np.uint64(0x9E3779B97F4A7C15)  # of the polynomial; odd, from the golden ratio
_MIX = np.uint64(0xBF58476D1CE4E5B9)  # splitmix64's
_ONE, _HALF = np.uint64(1), np.uint64(32)
_USUAL = 1 << 14  # letters of a text up to which the powers are kept


@dataclass(frozen=True, slots=True)
class Letters:
    """Code points, uint32 (letters,), and where in the text each came from, int64 (letters,), ascending."""

    points: np.ndarray
    positions: np.ndarray


def letters(text: str) -> Letters:
    """The letters and digits of a text, NFKC and case-folded."""
    points = code_points(text)
    mapped = _table()[np.minimum(points, _PLANES - 1)]
    special = np.flatnonzero(mapped == _SPECIAL)
    if len(special):
        return _with_special(text, mapped, special)
    positions = np.flatnonzero(mapped)
    return Letters(mapped[positions], positions)


def ngram_hashes(points: np.ndarray, n: int) -> np.ndarray:
    """uint64 (letters - n + 1,): a polynomial hash modulo 2^64 of every n-gram, from differences of a running sum."""
    count = len(points) - n + 1
    if count < 1:
        return np.empty(0, np.uint64)
    powers, inverses = _powers(len(points))
    sums = np.empty(len(points) + 1, np.uint64)
    sums[0] = 0
    np.cumsum((points + _ONE) * _MIX * powers[: len(points)], out=sums[1:])
    hashes = (sums[n:] - sums[:count]) * inverses[:count]  # the same wherever in the text the n-gram stands
    hashes ^= hashes >> _HALF
    hashes *= _MIX
    return hashes


def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """uint64 (at least count,): the powers of the base, and of its inverse modulo 2^64."""
    return _usual_powers() if count <= _USUAL else _compute_powers(count)


@cache
def _usual_powers() -> tuple[np.ndarray, np.ndarray]:
    return _compute_powers(_USUAL)


def _compute_powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    bases = (_BASE, np.uint64(pow(int(_BASE), -1, 1 << 64)))
    powers, inverses = (np.multiply.accumulate(np.full(count, base)) for base in bases)
    return powers, inverses


def _with_special(text: str, mapped: np.ndarray, special: np.ndarray) -> Letters:
    """As `letters`, where some characters are not replaced one for one."""
    parts: list[np.ndarray] = []
    positions: list[np.ndarray] = []

    def take_plain(first: int, last: int) -> None:
        kept = first + np.flatnonzero(mapped[first:last])
        parts.append(mapped[kept])
        positions.append(kept)

    end = 0
    for index in special.tolist():
        if index < end:
            continue
        first = max(end, index - 1) if _combines(text[index]) else index
        last = index + 1
        while last < len(text) and mapped[last] == _SPECIAL:
            last += 1
        take_plain(end, first)
        folded = unicodedata.normalize("NFKC", text[first:last]).casefold()
        expanded = code_points("".join(character for character in folded if character.isalnum()))
        parts.append(expanded)
        positions.append(np.full(len(expanded), first))
        end = last
    take_plain(end, len(text))
    return Letters(np.concatenate(parts), np.concatenate(positions))


def _combines(character: str) -> bool:
    """Whether it joins the character before it: combining marks, and the half-width signs of voicing."""
    return unicodedata.combining(character) > 0 or character in "\uff9e\uff9f"


@cache
def _table() -> np.ndarray:
    """(2^18,) uint32: the letter for each code point, 0 for none, _SPECIAL where one character is not enough."""
    table = np.zeros(_PLANES, dtype=np.uint32)
    for point in range(_PLANES):
        character = chr(point)
        if _combines(character):
            table[point] = _SPECIAL
            continue
        folded = unicodedata.normalize("NFKC", character).casefold()
        kept = [one for one in folded if one.isalnum()]
        if kept:
            table[point] = ord(kept[0]) if len(kept) == 1 and len(folded) == 1 else _SPECIAL
    table[_PLANES - 1] = _NOTHING  # stands for the planes beyond
    return table

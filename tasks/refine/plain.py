"""A text as number rules read it: ASCII for full-width forms and for every hyphen, character by character.

Character i of `plain(text)` stands for character i of the text, so what is found in one is a span of the other.

    plain("０３−２０００－００００")  # "03-2000-0000"
"""

from __future__ import annotations

from functools import cache

import numpy as np

from tasks.code_points import code_points

_SPACES = "\u00a0\u2002\u2003\u2007\u2009\u202f\u3000"
# Hyphens, dashes, minus signs, box lines and the prolonged sound mark, all seen between the digits of numbers.
_HYPHENS = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2500\u2501\u30fc\ufe63\uff0d\uff70"
_OTHER, _HYPHEN = 0xFFFF, 0xFFFE  # noncharacters: for what no rule reads, and for a hyphen not yet decided on
_DIGITS = np.zeros(0x10000, dtype=bool)
_DIGITS[[*range(0x30, 0x3A), *range(0xFF10, 0xFF1A)]] = True


def num_digits(text: str) -> int:
    """How many ASCII and full-width digits a text has."""
    return int(np.count_nonzero(_DIGITS[np.minimum(code_points(text), _OTHER)]))


def plain(text: str) -> str:
    """The text with full-width ASCII, wide spaces and the hyphens of numbers as ASCII; as long as the text."""
    points = code_points(text)
    narrow = _table()[np.minimum(points, _OTHER)]
    hyphens = np.flatnonzero(narrow == _HYPHEN)
    if len(hyphens):
        # `ー` ends words as well (センター03-…): it is a hyphen only where a digit, a bracket or a space is before it.
        before = np.where(hyphens > 0, narrow[hyphens - 1], _OTHER)
        joins = ((before >= ord("0")) & (before <= ord("9"))) | (before == ord(")")) | (before == ord(" "))
        narrow[hyphens] = np.where(joins, ord("-"), points[hyphens])
    return narrow.tobytes().decode("utf-16-le")


@cache
def _table() -> np.ndarray:
    """(2^16,) uint16: the character for each code point of the Basic Multilingual Plane."""
    table = np.arange(0x10000, dtype=np.uint16)
    table[0xFF01:0xFF5F] = np.arange(0x21, 0x7F)  # ！ to ～
    table[[ord(space) for space in _SPACES]] = ord(" ")
    table[[ord(hyphen) for hyphen in _HYPHENS]] = _HYPHEN
    table[0xD800:0xE000] = _OTHER  # lone surrogates
    return table

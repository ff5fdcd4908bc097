"""Classes of characters, as bit flags of an array over a text's code points.

One table look-up classifies a whole text, so every count on it is a numpy expression. HIRAGANA, KATAKANA and
KANJI are exactly what the released swallow-corpus code counts as Japanese letters: no `ー`, no kanji outside
the Basic Multilingual Plane, but the hexagrams of the Yijing, which lie between two blocks of kanji. KANA_SIGN
and RARE_KANJI hold what that leaves out. LETTER is Unicode's `isalpha`.

    classes = classify("雲雀。"); (classes & KANJI).astype(bool).sum()  # 2
"""

from __future__ import annotations

from functools import cache

import numpy as np

from tasks.code_points import code_points

LETTER, HIRAGANA, KATAKANA, KANJI, KUTEN, TOTEN, KANA_SIGN, RARE_KANJI = (1 << bit for bit in range(8))
KANA = HIRAGANA | KATAKANA | KANA_SIGN
JAPANESE = KANA | KANJI | RARE_KANJI

_RANGES: tuple[tuple[int, int, int], ...] = (
    (HIRAGANA, 0x3041, 0x3096),
    (KATAKANA, 0x30A1, 0x30FA),
    (KANJI, 0x3400, 0x9FFF),
    (KANJI, 0xF900, 0xFAFF),
    (KANA_SIGN, 0x309D, 0x309F),
    (KANA_SIGN, 0x30FC, 0x30FF),
    (KANA_SIGN, 0x31F0, 0x31FF),
    (KANA_SIGN, 0xFF66, 0xFF9F),
    (RARE_KANJI, 0x20000, 0x323AF),
)
_SINGLE: tuple[tuple[int, str], ...] = ((KANJI, "々〇〻"), (KUTEN, "。．！？"), (TOTEN, "、，"))


def classify(text: str) -> np.ndarray:
    """(characters,) uint8 of the flags above."""
    return _table()[code_points(text)]


@cache
def _table() -> np.ndarray:
    table = np.zeros(0x110000, np.uint8)
    # Unicode has letters in its first four planes only, most of them in blocks of nothing else.
    for first in range(0, 0x40000, 256):
        block = "".join(map(chr, range(first, first + 256)))
        table[first : first + 256] = LETTER if block.isalpha() else [letter.isalpha() for letter in block]
    for flag, first, last in _RANGES:
        table[first : last + 1] |= flag
    for flag, characters in _SINGLE:
        table[[ord(character) for character in characters]] |= flag
    return table

"""The Japanese class of characters: what a new piece of vocabulary may hold.

Kana, ideographs, and the punctuation that goes with them. No Latin letter, no digit (full-width ones
neither), no space but U+3000, and not `▁`, so a text without a character of this class cannot contain a new
piece and is encoded as before. Chinese text is in the class as far as it shares the ideographs; Hangul is
not.

The class is a list of code point ranges (Unicode 16, Blocks.txt and the charts), whole blocks where every
assigned character belongs. Whole blocks matter beyond taste: a byte-level tokenizer may only merge the
first bytes of a character when *every* character that begins with them is in the class
(`is_japanese_prefix`).

    is_japanese("お茶を飲む。")  # True
    is_japanese("2月")           # False: a digit
"""

from __future__ import annotations

import re
from functools import cache

RANGES: tuple[tuple[int, int], ...] = (
    (0x3000, 0x30FF),  # ideographic space, 、。「」々〆〇〜, hiragana, katakana, ・ and ー
    (0x3190, 0x319F),  # kanbun marks
    (0x31F0, 0x31FF),  # small katakana for Ainu
    (0x3220, 0x3247),  # ㈱ and other ideographs in brackets or circles, no digits
    (0x3280, 0x32B0),  # ㊙ and other circled ideographs
    (0x32D0, 0x3357),  # circled katakana, ㋿, katakana words in a square: ㌔
    (0x337B, 0x337F),  # ㍻ and the other eras, ㍿
    (0x3400, 0x4DBF),  # ideographs, extension A
    (0x4E00, 0x9FFF),  # ideographs
    (0xF900, 0xFAFF),  # compatibility ideographs
    (0xFE30, 0xFE4F),  # vertical forms of punctuation
    (0xFF01, 0xFF0F),  # full-width punctuation, around the digits and letters
    (0xFF1A, 0xFF20),
    (0xFF3B, 0xFF40),
    (0xFF5B, 0xFF9F),  # ｛｜｝～ and half-width katakana with its punctuation
    (0x1AFF0, 0x1AFFF),  # kana extended B
    (0x1B000, 0x1B16F),  # kana supplement, extended A, small kana extension
    (0x20000, 0x3FFFD),  # planes 2 and 3: ideographs, extensions B and later
)

_CLASS = "".join(f"{chr(first)}-{chr(last)}" for first, last in RANGES)
_ALL_JAPANESE = re.compile(f"[{_CLASS}]+")
_ANY_JAPANESE = re.compile(f"[{_CLASS}]")


def is_japanese(text: str) -> bool:
    """Whether every character is in the class; False for the empty string."""
    return _ALL_JAPANESE.fullmatch(text) is not None


def has_japanese(text: str) -> bool:
    """Whether any character is in the class."""
    return _ANY_JAPANESE.search(text) is not None


def is_japanese_prefix(data: bytes) -> bool:
    """Whether `data` begins, in UTF-8, Japanese-class characters and no others, and is not a whole one."""
    return data in _prefixes()


@cache
def _prefixes() -> frozenset[bytes]:
    """All one- to three-byte beginnings whose every completion lies in one range of the class.

    A beginning of n - k bytes of an n-byte character covers an aligned span of 64**k code points (UTF-8
    gives each continuation byte six bits), so it qualifies when that span is inside a range. A span is also
    cut where n-byte characters begin: E0 starts at U+0800, F0 at U+10000.
    """
    found = set()
    for first, last in RANGES:
        length = len(chr(first).encode())
        for missing in range(1, length):
            span = 64**missing
            start = max(first // span * span, 0x800 if length == 3 else 0x10000)
            while start <= last:
                end = start // span * span + span - 1
                if start >= first and end <= last:
                    found.add(chr(start).encode()[: length - missing])
                start = end + 1
    return frozenset(found)

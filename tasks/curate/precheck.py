"""The rapid pre-check: may these raw bytes be a Japanese page?

In: the bytes of a page, nothing decoded or parsed. Out: yes or no. It is made for recall: a page refused
here is never looked at again, a page let through costs some milliseconds. A page passes when it declares
Japanese (`<html lang=ja>`, a Japanese charset) or holds a few kana in UTF-8, Shift_JIS, EUC-JP, ISO-2022-JP,
UTF-16 or as numeric character references. Kana and not kanji, which Chinese has too. Swallow's own pre-check
(its `warc2raw.py`) looks at the lang attribute and the title only.

    looks_japanese(body)
"""

from __future__ import annotations

import re
from itertools import islice

MIN_KANA = 8  # a document of 400 Japanese letters, a fifth of them hiragana, has ten times as many
MIN_KANA_PAIRS = 2  # the same in Shift_JIS and EUC-JP, where kana are counted in adjacent pairs

_HEAD_BYTES = 4096
_DECLARED = re.compile(
    rb"<html[^>]*\slang\s*=\s*[\"']?ja\b|charset\s*=\s*[\"']?(?:x-)?(?:shift|sjis|euc-?jp|iso-2022-jp|windows-31j|ms932|cp932)"
    rb"|encoding\s*=\s*[\"'](?:x-)?(?:shift|sjis|euc-?jp|iso-2022-jp|windows-31j)",
    re.IGNORECASE,
)
_UTF8_KANA = re.compile(rb"\xe3[\x81-\x83][\x80-\xbf]")
# Two in a row: one such pair of bytes is common in other encodings.
_SHIFT_JIS_KANA = re.compile(rb"(?:\x82[\x9f-\xf1]|\x83[\x40-\x96]){2}")
_EUC_KANA = re.compile(rb"(?:\xa4[\xa1-\xf3]|\xa5[\xa1-\xf6]){2}")
_UTF16_KANA = re.compile(rb"(?:[\x41-\xff]\x30){2}|(?:\x30[\x41-\xff]){2}")
_JIS_ESCAPE = re.compile(rb"\x1b\$(?:[@B]|\([DOPQ])")
_KANA_REFERENCE = re.compile(rb"&#(?:x30[4-9a-f][0-9a-f]|123(?:5[2-9]|[6-9]\d)|124\d\d|125(?:[0-3]\d|4[0-3]));", re.I)


def looks_japanese(body: bytes) -> bool:
    """Whether a page is worth decoding and parsing; wrong answers are meant to be yes."""
    if _DECLARED.search(body, 0, _HEAD_BYTES) or _JIS_ESCAPE.search(body) or _has(_KANA_REFERENCE, body):
        return True
    if _has(_UTF8_KANA, body):
        return True
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _has(_UTF16_KANA, body)
    try:
        body.decode()
    except UnicodeDecodeError:
        return _has(_SHIFT_JIS_KANA, body, MIN_KANA_PAIRS) or _has(_EUC_KANA, body, MIN_KANA_PAIRS)
    return False  # valid UTF-8 with hardly any kana; "тт" of Russian looks like Shift_JIS


def _has(pattern: re.Pattern[bytes], body: bytes, at_least: int = MIN_KANA) -> bool:
    return sum(1 for _ in islice(pattern.finditer(body), at_least)) == at_least

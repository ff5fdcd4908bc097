"""The rapid pre-check: may these raw bytes be a Japanese page?

In: the bytes of a page, nothing decoded or parsed. Out: yes or no. It is made for recall: a page refused here is never
looked at again, a page let through costs a millisecond.

`looks_japanese` counts kana, which Chinese does not have, in the encodings that Japanese is written in: UTF-8 (also
encoded twice), Shift_JIS, EUC-JP, ISO-2022-JP, UTF-16, and numeric character references. What a page declares of
itself is not asked: of the shared WARCs' pages with `lang=ja` half are menus in Japanese around an untranslated text.
So a page with few kana must hold them beside few other letters; only these pages, a tenth, have their tags taken out
to be sure. Most pages fail one search for a byte.

`declares_japanese` is the released swallow-corpus code's pre-check (`warc2raw.py`): the lang attribute or the title.

    looks_japanese(body)
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from itertools import islice

MIN_KANA = 8  # a document of 400 Japanese letters, a fifth of them hiragana, has ten times as many
ENOUGH_KANA = 150  # a mixed page with as many may hold a document, whatever else is on it
MIN_KANA_SHARE = 0.12  # kana / letters on a page with fewer: 4 of 1,728 Japanese pages in the shared WARCs have less
MIN_LEGACY_RUNS = 2  # runs of kana in Shift_JIS or EUC-JP
MIN_LEGACY_SHARE = 0.1  # bytes in such runs / bytes beyond ASCII: Japanese from 0.22 on, Big5 and cp866 up to 0.05
MIN_UTF16_RUN = 4  # kana one after the other in UTF-16
MIN_NUL_SHARE = 0.01  # of the bytes of a page in UTF-16: its markup has one in each character

_UTF8_KANA = (b"\xe3\x81", b"\xe3\x82", b"\xe3\x83")  # the first two bytes; the first are hiragana
_TWICE_UTF8_HIRAGANA = b"\xc3\xa3\xc2\x81"
# Two in a row: one such pair of bytes is common in other encodings.
_SHIFT_JIS_KANA = re.compile(rb"(?:\x82[\x9f-\xf1]|\x83[\x40-\x96]){2,}")
_EUC_KANA = re.compile(rb"(?:\xa4[\xa1-\xf3]|\xa5[\xa1-\xf6]){2,}")
_UTF16_KANA = re.compile(rb"(?:[\x41-\xff]\x30){%d}|(?:\x30[\x41-\xff]){%d}" % (MIN_UTF16_RUN, MIN_UTF16_RUN))
_UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_JIS_ESCAPE = re.compile(rb"\x1b(?:\$(?:[@B]|\([DOPQ])|\(I)")
_REFERENCE = re.compile(rb"&#(?:x30|12[3-5])", re.IGNORECASE)
_KANA_REFERENCE = re.compile(
    rb"&#(?:x30[4-9a-f][0-9a-f]|123(?:5[2-9]|[6-9]\d)|124\d\d|125(?:[0-3]\d|4[0-3]))(?!\w)", re.I
)
_SCRIPT = re.compile(rb"<(script|style)\b", re.IGNORECASE)
_TAG = re.compile(rb"<[^>]*>")
_ASCII = bytes(range(128))
_WINDOW = 256  # bytes around a place that is Shift_JIS or EUC-JP if they are not valid UTF-8
_CUT_OFF = 6  # bytes of characters that such a window cuts
_LEGACY_SAMPLE = 8 << 10  # bytes looked at, from the first kana on
# What is not the first byte of a letter in UTF-8: ASCII but its letters, and continuation bytes.
_NO_LETTERS = bytes(byte for byte in range(0xC0) if not chr(byte).isalpha() or byte >= 0x80)

_LANG_ATTRIBUTE = re.compile(rb"<html[^>]*\slang\s*=\s*[\"']?ja", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)


def looks_japanese(body: bytes) -> bool:
    """Whether a page is worth decoding and parsing; wrong answers are meant to be yes."""
    if b"\xe3" in body and _has_utf8_kana(body):
        return True
    if b"\x1b" in body and _JIS_ESCAPE.search(body):
        return True
    if _has_kana_references(body):
        return True
    if body.startswith(_UTF16_BOMS) or (b"\0" in body and body.count(b"\0") >= MIN_NUL_SHARE * len(body)):
        return _UTF16_KANA.search(body) is not None
    return not body.isascii() and (_has_twice_encoded(body) or _has_legacy_kana(body))


def declares_japanese(body: bytes, title_score: Callable[[str], float]) -> bool:
    """The released pre-check: `<html lang=ja>`, or a title that the precise language model scores above 0.

    Args:
        title_score: the precise model's score of a text; above 0 means Japanese.
    """
    if _LANG_ATTRIBUTE.search(body):
        return True
    found = _TITLE.search(body)
    title = _decode_title(found.group(1)) if found else None
    return bool(title) and title_score(title or "") > 0


def _decode_title(title: bytes) -> str | None:
    """As the released code: UTF-8, Shift_JIS, EUC-JP, the first that decodes; None where none does."""
    for charset in ("utf-8", "shift_jis", "euc_jp"):
        try:
            return title.decode(charset)
        except UnicodeDecodeError:
            continue
    return None


def _has_utf8_kana(body: bytes) -> bool:
    num_kana = body.count(_UTF8_KANA[0])
    if not num_kana or num_kana >= ENOUGH_KANA:
        return num_kana > 0  # Chinese has the rest of the block, its punctuation, but no hiragana
    num_kana += sum(map(body.count, _UTF8_KANA[1:]))
    return num_kana >= ENOUGH_KANA or (num_kana >= MIN_KANA and _kana_share(body) >= MIN_KANA_SHARE)


def _kana_share(body: bytes) -> float:
    """Kana / letters of a UTF-8 page outside of tags, scripts and styles."""
    parts, place = [], 0
    for script in _SCRIPT.finditer(body):
        if script.start() >= place:
            parts.append(body[place : script.start()])
            place = body.find(b"</" + script.group(1), script.end())
            if place < 0:
                place = len(body)
    text = _TAG.sub(b"", b"".join([*parts, body[place:]]))
    return sum(map(text.count, _UTF8_KANA)) / max(1, len(text.translate(None, _NO_LETTERS)))


def _has_twice_encoded(body: bytes) -> bool:
    place = body.find(b"\x81")  # after \xc2, it is a control character: no text but such has any
    return place > 0 and body[place - 1] == 0xC2 and body.count(_TWICE_UTF8_HIRAGANA) >= MIN_KANA


def _has_legacy_kana(body: bytes) -> bool:
    # The first bytes of hiragana in Shift_JIS and in EUC-JP; texts in UTF-8 mostly have them too.
    places = [place for place in (body.find(b"\x82"), body.find(b"\xa4")) if place >= 0]
    if not places or _is_utf8(body, places[0]):
        return False
    return _mostly_kana(_SHIFT_JIS_KANA, body) or _mostly_kana(_EUC_KANA, body)


def _is_utf8(body: bytes, place: int) -> bool:
    """Whether a page is valid UTF-8: where characters beyond ASCII are dense, by those around a place, else by all."""
    window = body[max(0, place - 3) : place + _WINDOW]
    if len(window.translate(None, _ASCII)) >= _WINDOW // 8:
        return len(window) - len(window.decode("utf-8", "ignore").encode()) <= _CUT_OFF
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _mostly_kana(kana: re.Pattern[bytes], body: bytes) -> bool:
    if not (first := kana.search(body)):
        return False
    sample = body[first.start() : first.start() + _LEGACY_SAMPLE]
    runs = kana.findall(sample)
    num_kana_bytes = sum(map(len, runs))
    return len(runs) >= MIN_LEGACY_RUNS and num_kana_bytes >= MIN_LEGACY_SHARE * len(sample.translate(None, _ASCII))


def _has_kana_references(body: bytes) -> bool:
    if not (first := _REFERENCE.search(body)):
        return False
    return sum(1 for _ in islice(_KANA_REFERENCE.finditer(body, first.start()), MIN_KANA)) == MIN_KANA

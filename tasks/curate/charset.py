"""The charset decision: bytes to text, when declared charsets lie.

In: the bytes of a page and the charset its HTTP header names. Out: the text and the name of the charset.

A byte order mark decides. Then ISO-2022-JP escapes in 7-bit bytes, and valid UTF-8 with any character beyond
ASCII: text in another encoding is practically never valid UTF-8, so this outweighs every label. What is left
are candidates in order of trust: HTTP header, meta element, resiliparse's detection, the Japanese encodings.
The first that decodes without error into plausible Japanese wins; failing that the first that decodes at
all, which is how a page in another language goes on to the language decision. Plausible means: beyond ASCII
mostly kana, kanji and their punctuation, with kana among them, hardly any control or private characters or
half-width kana. That refuses EUC-JP read as Shift_JIS (half-width kana) and any Japanese read as Latin-1
(control characters). Pages with a few broken bytes, such as those a crawler cut off, are decoded with
replacement characters.

    decode(body, http_charset="shift_jis")  # Decoded(text="...", charset="cp932")
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from resiliparse.parse.encoding import detect_encoding

from tasks.curate.characters import HIRAGANA, JAPANESE, KATAKANA, classify, code_points

MAX_REPLACED_RATIO = 0.01  # replacement characters / characters beyond ASCII
MIN_JAPANESE_RATIO = 0.6  # of the characters beyond ASCII
MIN_KANA_RATIO = 0.1  # of the Japanese ones
MAX_STRANGE_RATIO = 0.1  # of the characters beyond ASCII

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig", "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16"),
)
_DECLARED = re.compile(
    rb"(?:<meta[^>]{0,200}?charset|<\?xml[^>]{0,200}?encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE
)
_ISO_2022_JP = re.compile(rb"\x1b\$(?:[@B]|\([DOPQ])")
# Vendor characters such as ① are in cp932 and in no strict shift_jis; browsers read both as cp932.
_SUPERSETS = {
    "shift_jis": "cp932",
    "shift_jisx0213": "cp932",
    "shift_jis_2004": "cp932",
    "iso2022_jp": "iso2022_jp_ext",
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
}
_ALIASES = {
    "x-sjis": "cp932",
    "x-euc-jp": "euc_jp",
    "windows-31j": "cp932",
    "sjis": "cp932",
    "x-gbk": "gb18030",
}


@dataclass(frozen=True, slots=True)
class Decoded:
    text: str
    charset: str


def decode(body: bytes, http_charset: str | None = None) -> Decoded | None:
    """Text of a page, None where no charset fits."""
    for mark, codec, name in _BOMS:
        if body.startswith(mark):
            return _decode_loosely(body, [codec], name)
    if body.isascii():
        if _ISO_2022_JP.search(body):
            return _decode_loosely(body, ["iso2022_jp_ext", "iso2022_jp_2004"], "iso2022_jp")
        return Decoded(body.decode("ascii"), "ascii")
    if (text := _strictly(body, "utf-8")) is not None:
        return Decoded(text, "utf-8")
    readable: Decoded | None = None
    candidates = list(dict.fromkeys(_candidates(body, http_charset)))
    for codec in candidates:
        if (text := _strictly(body, codec)) is not None:
            decoded = Decoded(text, codec)
            if _plausible_japanese(text):
                return decoded
            readable = readable or decoded
    # A cut-off or slightly broken page: broken UTF-8 still decodes, without error, as Latin-1 and its kin.
    for codec in ["utf-8", *candidates]:
        loose = _decode_loosely(body, [codec], codec)
        if loose and _plausible_japanese(loose.text):
            return loose
    return readable or _decode_loosely(body, ["utf-8", *candidates], None)


def _candidates(body: bytes, http_charset: str | None) -> Iterator[str]:
    declared = _DECLARED.search(body, 0, 4096)
    labels = [
        http_charset,
        declared.group(1).decode("ascii", "replace") if declared else None,
        detect_encoding(body),
    ]
    for label in [*labels, "cp932", "euc_jp", "euc_jis_2004"]:
        if label and (codec := _codec(label)):
            yield codec


def _codec(label: str) -> str | None:
    """Python's name for a charset label, widened to what browsers read under it; None for an unknown one."""
    try:
        name = codecs.lookup(_ALIASES.get(label.strip().lower(), label.strip())).name
    except (LookupError, ValueError):  # ValueError: a NUL in the label
        return None
    return _SUPERSETS.get(name, name)


def _strictly(body: bytes, codec: str) -> str | None:
    try:
        return body.decode(codec)
    except (UnicodeError, LookupError):  # LookupError: `hex` and the like, which turn no bytes into text
        return None


def _decode_loosely(body: bytes, codecs_to_try: list[str], name: str | None) -> Decoded | None:
    for codec in codecs_to_try:
        try:
            text = body.decode(codec, "replace")
        except (UnicodeError, LookupError):
            continue
        beyond_ascii = sum(not character.isascii() for character in text) if "\ufffd" in text else 0
        if text.count("\ufffd") <= max(1, MAX_REPLACED_RATIO * beyond_ascii):
            return Decoded(text, name or codec)
    return None


def _plausible_japanese(text: str) -> bool:
    beyond_ascii = code_points(text) >= 0x80
    points, classes = code_points(text)[beyond_ascii], classify(text)[beyond_ascii]
    if not len(points):
        return False
    strange = (points < 0xA0) | ((points >= 0xE000) & (points <= 0xF8FF)) | ((points >= 0xFF61) & (points <= 0xFF9F))
    japanese = (
        (classes & JAPANESE).astype(bool)
        | ((points >= 0x3000) & (points <= 0x303F))
        | (points >= 0xFF01) & (points <= 0xFF60)
    )
    num_japanese = np.count_nonzero(japanese)
    return bool(
        num_japanese >= MIN_JAPANESE_RATIO * len(points)
        and np.count_nonzero(classes & (HIRAGANA | KATAKANA)) >= MIN_KANA_RATIO * num_japanese
        and np.count_nonzero(strange) <= MAX_STRANGE_RATIO * len(points)
    )

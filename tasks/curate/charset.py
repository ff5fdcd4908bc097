"""The charset decision: bytes to text, when declared charsets lie.

In: the bytes of a page and the charset its HTTP header names. Out: the text, the name of the charset, and how good the
fit is.

A byte order mark decides. Then ISO-2022-JP escapes in 7-bit bytes, and valid UTF-8 with any character beyond ASCII:
text in another encoding is practically never valid UTF-8, so this outweighs every label. What is left are candidates
in order of trust: HTTP header, meta element, resiliparse's detection, the Japanese encodings. The first that decodes
without error into plausible Japanese wins; failing that the first that decodes at all, which is how a page in another
language goes on to the language decision. Plausible means: beyond ASCII mostly kana, kanji and their punctuation, with
kana among them, hardly any control or private characters or half-width kana. That refuses EUC-JP read as Shift_JIS
(half-width kana) and any Japanese read as Latin-1 (control characters). Pages with a few broken bytes, such as those a
crawler cut off, are decoded with U+FFFD in their place.

Labels mean what browsers take them to mean (WHATWG), and vendors' characters such as ① are read in EUC-JP and
ISO-2022-JP too, where Python's codecs refuse them. UTF-8 that was taken for Latin-1 or Windows-1252 and written as
UTF-8 again ("ã\\x81\\x82") can be undone without loss, and is; other texts whose characters show a wrong charset are
marked as mojibake.

    decode(body, http_charset="shift_jis")  # Decoded(text="...", charset="cp932")
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from tasks.code_points import code_points
from tasks.curate.characters import HIRAGANA, JAPANESE, KATAKANA, classify

MAX_REPLACED_RATIO = 0.05  # U+FFFD / characters beyond ASCII; a page with more is mojibake
MAX_NOISE_RATIO = 0.3  # ... and one with more than this is no text at all
MIN_JAPANESE_RATIO = 0.6  # of the characters beyond ASCII
MIN_KANA_RATIO = 0.1  # of the Japanese ones
MAX_STRANGE_RATIO = 0.1  # of the characters beyond ASCII, in plausible Japanese
MIN_MOJIBAKE_RATIO = 0.3  # of the characters beyond ASCII: strange ones in mojibake
MIN_NUL_SHARE = 0.01  # of the bytes, all of them high bytes, in a page in UTF-16 without a mark
MIN_STRANGE = 8  # ... and at least so many of them

TWICE = "utf-8-twice"
_TWICE_HIRAGANA = "ã\x81".encode()  # how nearly every hiragana begins; no language has it
_REPLACEMENT = "\ufffd".encode()
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig", "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16"),
)
_DECLARED = re.compile(
    rb"(?:<meta[^>]{0,200}?charset|<\?xml[^>]{0,200}?encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE
)
_HEAD_BYTES = 4096
_ISO_2022_JP = re.compile(rb"\x1b(?:\$(?:[@B]|\([DOPQ])|\(I)")
_JIS_X_0213 = re.compile(rb"\x1b\$\([OPQ]")
_ISO_2022_JP_CODECS = ("iso2022_jp_ext", "iso2022_jp_2004")
_NOT_CP932 = re.compile("[\uf8f0-\uf8f3]")  # what Python makes of bytes that are no character
_SAMPLE = 1 << 14  # characters on which plausibility is judged
# Labels that WHATWG does not know, and wider codecs than those it names.
_CODECS = {
    "cp932": "cp932",
    "shift_jis": "cp932",
    "shift_jisx0213": "shift_jis_2004",
    "shift_jis_2004": "shift_jis_2004",
    "shift_jis-2004": "shift_jis_2004",
    "eucjp": "euc_jp",
    "euc_jisx0213": "euc_jis_2004",
    "euc-jisx0213": "euc_jis_2004",
    "euc-jis-2004": "euc_jis_2004",
    "iso2022_jp": "iso2022_jp_ext",
    "gbk": "gb18030",
}
_OLD_CODE_PAGES = ("cp", "mac", "koi8", "iso8859")  # those that browsers dropped, but detection finds
_JIS_CODECS = ("euc_jp", "iso2022_jp_ext")
_VENDOR_ROWS = (0x2D, 0x79, 0x7A, 0x7B, 0x7C)  # row 13 and rows 89 to 92
# They have kana where EUC-JP has them: Japanese in EUC-JP under such a label would keep its kana and lose its kanji.
_NEIGHBOURS = ("gb18030", "euc_kr", "big5", "cp949", "johab")
_JAPANESE_CODECS = ("cp932", "euc_jp", "shift_jis_2004", "euc_jis_2004")
# Windows-1252 as encoders write it, its five gaps as control characters: from a character back to its byte.
_BYTES_OF_1252 = {
    ord(character): byte
    for byte in range(0x80, 0xA0)
    for character in [bytes([byte]).decode("cp1252", "ignore"), chr(byte)]
    if character
}
_CONTINUATION = "".join(map(chr, [*_BYTES_OF_1252, *range(0xA0, 0xC0)]))
_TWICE_ENCODED = re.compile(f"(?:[\u00c2-\u00f4][{re.escape(_CONTINUATION)}]{{1,3}})+")
_UTF8_AS_1252 = re.compile(f"[ã-é][{re.escape(_CONTINUATION)}]{{2}}")  # a Japanese character


@dataclass(frozen=True, slots=True)
class Decoded:
    """A page as text.

    Attributes:
        num_replaced: U+FFFD put in by decoding, each for one broken character.
        is_mojibake: it decodes, but to characters that show a wrong charset.
    """

    text: str
    charset: str
    num_replaced: int = 0
    is_mojibake: bool = False


def decode(body: bytes, http_charset: str | None = None) -> Decoded | None:
    """Text of a page, None where no charset fits."""
    for mark, bom_codec, name in _BOMS:
        if body.startswith(mark):
            return _decode_loosely(body, bom_codec, name)
    if body.isascii():
        if _ISO_2022_JP.search(body):
            return _decode_loosely(body, _ISO_2022_JP_CODECS[bool(_JIS_X_0213.search(body))], "iso2022_jp")
        if b"\0" in body and (codec := _utf16_without_mark(body)):
            return _decode_loosely(body, codec, "utf-16")
        return Decoded(body.decode("ascii"), "ascii")
    if (utf8 := _strictly(body, "utf-8")) is not None:
        return _check_utf8(body, utf8)
    if b"\0" in body and (codec := _utf16_without_mark(body)):
        return _decode_loosely(body, codec, "utf-16")
    return _decode_legacy(body, http_charset)


def _decode_legacy(body: bytes, http_charset: str | None) -> Decoded | None:
    """Anything that is not valid UTF-8."""
    readable: Decoded | None = None
    candidates: list[str] = []
    for codec in _candidates(body, http_charset):
        if codec in candidates:
            continue
        candidates.append(codec)
        if (text := _strictly(body, codec)) is not None:
            if codec not in _NEIGHBOURS and _plausible_japanese(text):
                return Decoded(text, codec)
            readable = readable or Decoded(text, codec, 0, _is_mojibake(text))
    # A cut-off or slightly broken page: broken UTF-8 still decodes, without error, as Latin-1 and its kin.
    worse: Decoded | None = None
    for codec in ["utf-8", *candidates]:
        loose = _decode_loosely(body, codec, codec)
        if loose and not loose.is_mojibake and codec not in _NEIGHBOURS and _plausible_japanese(loose.text):
            return loose
        worse = worse or loose
    return readable or worse


def _check_utf8(body: bytes, text: str) -> Decoded:
    if "ã" in text and body.count(_TWICE_HIRAGANA) >= MIN_STRANGE:
        text = _TWICE_ENCODED.sub(_decode_again, text)
        return Decoded(text, TWICE, 0, _is_mojibake(text))
    # Nearly every page ends here: too few of the first bytes of control characters, half-width kana and U+FFFD.
    is_suspect = max(body.count(b"\xc2"), body.count(b"\xef")) >= MIN_STRANGE and _is_mojibake(text)
    return Decoded(text, "utf-8", 0, is_suspect)


def _decode_again(found: re.Match[str]) -> str:
    try:
        return found.group().translate(_BYTES_OF_1252).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return found.group()


def _utf16_without_mark(body: bytes) -> str | None:
    """The byte order of UTF-16 by where the zero bytes of its markup are; None where it is no UTF-16."""
    even, odd = body[:_HEAD_BYTES:2].count(0), body[1:_HEAD_BYTES:2].count(0)
    if max(even, odd) < MIN_NUL_SHARE * min(len(body), _HEAD_BYTES) or min(even, odd) > 0.1 * max(even, odd):
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def _candidates(body: bytes, http_charset: str | None) -> Iterator[str]:
    if http_charset and (codec := _codec(http_charset)):
        yield codec
    if (declared := _DECLARED.search(body, 0, _HEAD_BYTES)) and (codec := _codec(declared.group(1).decode("latin-1"))):
        yield codec
    if (detected := detect_encoding(body)) and (codec := _codec(detected)):
        yield codec
    yield from _JAPANESE_CODECS


def _codec(label: str) -> str | None:
    """Python's codec for a charset label, widened to what browsers read under it; None for an unknown one.

    Only encodings of the web: Python also has codecs such as `unicode_escape`.
    """
    label = label.strip().lower()
    if name := _CODECS.get(label) or map_encoding_to_html5(label, False):
        return _CODECS.get(name, name)
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):  # ValueError: a NUL in the label
        return None
    return name if name.startswith(_OLD_CODE_PAGES) else None


def _strictly(body: bytes, codec: str) -> str | None:
    try:
        text = body.decode(codec, _VENDOR_CHARACTERS if codec in _JIS_CODECS else "strict")
    except UnicodeError:
        return None
    return None if codec == "cp932" and _NOT_CP932.search(text) else text


def _decode_loosely(body: bytes, codec: str, name: str) -> Decoded | None:
    """With U+FFFD for what is broken; None where that is so much that it is noise."""
    text = body.decode(codec, _REPLACE_BROKEN)
    if codec == "cp932":
        text = _NOT_CP932.sub("\ufffd", text)
    num_replaced = text.count("\ufffd") - (body.count(_REPLACEMENT) if codec.startswith("utf-8") else 0)
    num_beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    if num_replaced > max(1, MAX_NOISE_RATIO * num_beyond_ascii):
        return None
    is_mojibake = num_replaced > max(1, MAX_REPLACED_RATIO * num_beyond_ascii) or _is_mojibake(text)
    return Decoded(text, name, num_replaced, is_mojibake)


def _plausible_japanese(text: str) -> bool:
    points = _beyond_ascii(text)
    classes = classify(points.tobytes().decode("utf-32-le", "surrogatepass"))
    japanese = (
        (classes & JAPANESE).astype(bool)
        | ((points >= 0x3000) & (points <= 0x303F))
        | ((points >= 0xFF01) & (points <= 0xFF60))
    )
    num_japanese = np.count_nonzero(japanese)
    num_strange = np.count_nonzero((points < 0xA0) | _is_private(points) | _is_half_width(points))
    return bool(
        len(points)
        and num_japanese >= MIN_JAPANESE_RATIO * len(points)
        and np.count_nonzero(classes & (HIRAGANA | KATAKANA)) >= MIN_KANA_RATIO * num_japanese
        and num_strange <= MAX_STRANGE_RATIO * len(points)
    )


def _is_mojibake(text: str) -> bool:
    """Whether a text in whatever language shows control characters, broken ones, half-width kana or "ã‚‚" for text."""
    points = _beyond_ascii(text)
    num_half_width = np.count_nonzero(_is_half_width(points))
    num_kana = np.count_nonzero((points >= 0x3041) & (points <= 0x30FE))
    num_strange = np.count_nonzero((points < 0xA0) | (points == 0xFFFD))
    if num_half_width > 2 * num_kana:  # pages for mobile phones have both kinds
        num_strange += num_half_width
    if "ã" in text:
        num_strange += 3 * len(_UTF8_AS_1252.findall(text[:_SAMPLE]))
    return bool(num_strange >= max(MIN_STRANGE, MIN_MOJIBAKE_RATIO * len(points)))


def _beyond_ascii(text: str) -> np.ndarray:
    """(characters,) code points of a sample of a text's characters that are not ASCII."""
    points = code_points(text)
    return points[points >= 0x80][:_SAMPLE]


def _is_private(points: np.ndarray) -> np.ndarray:
    return (points >= 0xE000) & (points <= 0xF8FF)


def _is_half_width(points: np.ndarray) -> np.ndarray:
    return (points >= 0xFF61) & (points <= 0xFF9F)


def _read_vendor_character(error: UnicodeError) -> tuple[str, int]:
    """Error handler: a character of NEC's and IBM's rows of JIS X 0208, which cp932 has."""
    if isinstance(error, UnicodeDecodeError) and error.encoding in _JIS_CODECS:
        pair = [byte & 0x7F for byte in error.object[error.start : error.start + 2]]
        if len(pair) == 2 and pair[0] in _VENDOR_ROWS and 0x21 <= pair[1] <= 0x7E:
            lead = (pair[0] - 0x21) // 2 + 0x81
            trail = pair[1] + (0x7E if pair[0] % 2 == 0 else 0x1F if pair[1] < 0x60 else 0x20)
            character = bytes([lead + (0x40 if lead > 0x9F else 0), trail]).decode("cp932", "ignore")
            if character:
                return character, error.start + 2
    raise error


def _replace_broken(error: UnicodeError) -> tuple[str, int]:
    """Error handler: as above, and U+FFFD for what is broken."""
    try:
        return _read_vendor_character(error)
    except UnicodeDecodeError as broken:
        return "\ufffd", broken.end


_VENDOR_CHARACTERS, _REPLACE_BROKEN = "hibari-vendor-characters", "hibari-replace-broken"
codecs.register_error(_VENDOR_CHARACTERS, _read_vendor_character)
codecs.register_error(_REPLACE_BROKEN, _replace_broken)

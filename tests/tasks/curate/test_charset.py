"""Breaks when a lying, missing or odd charset label turns Japanese into mojibake or loses the page."""

from __future__ import annotations

import random

import pytest

from tasks.curate.charset import TWICE, Decoded, decode
from tests.tasks.curate.warc_files import JAPANESE, PARAGRAPHS, html

PAGE = html(*PARAGRAPHS, charset=None)


@pytest.mark.parametrize(
    "label", [None, "utf-8", "shift_jis", "euc-jp", "iso-2022-jp", "iso-8859-1", "no-such-charset"]
)
@pytest.mark.parametrize(
    ("charset", "name"),
    [("utf-8", "utf-8"), ("cp932", "cp932"), ("euc_jp", "euc_jp"), ("iso2022_jp", "iso2022_jp")],
)
def test_the_text_is_right_whatever_the_header_says(charset: str, name: str, label: str | None) -> None:
    decoded = decode(PAGE.encode(charset), label)
    assert decoded is not None
    assert (decoded.text, decoded.charset) == (PAGE, name)


@pytest.mark.parametrize("meta", ["utf-8", "Shift_JIS", "euc-jp", "iso-8859-1"])
@pytest.mark.parametrize("charset", ["utf-8", "cp932", "euc_jp"])
def test_the_text_is_right_whatever_the_page_says_of_itself(charset: str, meta: str) -> None:
    page = html(*PARAGRAPHS, charset=meta)
    decoded = decode(page.encode(charset))
    assert decoded is not None
    assert decoded.text == page


def test_a_true_label_decides_short_texts() -> None:
    for charset, label in (
        ("cp932", "Shift_JIS"),
        ("euc_jp", "EUC-JP"),
        ("cp932", "x-sjis"),
        ("euc_jp", "x-euc-jp"),
    ):
        decoded = decode("<title>カテゴリー</title>".encode(charset), label)
        assert decoded is not None
        assert decoded.text == "<title>カテゴリー</title>"


def test_euc_jp_does_not_become_half_width_shift_jis() -> None:
    body = ("<title>カテゴリー</title>" + PARAGRAPHS[0]).encode("euc_jp")
    body.decode("cp932", "replace")  # the trap: nearly all of it decodes
    decoded = decode(body, "shift_jis")
    assert decoded is not None
    assert "カテゴリー" in decoded.text


def test_vendor_characters_under_a_shift_jis_label() -> None:
    page = "①月②日 ㈱雲雀 髙橋さんの﨑 " + JAPANESE
    decoded = decode(page.encode("cp932"), "shift_jis")
    assert decoded is not None
    assert (decoded.text, decoded.charset) == (page, "cp932")


@pytest.mark.parametrize(("mark", "charset"), [("utf-8-sig", "utf-8"), ("utf-16", "utf-16")])
def test_a_byte_order_mark_outweighs_the_header(mark: str, charset: str) -> None:
    decoded = decode(PAGE.encode(mark), "shift_jis")
    assert decoded is not None
    assert (decoded.text, decoded.charset) == (PAGE, charset)


@pytest.mark.parametrize(("charset", "cut"), [("utf-8", 1), ("utf-8", 2), ("cp932", 1), ("euc_jp", 1)])
def test_a_page_cut_inside_a_character_loses_that_character_only(charset: str, cut: int) -> None:
    decoded = decode(JAPANESE[:-1].encode(charset)[:-cut], charset)
    assert decoded is not None
    assert decoded.text.rstrip("\ufffd") == JAPANESE[:-2]


def test_a_broken_byte_in_the_middle_costs_one_character() -> None:
    body = bytearray(JAPANESE.encode())
    body[300] = 0xFF
    decoded = decode(bytes(body), "utf-8")
    assert decoded is not None
    assert decoded.charset == "utf-8"
    assert sum(a != b for a, b in zip(decoded.text, JAPANESE, strict=False)) < len(JAPANESE)
    assert decoded.text.count("\ufffd") <= 3


def test_other_languages_keep_their_declared_charset() -> None:
    french = "Où est passé l'été? " * 20
    decoded = decode(french.encode("latin-1"), "iso-8859-1")
    assert decoded is not None
    assert decoded.text == french


@pytest.mark.parametrize("body", [bytes(range(128, 256)) * 50, random.Random(1).randbytes(5000)])
def test_noise_has_no_charset(body: bytes) -> None:
    decoded = decode(body, "utf-8")
    assert decoded is None or decoded.is_mojibake


# Python's codec to write with, the right label on the web, the name of the charset.
WRITTEN = [
    ("utf-8", "UTF-8", "utf-8"),
    ("cp932", "Shift_JIS", "cp932"),
    ("euc_jp", "EUC-JP", "euc_jp"),
    ("iso2022_jp", "ISO-2022-JP", "iso2022_jp"),
    ("utf-16", "UTF-16", "utf-16"),
    ("utf-16-le", "UTF-16LE", "utf-16"),
    ("utf-16-be", "UTF-16BE", "utf-16"),
]
LABELS = ["right", None, "utf-8", "shift_jis", "euc-jp", "iso-8859-1", "gb2312", "unicode_escape", "utf-7", "hex", "\0"]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(("codec", "right", "name"), WRITTEN)
def test_a_whole_page_is_read_without_loss_under_any_label(
    codec: str, right: str, name: str, label: str | None
) -> None:
    decoded = decode(PAGE.encode(codec), right if label == "right" else label)
    assert decoded == Decoded(PAGE, name)


@pytest.mark.parametrize("label", ["right", None, "iso-8859-1"])
@pytest.mark.parametrize(("codec", "right", "name"), WRITTEN)
def test_broken_bytes_cost_the_characters_they_are_in(codec: str, right: str, name: str, label: str | None) -> None:
    body = bytearray(PAGE.encode(codec))
    start = len(body) // 2 + len(body) // 2 % 2
    broken = {"utf-16": b"\x00\xdc", "utf-16-le": b"\x00\xdc", "utf-16-be": b"\xdc\x00"}.get(codec, b"\xff\xff")
    if codec != "iso2022_jp":  # whose bytes are ASCII: with others it is not
        body[start : start + 2] = broken
        decoded = decode(bytes(body), right if label == "right" else label)
        assert decoded is not None
        assert (decoded.charset, decoded.is_mojibake) == (name, False)
        assert 1 <= decoded.num_replaced <= 3
        assert decoded.text.count("\ufffd") == decoded.num_replaced
        assert decoded.text[:200] == PAGE[:200]
        assert decoded.text[-200:] == PAGE[-200:]


@pytest.mark.parametrize(("codec", "right", "name"), WRITTEN)
def test_a_page_cut_off_in_a_character_loses_that_character(codec: str, right: str, name: str) -> None:
    whole = PAGE.encode(codec)
    end = len(PAGE[: PAGE.rindex("。")].encode(codec)) - (3 if codec == "iso2022_jp" else 0)
    decoded = decode(whole[: end + 1], right)
    assert decoded is not None
    assert (decoded.charset, decoded.is_mojibake) == (name, False)
    assert decoded.text.rstrip("\ufffd") == PAGE[: PAGE.rindex("。")]
    assert decoded.num_replaced == len(decoded.text) - PAGE.rindex("。") <= 1


def test_u_fffd_of_the_page_itself_is_not_counted() -> None:
    decoded = decode((PAGE + "\ufffd" * 3).encode() + b"\xe3", "utf-8")
    assert decoded is not None
    assert (decoded.num_replaced, decoded.text.count("\ufffd")) == (1, 4)


VENDOR = "①月②日 ㈱雲雀 髙橋さんの﨑 №㌢Ⅳ " + JAPANESE


@pytest.mark.parametrize("charset", ["euc_jp", "iso2022_jp"])
def test_vendor_characters_in_the_other_japanese_encodings(charset: str) -> None:
    """As browsers read them: rows 13 and 89 to 92 of JIS X 0208, which Python knows under cp932 only."""
    decoded = decode(in_jis_rows(VENDOR, charset), None)
    assert decoded == Decoded(VENDOR, charset)


def in_jis_rows(text: str, charset: str) -> bytes:
    """A text in EUC-JP or ISO-2022-JP with the rows of cp932."""
    written = bytearray()
    for character in text:
        encoded = character.encode("cp932")
        if len(encoded) == 1:
            written += encoded if charset == "euc_jp" else b"\x1b(B" + encoded
            continue
        lead, trail = encoded
        if lead >= 0xFA:  # IBM's extensions, which NEC placed in rows 89 to 92 as well
            lead, trail = next(pair for pair in NEC_PAIRS if bytes(pair).decode("cp932", "ignore") == character)
        row = (lead - (0x81 if lead < 0xA0 else 0xC1)) * 2 + 0x21
        cell = trail - 0x1F - (trail > 0x7F) if trail < 0x9F else trail - 0x7E
        row += trail >= 0x9F
        written += bytes([row | 0x80, cell | 0x80]) if charset == "euc_jp" else b"\x1b$B" + bytes([row, cell])
    return bytes(written)


NEC_PAIRS = [(lead, trail) for lead in (0xED, 0xEE) for trail in range(0x40, 0xFD) if trail != 0x7F]


def test_half_width_kana_of_iso_2022_jp() -> None:
    page = "ﾊﾝｶｸのカナ。" + JAPANESE
    body = b"\x1b(I" + bytes([0x4A, 0x5D, 0x36, 0x38]) + page[4:].encode("iso2022_jp")
    assert decode(body) == Decoded(page, "iso2022_jp")


@pytest.mark.parametrize(
    ("codec", "label", "name"),
    [
        ("shift_jis_2004", "Shift_JIS-2004", "shift_jis_2004"),
        ("euc_jis_2004", "EUC-JIS-2004", "euc_jis_2004"),
        ("iso2022_jp_2004", None, "iso2022_jp"),
    ],
)
def test_characters_of_jis_x_0213(codec: str, label: str | None, name: str) -> None:
    page = "俱𠀋繫鷗外 " + JAPANESE
    assert decode(page.encode(codec), label) == Decoded(page, name)


@pytest.mark.parametrize("charset", ["latin-1", "cp1252"])
def test_utf8_that_was_encoded_twice_is_undone(charset: str) -> None:
    page = html(*PARAGRAPHS, title="Übersicht – 春の記録")
    again = "".join(bytes([byte]).decode(charset, "ignore") or chr(byte) for byte in page.encode())
    assert decode(again.encode(), "utf-8") == Decoded(page, TWICE)
    mixed = again + "春になった。" + again
    assert decode(mixed.encode(), "utf-8") == Decoded(page + "春になった。" + page, TWICE)


@pytest.mark.parametrize(
    ("wrong", "written"),
    [("cp932", "euc_jp"), ("iso8859-5", "utf-8"), ("koi8-r", "utf-8"), ("latin-1", "cp932"), ("latin-1", "euc_jp")],
)
def test_text_of_a_wrong_charset_is_mojibake(wrong: str, written: str) -> None:
    """Where someone before us read the bytes under a wrong label and wrote UTF-8: nothing brings the text back."""
    text = JAPANESE.encode(written).decode(wrong, "replace")
    decoded = decode(("<meta charset=utf-8>" + text).encode(), "utf-8")
    assert decoded is not None
    assert decoded.is_mojibake == (wrong not in ("koi8-r",) and (wrong, written) != ("latin-1", "euc_jp"))


@pytest.mark.parametrize(
    "text",
    [
        JAPANESE,
        "ｹｰﾀｲのﾍﾟｰｼﾞでは、半角のｶﾅがよく使われた。" + PARAGRAPHS[0],
        "Ein Übungsbuch für große und kleine Vögel. " * 9,
        "São João, a tradição da região e a maçã. " * 9,
        "Ça coûte très cher à l’été, « n’est-ce pas ? » " * 9,
        "Обычный русский текст о птицах и полях. " * 9,
        "\ue001\ue002 " + JAPANESE,
        "plain words",
    ],
)
def test_ordinary_text_is_no_mojibake(text: str) -> None:
    assert decode(text.encode(), None) == Decoded(text, "ascii" if text.isascii() else "utf-8")


def test_many_broken_bytes_are_mojibake() -> None:
    body = bytearray(JAPANESE.encode())
    body[::40] = b"\xff" * len(body[::40])
    decoded = decode(bytes(body), "utf-8")
    assert decoded is not None
    assert decoded.is_mojibake

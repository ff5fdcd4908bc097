"""Breaks when a lying, missing or odd charset label turns Japanese into mojibake or loses the page."""

from __future__ import annotations

import pytest

from tasks.curate.charset import decode
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


def test_noise_has_no_charset() -> None:
    assert decode(bytes(range(128, 256)) * 50 + b"\x81\xff\x9f\xfd" * 50, "utf-8") is None

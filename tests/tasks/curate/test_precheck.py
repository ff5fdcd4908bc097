"""Breaks when a Japanese page, however encoded, is refused unread, or other languages are let through."""

from __future__ import annotations

import pytest

from tasks.curate.precheck import looks_japanese
from tests.tasks.curate.warc_files import ENGLISH, PARAGRAPHS, html

PAGE = html(*PARAGRAPHS, lang="", charset=None)


@pytest.mark.parametrize("charset", ["utf-8", "cp932", "euc_jp", "iso2022_jp", "utf-16", "utf-8-sig"])
def test_japanese_is_seen_in_every_encoding_without_any_label(charset: str) -> None:
    assert looks_japanese(PAGE.encode(charset))


def test_one_sentence_is_enough() -> None:
    sentence = "雲雀は春になると麦畑の上を舞い上がる。"
    for charset in ("utf-8", "cp932", "euc_jp"):
        assert looks_japanese(f"<p>{ENGLISH * 20}</p><p>{sentence}</p>".encode(charset))


@pytest.mark.parametrize("form", ["&#{:d};", "&#x{:x};", "&#x{:X};"])
def test_japanese_in_character_references(form: str) -> None:
    written = "".join(form.format(ord(character)) for character in "雲雀がたかく舞いあがる空のうえ")
    assert looks_japanese(f"<p>{written}</p>".encode())


@pytest.mark.parametrize(
    "head",
    [
        "<html lang=ja>",
        "<HTML xml:lang='ja-JP' dir=ltr LANG = 'ja-JP'>",
        '<meta charset="Shift_JIS">',
        '<meta http-equiv="Content-Type" content="text/html; charset=x-sjis">',
        '<?xml version="1.0" encoding="EUC-JP"?>',
    ],
)
def test_a_declaration_is_enough(head: str) -> None:
    assert looks_japanese(f"{head}<body>menu</body>".encode())


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        (ENGLISH * 50, "utf-8"),
        ("今天天气很好，我们去公园散步，然后回家吃晚饭。" * 50, "utf-8"),
        ("오늘은 날씨가 좋아서 공원에 산책하러 갑니다." * 50, "utf-8"),
        ("Русские ттт буквы, оттто и оттепель. " * 100, "utf-8"),
        ("Où est l'été? À la mer, évidemment, où l'eau est déjà tiède. " * 50, "latin-1"),
        ("Сегодня хорошая погода, и мы идём гулять в парк. " * 50, "windows-1251"),
        ("<html lang=jav>" + ENGLISH, "utf-8"),
    ],
)
def test_other_languages_are_refused(text: str, charset: str) -> None:
    assert not looks_japanese(text.encode(charset))

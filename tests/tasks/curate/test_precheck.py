"""Breaks when a Japanese page, however encoded, is refused unread, or other languages are let through."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tasks.curate.charset import decode
from tasks.curate.extract import tidy
from tasks.curate.extraction import load_extractor
from tasks.curate.language import script_score
from tasks.curate.precheck import declares_japanese, looks_japanese
from tasks.curate.warc import WarcReader
from tests.tasks.curate.warc_files import ENGLISH, PARAGRAPHS, html

PAGE = html(*PARAGRAPHS, lang="", charset=None)
CHINESE = "今天天气很好，我们去公园散步，然后回家吃晚饭。"
CHARSETS = ["utf-8", "cp932", "euc_jp", "iso2022_jp", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"]


@pytest.mark.parametrize("charset", CHARSETS)
def test_japanese_is_seen_in_every_encoding_without_any_label(charset: str) -> None:
    assert looks_japanese(PAGE.encode(charset))


@pytest.mark.parametrize("charset", ["latin-1", "cp1252"])
def test_japanese_is_seen_when_it_was_encoded_twice(charset: str) -> None:
    taken_for_latin = "".join(bytes([byte]).decode(charset, "ignore") or chr(byte) for byte in PAGE.encode())
    assert looks_japanese(taken_for_latin.encode())


def test_a_short_page_of_one_sentence_is_enough() -> None:
    sentence = "雲雀は春になると麦畑の上を舞い上がる。"
    for charset in ("utf-8", "cp932", "euc_jp"):
        assert looks_japanese(f"<p>{sentence}</p>".encode(charset))


@pytest.mark.parametrize("charset", ["utf-8", "cp932", "euc_jp"])
def test_a_mixed_page_is_let_through_for_its_japanese(charset: str) -> None:
    assert looks_japanese(f"<p>{ENGLISH * 20}</p><p>{PARAGRAPHS[0]}{PARAGRAPHS[1]}</p>".encode(charset))


def test_a_japanese_menu_around_another_language_is_not() -> None:
    menu = "".join(f"<li><a href='/{name}'>{name}</a></li>" for name in ("ホーム", "お知らせ", "つかいかた", "検索"))
    assert not looks_japanese(f"<html lang=ja><ul>{menu}</ul><p>{ENGLISH * 20}</p>".encode())
    assert looks_japanese(f"<html lang=ja><ul>{menu}</ul><p>{PARAGRAPHS[0]}</p>".encode())


def test_scripts_styles_and_tags_do_not_hide_a_short_page() -> None:
    script = f"<script>var text = '{ENGLISH * 20}';</script><STYLE>{ENGLISH * 20}</STYLE>"
    attributes = f"<div data-x='{ENGLISH * 20}'>"
    assert looks_japanese(f"{script}{attributes}<p>{PARAGRAPHS[0]}</p><script>{ENGLISH * 20}".encode())


@pytest.mark.parametrize("form", ["&#{:d};", "&#x{:x};", "&#x{:X};", "&#X{:X};", "&#{:d}"])
def test_japanese_in_character_references(form: str) -> None:
    written = "".join(form.format(ord(character)) for character in "雲雀がたかく舞いあがる空のうえ")
    assert looks_japanese(f"<p>{written}</p>".encode())
    assert not looks_japanese(f"<p>{written[:40]}</p>{ENGLISH}".encode())


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        (ENGLISH * 50, "ascii"),
        (ENGLISH * 50, "utf-16"),
        ("".join(f"&#{number};" for number in [8217, *range(0x4E00, 0x4F00), *range(12300, 12320)]), "ascii"),
        (CHINESE * 50, "utf-8"),
        (CHINESE * 50, "gb18030"),
        ("這座圖書館每個星期都會舉辦朗讀會，孩子們非常喜歡聽老師說故事。" * 50, "big5"),
        ("오늘은 날씨가 좋아서 공원에 산책하러 갑니다." * 50, "utf-8"),
        ("오늘은 날씨가 좋아서 공원에 산책하러 갑니다." * 50, "euc_kr"),
        ("Русские ттт буквы, оттто и оттепель. " * 100, "utf-8"),
        ("Сегодня хорошая погода, и мы идём гулять в парк. " * 50, "cp866"),
        ("Сегодня хорошая погода, и мы идём гулять в парк. " * 50, "windows-1251"),
        ("Où est l'été? À la mer, évidemment, où l'eau est déjà tiède. " * 50, "latin-1"),
        ("Über große Flüsse führen schöne Brücken, ä ö ü ß. " * 50, "utf-8"),
        ("<html lang=ja><meta charset=shift_jis>" + ENGLISH, "utf-8"),
        ("", "ascii"),
        ("\0" * 5000, "ascii"),
        ("\x1b$B", "latin-1"),
    ],
)
def test_other_languages_are_refused(text: str, charset: str) -> None:
    assert looks_japanese(text.encode(charset)) == (text == "\x1b$B")


def scores_kana(title: str) -> float:
    """Stands in for the precise model: above 0 from the first hiragana on."""
    return sum("\u3041" <= character <= "\u3096" for character in title) - 0.5


@pytest.mark.parametrize(
    "page",
    [
        b"<html lang=ja><p>menu",
        b"<HTML dir=ltr LANG = 'ja-JP'>",
        b"<html xml:lang='en'\nlang=\"ja\">",
        "<title>春の記録と</title>".encode(),
        "<TITLE id=t>\n春の記録と\n</TITLE>".encode("shift_jis"),
        "<title>春の記録と黷</title>".encode("euc_jp"),
    ],
)
def test_the_released_pre_check_takes_what_declares_itself(page: bytes) -> None:
    assert declares_japanese(page, scores_kana)


@pytest.mark.parametrize(
    "page",
    [
        PAGE.replace("春の記録", "Spring").encode(),
        b"<html xml:lang='ja'>",
        b"<html><title>Spring</title>",
        b"<title></title>",
        "<title>春の記録とお知らせ</title>".encode("euc_jp"),  # which is Shift_JIS too: half-width kana
        b"<title>\xff\xfe</title>",
        b"",
    ],
)
def test_the_released_pre_check_loses_what_does_not(page: bytes) -> None:
    assert not declares_japanese(page, scores_kana)


@pytest.mark.slow
def test_at_most_one_in_a_hundred_japanese_pages_is_lost(shared_data: Path) -> None:
    """The truth: half of the letters of the extracted main text are Japanese, kana among them."""
    with gzip.open(shared_data / "manifest.jsonl.gz", "rt") as lines:
        languages = {row["url"]: row["lang"] for row in map(json.loads, lines)}
    extract = load_extractor("resiliparse")
    num_japanese = num_lost = 0
    for page in WarcReader(shared_data / "warc" / "CC-LIKE-shared-00000.warc.gz", 8 << 20):
        taken = looks_japanese(page.body)
        assert not taken or languages[page.url or ""] == "ja"
        decoded = decode(page.body, page.http_charset)
        if decoded is not None and page.problem is None:
            is_plain = page.content_type == "text/plain"
            text = tidy(decoded.text if is_plain else extract(decoded.text))
            is_japanese = script_score(text, 0.1) >= 0.5
            num_japanese += is_japanese
            num_lost += is_japanese and not taken
    assert num_japanese > 150
    assert num_lost <= 0.01 * num_japanese

"""Breaks when pages of a dump are lost, mistaken for articles, get another id or URL, or when a dump is a trap."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pytest

from storage.documents import document_id
from storage.source_layout import SourceLayout
from storage.sources import Tally
from tests.storage.source_files import LARK, dump, page, read, texts, write

REDIRECT = '<redirect title="雲雀" />'
CLEANED = """<doc id="5" url="https://ja.example.org/wiki?curid=5" title="雲雀 "&amp;" 燕">
雲雀 "&" 燕

麦畑の&lt;上&gt;で鳴く。R&D と &nosuch; と ?a=1&copy=2 はそのまま。
&#12402;ばり

</doc>
<doc id="6" revid="77" url="https://ja.example.org/wiki?curid=6" title="燕">
燕は題名で始まる文。

</doc>
"""


@pytest.mark.parametrize("name", ["jawiki-pages-articles.xml", "jawiki.xml.bz2", "jawiki.xml.gz"])
def test_a_dump_is_its_articles(tmp_path: Path, name: str) -> None:
    pages = [
        page(5, "雲雀 (鳥)", LARK),
        page(6, "ひばり", "#転送 [[雲雀]]", more=REDIRECT),
        page(7, "ノート:雲雀", "話し合い", namespace=1),
        page(8, "古い転送", " #redirect [[雲雀]]"),
        page(9, "体裁", "body {}", model="css"),
        page(10, "A&amp;B", "'''A&amp;B'''は店。"),
    ]
    data = dump(*pages, first='<?xml version="1.0" encoding="utf-8"?>\n')
    data = {".bz2": bz2.compress, ".gz": gzip.compress}.get(Path(name).suffix, bytes)(data)
    tally = Tally()
    lark, shop = read(write(tmp_path / name, data), tally=tally)
    assert lark["text"] == "雲雀 (鳥)\n\n雲雀（ひばり）は、スズメ目の鳥である。\n\n生態\n\n麦畑で 鳴く。"
    assert lark["url"] == "https://ja.example.org/wiki/%E9%9B%B2%E9%9B%80_(%E9%B3%A5)"
    assert (lark["id"], lark["row"]) == (document_id("web", "5"), 0)
    assert (shop["text"], shop["row"]) == ("A&B\n\nA&Bは店。", 5)
    assert shop["url"] == "https://ja.example.org/wiki/A%26B"
    assert tally == Tally(records=6, not_chosen=4, unreadable=0)


def test_a_multistream_dump_is_one_dump(tmp_path: Path) -> None:
    data = dump(*(page(number, f"雲雀{number}", f"{number}羽の雲雀。") for number in range(50)))
    streams = b"".join(bz2.compress(data[at : at + 700]) for at in range(0, len(data), 700))
    assert texts(write(tmp_path / "a.xml.bz2", streams)) == [f"雲雀{n}\n\n{n}羽の雲雀。" for n in range(50)]


def test_of_several_revisions_the_last_is_read(tmp_path: Path) -> None:
    old = "<revision><id>1</id><text>古い版。</text></revision>"
    assert texts(write(tmp_path / "a.xml", dump(page(5, "雲雀", "新しい版。", more=old)))) == ["雲雀\n\n新しい版。"]


def test_the_number_of_a_page_is_not_that_of_its_revision_or_author(tmp_path: Path) -> None:
    (row,) = read(write(tmp_path / "a.xml", dump(page(5, "雲雀", "鳥。"))))
    assert row["id"] == document_id("web", "5")


@pytest.mark.parametrize(
    ("declaration", "title"),
    [
        ('<!DOCTYPE m [<!ENTITY a "雲"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>', "&b;"),
        ('<!DOCTYPE m [<!ENTITY secret SYSTEM "file:///etc/hostname">]>', "&secret;"),
    ],
)
def test_a_dump_that_declares_entities_is_refused(tmp_path: Path, declaration: str, title: str) -> None:
    file = write(tmp_path / "a.xml", dump(page(5, title, "鳥。"), first=f'<?xml version="1.0"?>{declaration}'))
    with pytest.raises(ValueError, match=r"a\.xml, after page 0: a document type declaration"):
        read(file, SourceLayout(max_bad_record_ratio=0.9))


def test_a_dump_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    whole = dump(page(5, "雲雀", "鳥。"), page(6, "燕", "鳥。"))
    with pytest.raises(ValueError, match=r"a\.xml, after page 2: broken XML .*; fetch the file again"):
        read(write(tmp_path / "a.xml", whole[:-5]))
    with pytest.raises(ValueError, match=r"a\.xml\.bz2, after page \d: broken bzip2"):
        read(write(tmp_path / "a.xml.bz2", bz2.compress(whole)[:-5]))
    with pytest.raises(ValueError, match=r"b\.xml: expected MediaWiki's export .*got b'<html>"):
        read(write(tmp_path / "b.xml", b"<html></html>"))


@pytest.mark.parametrize("name", ["wiki_00", "wiki_00.bz2", "AA.xml.gz"])
def test_cleaned_pages_have_their_title_once_and_only_true_entities_are_replaced(tmp_path: Path, name: str) -> None:
    data = {".bz2": bz2.compress, ".gz": gzip.compress}.get(Path(name).suffix, bytes)(CLEANED.encode())
    lark, swallow = read(write(tmp_path / name, data))
    title, body = lark["text"].split("\n\n")
    assert title == '雲雀 "&" 燕'
    assert body == "麦畑の<上>で鳴く。R&D と &nosuch; と ?a=1&copy=2 はそのまま。\nひばり"
    assert (lark["id"], lark["url"]) == (document_id("web", "5"), "https://ja.example.org/wiki?curid=5")
    assert (swallow["text"], swallow["row"]) == ("燕\n\n燕は題名で始まる文。", 1)
    without = texts(str(tmp_path / name), SourceLayout(layout="wikipedia", title="leave_out"))
    assert without[1] == "燕は題名で始まる文。"


def test_broken_cleaned_pages_are_named_or_counted(tmp_path: Path) -> None:
    unclosed = CLEANED.replace("</doc>\n<doc", "<doc", 1)
    with pytest.raises(ValueError, match=r"wiki_00, page 1: no </doc> before the next"):
        read(write(tmp_path / "wiki_00", unclosed.encode()))
    tally = Tally()
    assert len(read(str(tmp_path / "wiki_00"), SourceLayout(max_bad_record_ratio=0.5), tally)) == 1
    assert (tally.records, tally.unreadable) == (2, 1)
    with pytest.raises(ValueError, match=r"wiki_01, page 2: the file ends before its </doc>"):
        read(write(tmp_path / "wiki_01", CLEANED.encode()[:-8]), SourceLayout(max_bad_record_ratio=0.5))

"""Breaks when markup gets into the text, or text is lost with the markup."""

from __future__ import annotations

import pytest

from storage.wikitext import plain_text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("'''雲雀'''は''鳥''。", "雲雀は鳥。"),
        ("[[麦]]と[[麦畑 (農業)|畑]]と[[#生態|下記]]", "麦と畑と下記"),
        ("[[雲雀 (鳥)|]]と[[:Category:鳥]]", "雲雀とCategory:鳥"),
        ("鳥[[ファイル:Lark.jpg|thumb|[[麦畑]]の雲雀]]。[[Category:鳥|ひばり]][[en:Skylark]]", "鳥。"),
        (
            "{{読み仮名|雲雀|ひばり}}<ruby>燕<rp>(</rp><rt>つばめ</rt></ruby>",
            "雲雀（ひばり）燕（つばめ）",
        ),
        ("{{仮リンク|告天子|zh|云雀}}、{{lang|fr|alouette}}、{{Lang-de|Lerche}}", "告天子、alouette、Lerche"),
        ("雲雀（{{要出典}}、{{lang|en|lark}}）と燕（{{IPA|x}}）", "雲雀（lark）と燕"),
        ("鳥{{Sfn|山田|2001|p=3}}<ref name=a>[[図鑑]]</ref><ref name=a />である。", "鳥である。"),
        ("{| class=wikitable\n! 名\n|-\n| 雲雀 {{a}}\n|}\n表の後。", "表の後。"),
        ("{| 閉じない表\n| 雲雀\n本文。", "本文。"),
        ("面積は<math>a^2</math>、<nowiki>'''</nowiki>は<code>x</code>。", "面積は$a^2$、'''はx。"),
        ("[https://example.org/ 鳥の会]と[https://example.org/]。", "鳥の会と。"),
        ("* 一\n** 二\n# 三\n: 四\n; 五", "一\n二\n三\n四\n五"),
        ("__NOTOC__一<br />二<!-- 注 --> &amp; 三&nbsp;四", "一\n二 & 三 四"),
        ("<gallery>\nA.jpg|雲雀\n</gallery>後<blockquote>引用</blockquote>", "後\n引用"),
        ("閉じない[[雲雀と{{燕", "閉じない雲雀と燕"),
        ("&#xD83D;", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_markup_leaves_what_a_reader_sees(markup: str, text: str) -> None:
    assert plain_text(markup) == text


def test_headings_stay_only_where_text_follows_and_lists_of_sources_go() -> None:
    markup = """始め。
== 生態 ==
=== 食性 ===
虫。
=== 声 ===
{{listen|lark.ogg}}
== 分布 ==
==脚注==
{{Reflist}}
=== 注釈 ===
{{notelist}}
== 文化 ==
歌。

== 外部リンク ==
* [https://example.org/ 鳥の会]
"""
    assert plain_text(markup) == "始め。\n\n生態\n\n食性\n\n虫。\n\n文化\n\n歌。"


def test_markup_nested_without_end_is_parsed() -> None:
    assert "雲雀" in plain_text("{{a|" * 200 + "雲雀" + "}}" * 200 + "[[" * 200 + "雲雀")

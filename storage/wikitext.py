"""Wikitext to the text that a reader sees, as far as a page alone tells.

In: the markup of one page. Out: its headings and paragraphs, a list item a line. mwparserfromhell parses; what each
node leaves is decided here:

- Templates leave nothing, for what they expand to lies on other pages; except those that show an argument: readings
  (`{{読み仮名|雲雀|ひばり}}`: 雲雀（ひばり）), links to other languages, marks of language and font, quotations.
- Links leave their words; files, categories, links between languages and bare external links leave nothing.
- Tables, references, galleries, charts, music, maps and comments leave nothing. Formulas stay as `$...$`, code as it
  is, ruby as 雲雀（ひばり）.
- Sections of notes, references, links and see-also lists go, and headings that nothing follows.
- Brackets that a template left empty go, and commas that it left at a bracket's edge.

    plain_text("'''雲雀'''（ひばり、{{Lang-en-short|lark}}）は[[スズメ目]]の[[鳥類|鳥]]。<ref>図鑑</ref>")
    # 雲雀（ひばり）はスズメ目の鳥。
"""

from __future__ import annotations

import re
from html import unescape

import mwparserfromhell
from mwparserfromhell import nodes
from mwparserfromhell.nodes import Node
from mwparserfromhell.parser import ParserError
from mwparserfromhell.wikicode import Wikicode

# Templates of the Japanese and the English Wikipedia, in lower case: those that show their first argument, or second.
_SHOW_FIRST = {
    *(
        "仮リンク",
        "日本語版にない記事リンク",
        "ill2",
        "要出典範囲",
        "補助漢字フォント",
        "jis2004フォント",
        "jis90フォント",
    ),
    *("nowrap", "big", "small", "sub", "sup", "mvar", "math", "var", "vertical", "強調", "傍点", "fontsize"),
    *("quotation", "quote", "cquote", "blockquote"),
}
_SHOW_SECOND = {"lang", "llang", "transl", "color", "font color"}
_SHOW_READING = {
    "読み仮名",
    "読み仮名 ruby不使用",
    "ruby",
    "ふりがな",
    "振り仮名",
}  # the first, and the second in brackets
_LANGUAGE = re.compile(r"lang-[a-z]{2,3}")  # {{lang-en|lark}}
_NO_TEXT = {
    *("ref", "references", "table", "gallery", "imagemap", "timeline", "score", "graph", "hiero", "templatedata"),
    *("categorytree", "inputbox", "section", "templatestyles", "style", "mapframe", "maplink", "rp", "hr"),
}
_VERBATIM = {"nowiki", "pre", "source", "syntaxhighlight"}
_BLOCKS = {"p", "div", "center", "blockquote", "poem"}
_FILE_OR_CATEGORY = re.compile(r"\s*(file|image|media|category|ファイル|画像|メディア|カテゴリ)\s*:", re.IGNORECASE)
_OTHER_LANGUAGE = re.compile(r"\s*([a-z]{2,3}(-[a-z-]+)?|simple):\S.*")
_SECTIONS_LEFT_OUT = {
    *(
        "脚注",
        "注釈",
        "注",
        "注記",
        "出典",
        "参照",
        "参考文献",
        "参考資料",
        "関連文献",
        "関連書籍",
        "関連項目",
        "外部リンク",
    ),
    *("関連リンク", "脚注・出典", "注釈・出典", "注釈と出典", "出典・脚注", "脚注・参考文献", "脚注と参考文献"),
    *("references", "notes", "footnotes", "sources", "bibliography", "further reading", "see also", "external links"),
}
_HEADING = "\0"  # no text can hold it; then the level, then the title
_MAGIC_WORD = re.compile(r"__[A-Z]+__|__(目次|目次強制|目次非表示|節編集非表示|索引|索引拒否)__")
_STYLE = re.compile(r"'{2,5}")
_LEFT_EMPTY = re.compile(r"（[\s、,;；:：/・]*）|\([\s,;:/]*\)|「」|『』")
_COMMA_BEFORE = re.compile(r"([（(])[\s、,;；]+")
_COMMA_AFTER = re.compile(r"[\s、,;；]+([）)])")
_NOT_CLOSED = re.compile(r"^[ \t]*(\{\||\|).*$|\[\[|\]\]|\{\{|\}\}", re.MULTILINE)  # of tables, links and templates
_SPACES = re.compile(r"[ \t\xa0]+")
_EMPTY_LINES = re.compile(r"\n{3,}")


class MarkupError(ValueError):
    """Markup that cannot be parsed."""


def plain_text(markup: str) -> str:
    """The text of a page.

    Raises:
        MarkupError: mwparserfromhell cannot parse it.
    """
    try:
        text = _text(mwparserfromhell.parse(markup, skip_style_tags=True))
    except ParserError as error:
        raise MarkupError(f"wikitext that cannot be parsed ({error})") from error
    text = _NOT_CLOSED.sub("", _MAGIC_WORD.sub("", text))
    while (shorter := _LEFT_EMPTY.sub("", text)) != text:
        text = shorter
    text = _COMMA_AFTER.sub(r"\1", _COMMA_BEFORE.sub(r"\1", text))
    lines = [_SPACES.sub(" ", line).strip() for line in text.split("\n")]
    return _EMPTY_LINES.sub("\n\n", "\n".join(_sections(lines))).strip()


def _text(code: Wikicode | None) -> str:
    return "".join(_node_text(node) for node in code.nodes) if code is not None else ""


def _node_text(node: Node) -> str:
    match node:
        case nodes.Text():
            return _STYLE.sub("", str(node.value))
        case nodes.Wikilink():
            return _link_text(node)
        case nodes.Template():
            return _template_text(node)
        case nodes.Tag():
            return _tag_text(node)
        case nodes.ExternalLink():
            return _text(node.title) if node.brackets else str(node.url)
        case nodes.Heading():
            return f"\n\n{_HEADING}{node.level}{_text(node.title).strip()}\n\n"
        case nodes.HTMLEntity():
            return unescape(str(node))  # its own `normalize` makes halves of surrogate pairs
        case _:
            return ""  # comments, and arguments of a template's own page


def _link_text(link: nodes.Wikilink) -> str:
    title = str(link.title)
    if _FILE_OR_CATEGORY.match(title):
        return ""
    if words := _text(link.text).strip():
        return words
    if _OTHER_LANGUAGE.fullmatch(title):
        return ""
    title = title.strip().removeprefix(":")
    return title if link.text is None else re.sub(r"\s*[(（].*[)）]$", "", title)  # [[雲雀 (鳥)|]] shows 雲雀


def _template_text(template: nodes.Template) -> str:
    name = str(template.name).strip().lower().replace("_", " ")
    first, second = (_argument(template, place) for place in ("1", "2"))
    if name in _SHOW_READING:
        return f"{first}（{second}）" if second else first
    if name in _SHOW_FIRST or _LANGUAGE.fullmatch(name):
        return first
    return second if name in _SHOW_SECOND else ""


def _argument(template: nodes.Template, place: str) -> str:
    return _text(template.get(place).value).strip() if template.has(place) else ""


def _tag_text(tag: nodes.Tag) -> str:
    name = str(tag.tag).strip().lower()
    if name == "br":
        return "\n"
    if name in _NO_TEXT:
        return ""
    if name in _VERBATIM:
        return unescape(str(tag.contents or ""))
    if name in ("math", "ce", "chem"):
        return f"${str(tag.contents or '').strip()}$"
    inside = _text(tag.contents)
    if name == "rt":
        return f"（{inside}）"
    return f"\n{inside}\n" if name in _BLOCKS else inside


def _sections(lines: list[str]) -> list[str]:
    """The lines without those of sections left out, headings that nothing follows, and the marks of headings."""
    kept: list[str] = []
    out_at: int | None = None  # level of the section being left out
    for line in lines:
        if line.startswith(_HEADING):
            level = int(line[1])
            if out_at is None or level <= out_at:
                out_at = level if line[2:].strip().lower() in _SECTIONS_LEFT_OUT else None
        if out_at is None:
            kept.append(line)
    result: list[str] = []
    below = 0  # level of the heading that comes next without text before it; 0 for none, 7 for text
    for line in reversed(kept):
        if line.startswith(_HEADING):
            level = int(line[1])
            if below <= level:
                continue
            below, line = level, line[2:]
        elif line:
            below = 7
        result.append(line)
    return result[::-1]

"""Wikipedia as it is published in XML: MediaWiki's own export, and the cleaned files of WikiExtractor.

In: `pages-articles.xml` (plain, `.bz2`, also multistream), or files of `<doc id= url= title=>` ... `</doc>`, or the
JSON lines that WikiExtractor writes on request; which, the first bytes tell. Out: records of `id` (the page's number,
the same in all of them), `url`, `title` and `text`.

The export is read with expat as it streams by, one page in memory. A document type declaration, which entities would
need to be declared in, is refused: an export has none. Pages outside namespace 0, redirects and content that is no
wikitext are no articles. An article's text is its last revision without markup (`storage.wikitext`), its URL that of
the wiki (`<base>`) with the title as MediaWiki writes it.

    for row, record in wiki_records(dump, "jawiki-latest-pages-articles.xml.bz2", refuse): ...
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from typing import Any
from urllib.parse import quote
from xml.parsers import expat

from storage.compressed import TornFileError, read_blocks, read_lines
from storage.source_records import Record, Refuse, json_records
from storage.wikitext import MarkupError, plain_text

# WikiExtractor does not escape quotes in a title, so the title goes on to the last one of the line.
_DOC = re.compile(r'<doc id="(?P<id>[^"]*)"(?: revid="[^"]*")? url="(?P<url>[^"]*)" title="(?P<title>.*)">\s*')
_ENTITY = re.compile(r"&(#\d+|#[xX][0-9a-fA-F]+|\w+);")
_REDIRECT = re.compile(r"\s*#\s*(redirect|転送)", re.IGNORECASE)  # exports before 2010 have no <redirect>
_KEPT = {"siteinfo/base", "page/title", "page/ns", "page/id", "page/redirect", "revision/model", "revision/text"}
_URL_KEEPS = ";@$!*(),/~:"  # what MediaWiki's wfUrlencode does not escape


def wiki_records(uri: str, name: str, refuse: Refuse) -> Iterator[tuple[int, Record | None]]:
    """The pages of a file: (number from 0, record), the record None for a page that is no article.

    Args:
        name: of the file; it says how it is compressed.

    Raises:
        FileNotFoundError: nothing at `uri`.
        ValueError: neither of the formats, broken XML, or a compressed file that is damaged or cut off.
    """
    try:
        first = next(read_blocks(uri, name), b"").removeprefix(b"\xef\xbb\xbf").lstrip()
    except TornFileError as error:
        raise TornFileError(f"{uri}: {error}") from error
    if first.startswith((b"<mediawiki", b"<?xml")):
        return _exported(uri, read_blocks(uri, name), refuse)
    if first.startswith(b"<doc "):
        return _cleaned(uri, name, refuse)
    if first.startswith(b"{"):
        return json_records(uri, name, refuse)
    raise ValueError(
        f"{uri}: expected MediaWiki's export (<mediawiki ...>) or WikiExtractor's files (<doc ...> or JSON lines), got "
        f"{first[:40]!r}"
    )


def _exported(uri: str, blocks: Iterator[bytes], refuse: Refuse) -> Iterator[tuple[int, Record | None]]:
    export = _Export()
    number = 0
    try:
        for block in blocks:
            for page in export.pages(block):
                if _is_article(page):
                    try:
                        yield number, _record(page, export.base)
                    except MarkupError as error:
                        refuse(number, str(error))
                else:
                    yield number, None
                number += 1
        export.end()
    except expat.ExpatError as error:
        raise ValueError(f"{uri}, after page {number}: broken XML ({error}); fetch the file again") from error
    except (TornFileError, _DeclarationError) as error:
        raise ValueError(f"{uri}, after page {number}: {error}") from error


class _DeclarationError(ValueError):
    """A document type declaration, which could declare entities that expand without end."""


class _Export:
    """MediaWiki's export as it streams by.

    Attributes:
        base: address of the wiki's main page.
    """

    def __init__(self) -> None:
        self.base = ""
        self._pages: list[dict[str, str]] = []  # whole ones that were not handed out yet
        self._page: dict[str, str] = {}
        self._path: list[str] = []  # of the open elements
        self._value: list[str] | None = None  # of the innermost one, where it is kept
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._refuse_declaration

    def pages(self, block: bytes) -> list[dict[str, str]]:
        """The pages that end in this block: element -> what it holds, of the last revision where there are several."""
        self._parser.Parse(block, False)
        whole, self._pages = self._pages, []
        return whole

    def end(self) -> None:
        """The file has ended; raises ExpatError where the document has not."""
        self._parser.Parse(b"", True)

    def _start(self, name: str, _: Mapping[str, str]) -> None:
        self._path.append(name)
        if name == "page":
            self._page = {}
        self._value = [] if "/".join(self._path[-2:]) in _KEPT else None

    def _characters(self, data: str) -> None:
        if self._value is not None:
            self._value.append(data)

    def _end(self, name: str) -> None:
        if self._value is not None:
            self._page[name] = "".join(self._value)
            self._value = None
        self._path.pop()
        if name == "base":
            self.base = self._page["base"]
        if name == "page":
            self._pages.append(self._page)

    def _refuse_declaration(self, *_: Any) -> None:
        raise _DeclarationError("a document type declaration, which an export of MediaWiki has none of")


def _is_article(page: Mapping[str, str]) -> bool:
    is_wikitext = page.get("model", "wikitext") == "wikitext"
    is_redirect = "redirect" in page or _REDIRECT.match(page.get("text", ""))
    return page.get("ns") == "0" and is_wikitext and not is_redirect


def _record(page: Mapping[str, str], base: str) -> Record:
    title = page.get("title", "")
    address = quote(title.replace(" ", "_"), safe=_URL_KEEPS)
    url = f"{base.rsplit('/', 1)[0]}/{address}" if base else None
    return {"id": page.get("id"), "url": url, "title": title, "text": plain_text(page.get("text", ""))}


def _cleaned(uri: str, name: str, refuse: Refuse) -> Iterator[tuple[int, Record]]:
    """The pages of WikiExtractor's files: a line `<doc ...>`, the title, an empty line, the text, a line `</doc>`."""
    number = 0
    lines: list[bytes] = []  # of the page that is open
    for _, line in read_lines(uri, name):
        begins = line.startswith(b"<doc ")
        if begins and lines:
            refuse(number, "no </doc> before the next <doc ...>")
            number, lines = number + 1, []
        if lines or begins:
            lines.append(line)
        elif line.strip():
            refuse(number, f"expected <doc ...>, got {line[:40]!r}")
        if line.strip() == b"</doc>" and lines:
            try:
                yield number, _cleaned_record(lines)
            except ValueError as error:
                refuse(number, str(error))
            number, lines = number + 1, []
    if lines:
        raise TornFileError(f"{uri}, page {number + 1}: the file ends before its </doc>; fetch it again")


def _cleaned_record(lines: Sequence[bytes]) -> Record:
    header, *body = b"\n".join(lines[:-1]).decode().split("\n")
    if not (found := _DOC.fullmatch(header)):
        raise ValueError(f'expected <doc id="..." url="..." title="...">, got {header[:80]}')
    title = _unescaped(found["title"])
    text = [_unescaped(line).rstrip() for line in body]
    if text and text[0] == title:
        del text[0]
    return {"id": found["id"], "url": _unescaped(found["url"]), "title": title, "text": "\n".join(text).strip()}


def _unescaped(text: str) -> str:
    """The characters that entities stand for; what has no semicolon is no entity (`?a=1&copy=2`)."""
    return _ENTITY.sub(lambda found: unescape(found[0]), text)

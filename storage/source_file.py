"""One file of a source, read as documents: which records are chosen, what is their text, their id and their URL.

In: a file and the `SourceLayout` of its source. Out: its documents in their order; `Tally` says what became of every
other record.

    for document in SourceFile("en.jsonl.gz", "web-en", SourceLayout(), Tally()).documents(): ...
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from storage.documents import document_id
from storage.parallel_text import render_pairs
from storage.source_layout import PILE_SET, SIDES, SourceLayout, file_format, file_name
from storage.source_records import Record, field_at, json_records, parquet_records, tsv_records
from storage.stretches import Stretch

logger = logging.getLogger(__name__)

_REFUSALS_LOGGED = 5
_PLACES = {"jsonl": "line", "tsv": "line", "parquet": "row", "wiki": "page"}


@dataclass
class Tally:
    """What became of the records of files: documents = records - not_chosen - unreadable (pairs, of parallel text).

    Attributes:
        not_chosen: records whose fields have other values than asked for; of a Wikipedia dump also pages that are no
            articles (other namespaces, redirects, other content than wikitext); pairs with an empty side.
    """

    records: int = 0
    not_chosen: int = 0
    unreadable: int = 0


class Document(NamedTuple):
    """A document and the place from 0 of its record in the file: line, row or page; of several, the first's."""

    id: bytes
    url: str | None
    text: str
    row: int


class SourceFile:
    """One file of a source.

    Attributes:
        name: of the file, without its folder.
        has_ids: whether all documents read so far had ids of their own.
    """

    def __init__(
        self,
        uri: str,
        source: str,
        layout: SourceLayout,
        tally: Tally,
        *,
        with_urls: bool = True,
        stretch: Stretch | None = None,
    ) -> None:
        self.uri = uri
        self.name = file_name(uri)
        self.has_ids = True
        self._source = source
        self._layout = layout
        self._text_fields = layout.text_fields
        self._format = file_format(uri, layout.layout)
        self._tally = tally
        self._stretch = stretch
        self._url_field = (layout.url_field or "url") if with_urls else None
        self._records = self._unreadable = 0  # of this file alone

    def documents(self) -> Iterator[Document]:
        """Every document of the file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged or cut off, or more of its records than allowed cannot be read.
        """
        yield from self._pairs() if self._is_parallel else self._texts()
        if self._unreadable > self._layout.max_bad_record_ratio * self._records:
            raise ValueError(
                f"{self.uri}: {self._unreadable} of {self._records} records cannot be read, more than "
                f"max_bad_record_ratio {self._layout.max_bad_record_ratio:g} allows; the log names the first of them"
            )

    @property
    def _is_parallel(self) -> bool:
        return self._layout.layout == "parallel" or self._format == "tsv"

    @property
    def _is_wikipedia(self) -> bool:
        return self._layout.layout == "wikipedia" or self._format == "wiki"

    def _texts(self) -> Iterator[Document]:
        for row, record in self._chosen():
            text = self._text(row, record)
            if text is not None and (id := self._id(row, record)) is not None:
                yield Document(id, self._url(row, record), text, row)

    def _pairs(self) -> Iterator[Document]:
        """Documents of so many pairs each, the last of what is left; each is named by its first pair."""
        waiting: list[tuple[str, str]] = []
        first: tuple[int, bytes, str | None] | None = None
        for row, record in self._chosen():
            sides = [field_at(record, self._layout.fields[side]) for side in SIDES]
            if not all(isinstance(side, str) for side in sides):
                wanted = ", ".join(f'"{self._layout.fields[side]}": string' for side in SIDES)
                self._refuse(row, f"expected {{{wanted}}}, got {_told(record)}")
                continue
            ja, en = (side.strip() for side in sides)
            if not ja or not en:
                self._tally.not_chosen += 1
                continue
            if (id := self._id(row, record)) is None:
                continue
            first = first or (row, id, self._url(row, record))
            waiting.append((ja, en))
            if len(waiting) == self._layout.pairs_per_document:
                yield self._pairs_document(first, waiting)
                waiting, first = [], None
        if first is not None:
            yield self._pairs_document(first, waiting)

    def _pairs_document(self, first: tuple[int, bytes, str | None], pairs: list[tuple[str, str]]) -> Document:
        row, id, url = first
        return Document(id, url, render_pairs(pairs, id, self._layout.template), row)

    def _chosen(self) -> Iterator[tuple[int, Record]]:
        """The records whose fields have the values asked for."""
        where = [(path, frozenset(values)) for path, values in self._layout.where.items()]
        for row, record in self._all():
            self._count()
            if record is None or any(field_at(record, path) not in values for path, values in where):
                self._tally.not_chosen += 1
            else:
                yield row, record

    def _all(self) -> Iterator[tuple[int, Record | None]]:
        """Every record that can be read; None for a page of a dump that is no article."""
        if self._format == "wiki":
            from storage.wikipedia import wiki_records  # parses markup, which no other format needs

            return wiki_records(self.uri, self.name, self._refuse_unparsed)
        if self._format == "jsonl":
            return json_records(self.uri, self.name, self._refuse_unparsed, self._stretch)
        layout = self._layout
        sides = [layout.fields[side] for side in SIDES]
        named = [*layout.where, *(field for field in (layout.id_field, layout.url_field) if field)]
        if self._format == "tsv":
            return tsv_records(self.uri, self.name, [*sides, *named], self._refuse_unparsed)
        required: list[Sequence[str]] = [[side] for side in sides] if self._is_parallel else [self._text_fields]
        if self._is_wikipedia and layout.title == "first_line":
            named.append("title")
        if layout.layout == "pile":
            named.append(PILE_SET)
        required += [[field] for field in named]
        optional = ["id"] if self._url_field is None else ["id", self._url_field]
        return parquet_records(self.uri, required, optional, self._refuse_unparsed, self._stretch)

    def _text(self, row: int, record: Record) -> str | None:
        fields = self._text_fields
        text = field_at(record, fields[0])
        if text is None and len(fields) > 1:
            text = field_at(record, fields[1])
        if not isinstance(text, str):
            self._refuse(row, f"expected {_expected(*fields)}, got {_told(record)}")
            return None
        if self._layout.layout == "pile" and not isinstance(field_at(record, PILE_SET), str):
            self._refuse(row, f"expected a `{PILE_SET}`, got {_told(record)}; is it of the Pile?")
            return None
        if self._is_wikipedia and self._layout.title == "first_line":
            title = field_at(record, "title")
            if not isinstance(title, str):
                self._refuse(row, f"expected a `title`, got {_told(record)}; or set `title: leave_out`")
                return None
            return f"{title}\n\n{text}" if text.strip() else ""
        return text

    def _id(self, row: int, record: Record) -> bytes | None:
        key: Any = field_at(record, self._layout.id_field or "id")
        if isinstance(key, bytes):
            key = key.hex()
        if key is None and self._layout.id_field:
            self._refuse(row, f"expected an id at `{self._layout.id_field}`, got {_told(record)}")
            return None
        if key is None:
            self.has_ids = False
            key = f"{self.name}:{row + 1}"
        if not isinstance(key, str) and (isinstance(key, bool) or not isinstance(key, int)):
            expected = _expected(*self._text_fields)
            self._refuse(row, f"expected {expected}, got an id of type {type(key).__name__}")
            return None
        return document_id(self._source, key)

    def _url(self, row: int, record: Record) -> str | None:
        if self._url_field is None:
            return None
        url = field_at(record, self._url_field)
        if url is not None and not isinstance(url, str):
            # Never counted: a document without its URL would outlive the takedown of that URL.
            raise ValueError(f"{self._place(row)}: expected a url that is a string, got {type(url).__name__}")
        return url

    def _refuse(self, row: int, problem: str) -> None:
        """Raise or count a record that cannot be read."""
        if not self._layout.max_bad_record_ratio:
            raise ValueError(f"{self._place(row)}: {problem}")
        self._unreadable += 1
        self._tally.unreadable += 1
        if self._unreadable <= _REFUSALS_LOGGED:
            logger.warning("%s: %s", self._place(row), problem)

    def _refuse_unparsed(self, row: int, problem: str) -> None:
        """The same for what did not become a record."""
        self._count()
        self._refuse(row, problem)

    def _count(self) -> None:
        self._records += 1
        self._tally.records += 1

    def _place(self, row: int) -> str:
        return f"{self.uri}, {_PLACES[self._format]} {row + 1}"


def _expected(*fields: str) -> str:
    named = " or ".join(f'"{field}"' for field in fields)
    return f'{{{named}: string, "id": string or whole number (may be left out)}}'


def _told(record: Record) -> str:
    return f"fields {', '.join(record) or 'none'}"

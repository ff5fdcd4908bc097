"""How benchmarks' files become items: rows of JSON lines, JSON, tab-separated lines, XML, Parquet, pairs of text files.

In: paths or URIs, plain or compressed (`.gz`, `.bz2`, `.zst`, `.xz`), and `hf:owner/name[:config][@split]` (`hub`). A
file's name says what it is. Out: `Items`: what is an item, in the order of the files, and for each row that is none
the file, the line and the reason. A row that cannot be read is counted, never fatal; a file that is not there, is
damaged, or holds no item at all, is an error.

    def item(place: Place, row: Record) -> Item:
        return Item(place.id, {"question": text(row, "question")}, text(row, "answer"), text(row, "question"))

    items = read_items(files.items, WHERE, records, item)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from xml.etree import ElementTree

from storage.compressed import compression, read_blocks, read_lines
from storage.source_layout import file_name
from storage.source_records import Record, json_records, parquet_records
from storage.uri import exists, is_web
from tasks.evaluate.benchmark import Item, Items, MissingDataError
from tasks.evaluate.suite.hub import HUB, hub_rows

Row = TypeVar("Row")
_BYTE_ORDER_MARK = "\ufeff"


class NoItemError(ValueError):
    """A row is no item; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where a row stands: its file, and its number there from 1 (of a line, an array's element, a Parquet row)."""

    uri: str
    number: int

    @property
    def id(self) -> str:
        """For items whose file gives them none."""
        return str(self.number)

    def __str__(self) -> str:
        return f"{self.uri if self.uri.startswith(HUB) else file_name(self.uri)}:{self.number}"


Malformed = list[str]
Rows = Callable[[str, Malformed], Iterable[tuple[Place, Row]]]


def read_items(uris: Sequence[str], where: str, rows: Rows[Row], item: Callable[[Place, Row], Item]) -> Items:
    """The items of one or several files.

    Args:
        where: who publishes the files, a sentence for the user who has none.
        rows: (uri, malformed) -> rows; appends what it cannot read to `malformed`.
        item: of a row; raises NoItemError for one that is none. An id used before gets `#2`, `#3` behind it.

    Raises:
        MissingDataError: a file is not there.
        ValueError: one is damaged, of another kind, or without a single item.
    """
    malformed: Malformed = []
    items: list[Item] = []
    seen: dict[str, int] = {}
    for uri in uris:
        before = len(items)
        require(uri, where)
        for place, row in rows(uri, malformed):
            try:
                found = item(place, row)
            except NoItemError as error:
                malformed.append(f"{place}: {error}")
                continue
            seen[found.id] = times = seen.get(found.id, 0) + 1
            items.append(found if times == 1 else replace(found, id=f"{found.id}#{times}"))
        if len(items) == before:
            first = f", the first at {malformed[-1]}" if malformed else ""
            raise ValueError(f"{uri}: no line or row of it is an item{first}. {where}")
    return Items(items, malformed)


def require(uri: str, where: str) -> None:
    """Pass if there is a file at `uri`, or a dataset is named.

    Raises:
        MissingDataError: neither; the message says where to get it.
    """
    if not uri.startswith(HUB) and not is_web(uri) and not exists(uri):
        raise MissingDataError(f"expected a file at {uri}, there is none. {where}")


def text(row: Mapping[str, Any], field: str) -> str:
    """A field that must hold text.

    Raises:
        NoItemError: it does not.
    """
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise NoItemError(f"expected text in `{field}`, got {_told(value)}")
    return value


def texts(row: Mapping[str, Any], field: str, *, at_least: int = 1) -> list[str]:
    """A field that must hold a list of texts.

    Raises:
        NoItemError: it does not, or there are too few.
    """
    value = row.get(field)
    if not isinstance(value, list) or len(value) < at_least or not all(isinstance(each, str) for each in value):
        raise NoItemError(f"expected {at_least} texts or more in `{field}`, got {_told(value)}")
    return value


def whole_number(row: Mapping[str, Any], field: str, *, below: int) -> int:
    """A field that must hold an index: 0 to below `below`; digits in quotes count.

    Raises:
        NoItemError: it does not.
    """
    value = row.get(field)
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < below:
        raise NoItemError(f"expected a whole number from 0 to {below - 1} in `{field}`, got {_told(value)}")
    return number


def records(uri: str, malformed: Malformed) -> Iterator[tuple[Place, Record]]:
    """The records of a file of JSON lines, of a JSON array, of a Parquet file, or of a dataset.

    A JSON document that is an object gives the records of its array `data` or `Data`. A `.json` file may also hold
    JSON lines, as JGLUE's do.

    Raises:
        ValueError: a file of another kind, or a damaged one.
    """
    name = _plain_name(uri)
    if uri.startswith(HUB):
        yield from _placed(uri, enumerate(hub_rows(uri)))
    elif name.endswith(".parquet"):
        yield from _placed(uri, parquet_records(uri, (), None, _refusing(uri, malformed)))
    elif name.endswith((".jsonl", ".ndjson")):
        yield from _json_lines(uri, malformed)
    elif name.endswith(".json"):
        document = _json_or_none(uri)
        yield from _json_lines(uri, malformed) if document is None else _array(uri, document, malformed)
    else:
        raise ValueError(
            f"{uri}: expected a name ending in .jsonl, .json or .parquet (compressed: .gz and so on behind)"
        )


def squad_records(uri: str, malformed: Malformed) -> Iterator[tuple[Place, Record]]:
    """The questions of a file in SQuAD's form, nested (articles, paragraphs, questions) or flat as on the hub.

    Yields records of `id`, `title`, `context`, `question`, `answers` (texts, none for an unanswerable question); the
    place is the question's number.
    """
    number = 0
    for place, row in records(uri, malformed):
        if "paragraphs" not in row:
            answers = row.get("answers")
            yield place, {**row, "answers": answers.get("text") if isinstance(answers, dict) else answers}
            continue
        for paragraph in _objects(place, row, "paragraphs", malformed):
            for question in _objects(place, paragraph, "qas", malformed):
                number += 1
                answers = _objects(place, question, "answers", malformed)
                yield (
                    Place(uri, number),
                    {
                        **question,
                        "title": row.get("title"),
                        "context": paragraph.get("context"),
                        "answers": [answer.get("text") for answer in answers],
                    },
                )


def tsv_rows(uri: str, malformed: Malformed) -> Iterator[tuple[Place, list[str]]]:
    """The cells of each line of a tab-separated file without quoting; empty lines are passed over."""
    for place, line in text_lines(uri, malformed):
        if line.strip():
            yield place, line.split("\t")


def text_lines(uri: str, malformed: Malformed) -> Iterator[tuple[Place, str]]:
    """Every line of a text file, also empty ones, without its end."""
    for number, line in read_lines(uri, file_name(uri)):
        place = Place(uri, number)
        try:
            decoded = line.decode()
        except UnicodeDecodeError as error:
            malformed.append(f"{place}: not UTF-8 ({error})")
            continue
        yield place, (decoded.removeprefix(_BYTE_ORDER_MARK) if number == 1 else decoded).removesuffix("\r")


def xml_elements(uri: str, malformed: Malformed, tag: str) -> Iterator[tuple[Place, ElementTree.Element]]:
    """The elements of this name of an XML file, in their order.

    Raises:
        ValueError: the file is no XML.
    """
    try:
        root = ElementTree.fromstring(_whole(uri))
    except ElementTree.ParseError as error:
        raise ValueError(f"{uri}: expected XML ({error})") from error
    for number, element in enumerate(root.iter(tag), 1):
        yield Place(uri, number), element


def _json_or_none(uri: str) -> Any:
    """A JSON document; None where the file holds several, one a line, or is broken."""
    content = _whole(uri)
    try:
        document = json.loads(content)
    except ValueError:
        return None
    # One object without an array of records is a single JSON line.
    return None if isinstance(document, dict) and not {"data", "Data"} & document.keys() else document


def _array(uri: str, document: Any, malformed: Malformed) -> Iterator[tuple[Place, Record]]:
    rows = document.get("data", document.get("Data")) if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise ValueError(f"{uri}: expected an array of records, or one in `data`, got {_told(rows)}")
    for number, row in enumerate(rows, 1):
        place = Place(uri, number)
        if isinstance(row, dict):
            yield place, row
        else:
            malformed.append(f"{place}: expected an object, got {_told(row)}")


def _json_lines(uri: str, malformed: Malformed) -> Iterator[tuple[Place, Record]]:
    return _placed(uri, json_records(uri, file_name(uri), _refusing(uri, malformed)))


def _placed(uri: str, rows: Iterable[tuple[int, Record]]) -> Iterator[tuple[Place, Record]]:
    """Rows numbered from 0, with their places."""
    for row, record in rows:
        yield Place(uri, row + 1), record


def _refusing(uri: str, malformed: Malformed) -> Callable[[int, str], None]:
    """What the readers of `storage` call with a row, from 0, that is no record, and the reason."""
    return lambda row, problem: malformed.append(f"{Place(uri, row + 1)}: {problem}")


def _objects(place: Place, row: Mapping[str, Any], field: str, malformed: Malformed) -> list[Record]:
    """The objects of an array; what else is there is counted."""
    value = row.get(field)
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return value
    malformed.append(f"{place}: expected an array of objects in `{field}`, got {_told(value)}")
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _plain_name(uri: str) -> str:
    """A file's name without the ending of its compression."""
    name = file_name(uri)
    return name.removesuffix(compression(name))


def _whole(uri: str) -> bytes:
    return b"".join(read_blocks(uri, file_name(uri)))


def _told(value: Any) -> str:
    """A value as messages show it."""
    return (
        "nothing"
        if value is None
        else f"{type(value).__name__} {json.dumps(value, ensure_ascii=False, default=str)[:60]}"
    )

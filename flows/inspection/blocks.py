"""What an inspection shows, before it is a terminal's text or a page: titled sections of a few kinds of blocks.

    Page("demo", [Section("Funnel", [Table(["rule", "dropped"], [["not_html", "12"]], numbers={1})])])

`flows.inspection.terminal` prints it, `tasks/report/inspect.html` makes it a page; both show the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["", "good", "bad", "muted"]
ELLIPSIS = " … "


@dataclass(frozen=True)
class Note:
    """A paragraph."""

    text: str
    tone: Tone = ""
    kind: Literal["note"] = "note"


@dataclass(frozen=True)
class Fields:
    """Names and values, a pair a line; what has no value (None or empty) is left out when shown."""

    rows: Sequence[tuple[str, str | None]]
    kind: Literal["fields"] = "fields"


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes:
        numbers: columns that are numbers, and stand on the right.
        tones: of rows by their number; the others have none.
        groups: row number -> a heading above that row.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    tones: dict[int, Tone] = field(default_factory=dict)
    groups: dict[int, str] = field(default_factory=dict)
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Piece:
    """A stretch of a text; `marked` where it is what a rule objects to, or where two texts differ."""

    text: str
    marked: bool = False


@dataclass(frozen=True)
class Excerpt:
    """A page's own text, or parts of it."""

    pieces: Sequence[Piece]
    kind: Literal["excerpt"] = "excerpt"


@dataclass(frozen=True)
class Beside:
    """Two texts line by line; a line that one of them lacks is empty there."""

    left: str
    right: str
    lines: Sequence[tuple[Sequence[Piece], Sequence[Piece]]]
    kind: Literal["beside"] = "beside"


Block = Note | Fields | Table | Excerpt | Beside


@dataclass(frozen=True)
class Section:
    """Blocks under a title; `inner` is one of several of the same kind, such as a sample."""

    title: str
    blocks: Sequence[Block]
    inner: bool = False


@dataclass(frozen=True)
class Page:
    """All that one command shows; `lead` says what was asked of which run."""

    title: str
    lead: str
    sections: Sequence[Section]


def excerpt(text: str, spans: Iterable[tuple[int, int]] = (), *, around: int = 60, most: int = 1200) -> Excerpt:
    """A text's beginning, or what is around the spans that are to be seen.

    Args:
        spans: half-open character ranges, in any order; they may overlap.
        around: characters shown on both sides of a span.
        most: characters shown in all, about.
    """
    marked = _merge(spans)
    if not marked:
        return Excerpt([Piece(text[:most] + ("…" if len(text) > most else ""))])
    pieces: list[Piece] = []
    shown = 0
    for first, last in _merge([(max(0, start - around), end + around) for start, end in marked]):
        last = min(len(text), last, first + most)
        pieces.append(Piece(ELLIPSIS if first else ""))
        pieces += _cut(text, first, last, marked)
        shown += last - first
        end = last
        if shown >= most:
            break
    pieces.append(Piece(ELLIPSIS if end < len(text) else ""))
    return Excerpt([piece for piece in pieces if piece.text])


def _merge(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _cut(text: str, first: int, last: int, marked: Sequence[tuple[int, int]]) -> list[Piece]:
    """The text from `first` to `last` in pieces, those within the spans marked."""
    pieces, position = [], first
    for start, end in marked:
        start, end = max(start, first), min(end, last)
        if start < end:
            pieces += [Piece(text[position:start]), Piece(text[start:end], marked=True)]
            position = end
    return [*pieces, Piece(text[position:last])]

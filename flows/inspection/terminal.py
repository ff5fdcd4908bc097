"""An inspection in the terminal, by rich.

show(page, Console())
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from flows.inspection.blocks import Beside, Block, Excerpt, Fields, Note, Page, Piece, Table

_STYLES = {"": "", "good": "green", "bad": "red", "muted": "dim"}
# A page's own text must not steer the terminal: controls, and marks that turn the direction of writing.
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_MARKED = "bold black on yellow"


def show(page: Page, console: Console) -> None:
    """Print a page."""
    console.print(_plain(page.title, "bold"), _plain(page.lead, "dim"), sep="\n", soft_wrap=True)
    for section in page.sections:
        console.print()
        console.print(_plain(section.title, "bold" if section.inner else "bold underline"), soft_wrap=True)
        for block in section.blocks:
            console.print(_drawn(block))


def _drawn(block: Block) -> RenderableType:
    match block:
        case Note():
            return _plain(block.text, _STYLES[block.tone])
        case Fields():
            return _fields(block)
        case Table():
            return _table(block)
        case Excerpt():
            return Padding(_text(block.pieces), (0, 0, 0, 2))
        case Beside():
            return _beside(block)


def _fields(block: Fields) -> RenderableType:
    table = RichTable.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in block.rows:
        if value:
            table.add_row(_plain(name), _plain(value))
    return table


def _table(block: Table) -> RenderableType:
    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for number, heading in enumerate(block.headings):
        table.add_column(heading, justify="right" if number in block.numbers else "left", overflow="fold")
    for number, row in enumerate(block.rows):
        if number in block.groups:
            table.add_row(_plain(block.groups[number], "dim italic"))
        table.add_row(*map(_plain, row), style=_STYLES[block.tones.get(number, "")])
    return table


def _beside(block: Beside) -> RenderableType:
    table = RichTable(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    for heading in (block.left, block.right):
        table.add_column(heading, ratio=1, overflow="fold")
    for left, right in block.lines:
        table.add_row(_text(left), _text(right))
    return table


def _text(pieces: Sequence[Piece]) -> Text:
    return Text.assemble(*(_plain(piece.text, _MARKED if piece.marked else "") for piece in pieces))


def _plain(text: str, style: str = "") -> Text:
    """A text that is shown as it is, what would steer the terminal as escapes."""
    return Text(_STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text), style)

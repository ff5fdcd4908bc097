"""Two texts that deduplication called copies: how alike they are, and where they differ.

similarity(text, twin, ngram=5)  # 0.93
beside("this page", text, "its twin", twin)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest

from flows.inspection.blocks import Beside, Piece
from tasks.deduplicate.signatures import shingles

CONTEXT_LINES = 1
MAX_LINES = 40  # shown
MAX_COMPARED_LINES = 2000  # of each text: finding what is common takes time with their product
MAX_COMPARED_CHARACTERS = 2000  # of a line, within which what differs is marked
_GAP = [Piece("⋮")]

Line = tuple[Sequence[Piece], Sequence[Piece]]


def similarity(one: str, other: str, ngram: int) -> float:
    """The Jaccard index of the texts' character n-grams, which MinHash estimates: what is shared of all."""
    mine, theirs = shingles(one, ngram), shingles(other, ngram)
    return len(mine & theirs) / len(mine | theirs)


def beside(left: str, one: str, right: str, other: str) -> Beside:
    """The lines in which two texts differ, with their neighbours.

    Args:
        left, right: what the texts are called.
    """
    mine, theirs = (text.split("\n")[:MAX_COMPARED_LINES] for text in (one, other))
    lines: list[Line] = []
    matcher = SequenceMatcher(None, mine, theirs, autojunk=False)
    for group in matcher.get_grouped_opcodes(CONTEXT_LINES):
        if lines or group[0][1] or group[0][3]:
            lines.append((_GAP, _GAP))
        for kind, first, last, start, end in group:
            lines += _lines(kind, mine[first:last], theirs[start:end])
    cut = len(lines) > MAX_LINES
    return Beside(left, right, [*lines[:MAX_LINES], *([(_GAP, _GAP)] if cut else [])])


def _lines(kind: str, mine: Sequence[str], theirs: Sequence[str]) -> Iterator[Line]:
    for one, other in zip_longest(mine, theirs):
        if kind == "equal":
            yield [Piece(one)], [Piece(other)]
        elif one is None or other is None:
            yield ([Piece(one or "", marked=True)] if one else []), ([Piece(other or "", marked=True)] if other else [])
        else:
            yield _within(one, other)


def _within(one: str, other: str) -> Line:
    """Two lines with what differs in them marked; wholly where they are too long to compare."""
    if max(len(one), len(other)) > MAX_COMPARED_CHARACTERS:
        return [Piece(one, marked=True)], [Piece(other, marked=True)]
    left: list[Piece] = []
    right: list[Piece] = []
    for kind, first, last, start, end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        left.append(Piece(one[first:last], kind != "equal"))
        right.append(Piece(other[start:end], kind != "equal"))
    return [piece for piece in left if piece.text], [piece for piece in right if piece.text]

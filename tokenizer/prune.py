"""Pruning new pieces: none unused, none too rare, as many as the alignment wants.

In: new pieces from the highest rank to the lowest, a way to count how often each is used when the sample is
encoded with a given set of them, and the parts that each is merged from. A piece that is used less than
`min_count` times goes, unless a piece that stays is built from it: byte pair encoding reaches a long piece
only through its parts. Taking pieces away changes what the others are used for, so this repeats until
nothing changes. Then the lowest-ranked pieces that nothing is built from go until the number fits, and the
first step is repeated.

Every piece kept has thus been formed at least `min_count` times in the sample, in the end or on the way to
a longer one.

    pieces, counts = prune(pieces, count=count, parts=parts, min_count=5, fit=fit)
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from tokenizer.expansion import ExpandOptions

Piece = TypeVar("Piece", str, int)


def prune(
    pieces: Sequence[Piece],
    *,
    count: Callable[[Sequence[Piece]], Mapping[Piece, int]],
    parts: Callable[[Sequence[Piece]], Mapping[Piece, Sequence[Piece]]],
    min_count: int,
    fit: Callable[[int], int],
) -> tuple[list[Piece], Mapping[Piece, int]]:
    """The pieces that stay, in the same order, and how often each is used in the sample.

    Args:
        count: how often each piece is used when the sample is encoded with exactly these.
        parts: what each piece is merged from when only these exist; pieces it leaves out can never be formed.
        fit: the largest acceptable number of pieces not above its argument (`fitting`).
    """
    kept = list(pieces)
    while True:
        built_from = parts(kept)
        used = count(kept)
        wanted = {piece for piece in kept if piece in built_from and used[piece] >= min_count}
        needed = _with_parts(wanted, built_from)
        if len(needed) == len(kept):
            surplus = len(kept) - fit(len(kept))
            if surplus == 0:
                return kept, used
            needed -= _lowest(kept, built_from, surplus)
        kept = [piece for piece in kept if piece in needed]


def fitting(number: int, *, base_vocab: int, options: ExpandOptions) -> int:
    """The largest number of new pieces, at most `number`, that the options allow.

    Raises:
        ValueError: the vocabulary reaches no multiple of `align_to` with so few.
    """
    most = number if options.max_new_pieces is None else min(number, options.max_new_pieces)
    fits = most - (base_vocab + most) % options.align_to
    if fits < 0:
        raise ValueError(
            f"expand.align_to: {base_vocab} base pieces and at most {most} new ones reach no multiple of "
            f"{options.align_to}; lower it, or let more pieces in "
            "(expand.max_new_pieces, expand.min_count, a larger corpus)"
        )
    return fits


def _with_parts(pieces: set[Piece], parts: Mapping[Piece, Sequence[Piece]]) -> set[Piece]:
    found: set[Piece] = set()
    waiting = list(pieces)
    while waiting:
        piece = waiting.pop()
        if piece in parts and piece not in found:
            found.add(piece)
            waiting.extend(parts[piece])
    return found


def _lowest(kept: Sequence[Piece], parts: Mapping[Piece, Sequence[Piece]], number: int) -> set[Piece]:
    """The `number` lowest-ranked pieces, none of which a piece that remains is built from."""
    rank = {piece: index for index, piece in enumerate(kept)}
    inner = {piece: [part for part in set(parts[piece]) if part in rank] for piece in kept}
    uses = Counter(part for piece in kept for part in inner[piece])
    free = [-rank[piece] for piece in kept if uses[piece] == 0]
    heapq.heapify(free)
    chosen: set[Piece] = set()
    while len(chosen) < number:
        piece = kept[-heapq.heappop(free)]
        chosen.add(piece)
        for part in inner[piece]:
            uses[part] -= 1
            if uses[part] == 0:
                heapq.heappush(free, -rank[part])
    return chosen

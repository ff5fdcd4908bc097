"""Byte-pair encoding as sentencepiece does it, in machine code (numba), from UTF-8 to token ids, in linear time.

In: UTF-8 of many texts end to end, as an Arrow string array holds it, and the tables that `tokenizer.bpe` makes of a
model. Out: their token ids, end to end.

sentencepiece starts from single characters (symbols) and again and again merges the two neighbours whose concatenation
is the piece of the highest score, the leftmost where scores tie; a symbol without a piece of its own becomes bytes in
the end. Here no text is merged. The result is found from left to right, because of what follows from the order of
merges, (score, leftmost), being the same whatever stands around them:

1. Between two places that no merge crosses, merges happen as they would in that stretch alone. So a symbol of the
   result is what its own characters alone merge to, and two neighbours are what both together merge to.
2. The converse: a sequence of symbols each of which its own characters form, and of which all neighbours left and right
   alone merge to left and right, is the result. Else look at the first merge across an edge: until then nothing crossed
   an edge, so by 1 the two symbols of that edge merged as they do alone; this merge is the best one in the text, so it
   is the best one of the two symbols: alone they would not stay apart.

So every beginning of a text has exactly one such sequence. Take the longest piece that fits the symbol before it, go
on behind it; where nothing fits, go back one symbol, mark the place as never to be reached again, and take the next
shorter piece there. A place is reached in one way only (its beginning's sequence), so none is tried twice: the time is
linear, whatever the text. A character that is in no piece can be no part of a merge.

Whether left and right stay apart: while left is made alone, the symbols at its end are left itself, the right one of
the two that it was merged from last, the right one of that one's two, and so on; a merge across the edge joins one of
them with a beginning of right. Where no such joint symbol exists (80 % of the time in Japanese with 59,000 pieces) they
do. Else their few characters are merged, and the answer is remembered in a table of fixed size, in which a newer pair
replaces an older one.

Pieces are found in a double-array trie over characters: child c of a node is the slot base[node] + c, if check of that
slot is the node.
Sources: sentencepiece 0.2.3, bpe_model.cc, for the merges; the linear search: A. van Antwerpen and A. Neubeck, So many
tokens, so little time, GitHub blog 2024 (for ranks of merges; 2 shows it for scores that tie); Aoe 1989 for the trie.

    failed = encode(octets, offsets, prefix, suffix, tables, fits, ids, bounds)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy import uint64

from storage.compiled import compiled
from tokenizer.bpe_utf8 import code_point, write_bytes

_SPACE, _SPACE_PIECE = 0x20, 0x2581  # " " and "▁"
_MIX = uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio


class Tables(NamedTuple):
    """A model. Symbols below `num_pieces` are its pieces; those from there on are characters without a piece.

    Only symbols that their own characters merge to are in it. A character that is in some piece has a number from 1
    on; in the trie, a symbol is the slot that its characters lead to, and that of a character is its number.

    Attributes:
        pages: int32 (0x1100,): where in `numbers` the code points 256 * page to 256 * page + 255 begin.
        numbers: int32: of each code point's character, 0 where it has none.
        base, check: int32 (slots,): the trie; its root is slot 0.
        symbol_at: int32 (slots,): the symbol of a slot, -1 where none ends.
        ranks: int32 (slots,): of the symbols; the higher is merged first.
        depths: int32 (slots,): characters of the symbols.
        shorter: int32 (slots,): the longest symbol that is a proper beginning of each symbol, 0 where none is.
        rights: int32 (slots,): the right one of the two symbols that each symbol is merged from last, 0 for characters.
        single: int32: code points of the characters without a piece.
        byte_ids: int32 (256,): the piece of each byte.
        add_prefix: whether a space is put before every text that is not empty.
    """

    num_pieces: int
    pages: np.ndarray
    numbers: np.ndarray
    base: np.ndarray
    check: np.ndarray
    symbol_at: np.ndarray
    ranks: np.ndarray
    depths: np.ndarray
    shorter: np.ndarray
    rights: np.ndarray
    single: np.ndarray
    byte_ids: np.ndarray
    add_prefix: bool


_inlined: Any = numba.njit(forceinline=True, error_model="numpy")
_called: Any = numba.njit(error_model="numpy")


@_inlined
def _find(base: np.ndarray, check: np.ndarray, slot: int, text: np.ndarray, first: int, end: int) -> int:
    """The slot that characters lead to from another, 0 where they lead nowhere."""
    for at in range(first, end):
        child = base[slot] + text[at]
        if check[child] != slot:
            return 0
        slot = child
    return slot


@_called
def _merge(
    base: np.ndarray,
    check: np.ndarray,
    symbol_at: np.ndarray,
    ranks: np.ndarray,
    text: np.ndarray,
    first: int,
    edge: int,
    end: int,
    space: np.ndarray,
) -> int:
    """Merge the characters text[first:end] as sentencepiece does; how many symbols are left.

    The time is quadratic in the number of characters: they are those of one symbol or two.

    Args:
        text: int32: numbers of characters, all from 1 on.
        edge: a merge of characters before this place with those behind it ends the search, and 0 is returned;
            `first` for none.
        space: int32 (4, end - first + 1): work space.
    """
    # Of each symbol: itself, where it starts, what it makes with the next one, or 0. And the latest merge's right one.
    slots, starts, joined, latest = space[0], space[1], space[2], space[3]
    count = end - first
    for at in range(count):
        slots[at], starts[at] = text[first + at], first + at
    starts[count] = end
    for at in range(count - 1):
        joined[at] = _find(base, check, slots[at], text, starts[at + 1], starts[at + 2])
    while True:
        best, best_rank = -1, np.int32(0)
        for at in range(count - 1):
            slot = joined[at]
            if slot and symbol_at[slot] >= 0 and (best < 0 or ranks[slot] > best_rank):
                best, best_rank = at, ranks[slot]
        if best < 0:
            return count
        if starts[best + 1] == edge:
            return 0
        slots[best], latest[0] = joined[best], slots[best + 1]
        count -= 1
        for at in range(best + 1, count):
            slots[at], starts[at], joined[at - 1] = slots[at + 1], starts[at + 1], joined[at]
        starts[count] = end
        if best > 0:
            joined[best - 1] = _find(base, check, slots[best - 1], text, starts[best], starts[best + 1])
        if best < count - 1:
            joined[best] = _find(base, check, slots[best], text, starts[best + 1], starts[best + 2])


@compiled
def last_merges(
    base: np.ndarray,
    check: np.ndarray,
    symbol_at: np.ndarray,
    ranks: np.ndarray,
    spelling: np.ndarray,
    bounds: np.ndarray,
) -> np.ndarray:
    """The right one of the two symbols that each symbol's characters, alone, are merged from last.

    Args:
        spelling, bounds: int32: characters of all symbols end to end, and where those of each begin.

    Returns:
        int32, slots: 0 for a character, -1 where the characters do not merge to the symbol or there are none.
    """
    rights = np.full(len(bounds) - 1, -1, np.int32)
    space = np.empty((4, len(spelling) + 1), np.int32)
    for symbol in range(len(rights)):
        first, end = bounds[symbol], bounds[symbol + 1]
        if _merge(base, check, symbol_at, ranks, spelling, first, first, end, space) == 1:
            rights[symbol] = space[3, 0] if end > first + 1 else 0
    return rights


@compiled
def shorter_symbols(
    base: np.ndarray, symbol_at: np.ndarray, spelling: np.ndarray, bounds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`Tables.shorter` and `Tables.depths` of the symbols that `symbol_at` knows; arguments as in `last_merges`."""
    shorter, depths = np.zeros(len(base), np.int32), np.zeros(len(base), np.int32)
    for symbol in range(len(bounds) - 1):
        slot, last = 0, 0
        for at in range(bounds[symbol], bounds[symbol + 1]):
            last = slot if symbol_at[slot] >= 0 else last
            slot = base[slot] + spelling[at]
        if symbol_at[slot] == symbol:
            shorter[slot], depths[slot] = last, bounds[symbol + 1] - bounds[symbol]
    return shorter, depths


@_inlined
def _may_meet(
    base: np.ndarray,
    check: np.ndarray,
    symbol_at: np.ndarray,
    rights: np.ndarray,
    left: int,
    text: np.ndarray,
    first: int,
    end: int,
) -> bool:
    """Whether one of the symbols that `left` ends with while it is made, and beginnings of text[first:end], join."""
    while left:
        slot = left
        for at in range(first, end):
            child = base[slot] + text[at]
            if check[child] != slot:
                break
            if symbol_at[child] >= 0:
                return True
            slot = child
        left = rights[left]
    return False


@_inlined
def _split(
    base: np.ndarray,
    check: np.ndarray,
    symbol_at: np.ndarray,
    ranks: np.ndarray,
    depths: np.ndarray,
    shorter: np.ndarray,
    rights: np.ndarray,
    fits: np.ndarray,
    text: np.ndarray,
    first: int,
    stack: np.ndarray,
    dead: np.ndarray,
    space: np.ndarray,
) -> int:
    """Split a run of characters into the symbols that they merge to; how many there are.

    An entry of `fits` holds two symbols that met, in 31 and 32 bits, and in the last one whether they stay apart.

    Args:
        text: int32: numbers of characters; the run begins at `first` and ends before the first below 1.
        stack: int32, written: the symbols.
        dead: uint8, as long as `text`, zero: places at which no symbol of the result begins are marked.
        space: as in `_merge`.
    """
    position, count, last = first, 0, 0
    while text[position] > 0:
        slot = text[position]
        symbol, end, at = slot, position + 1, position + 1
        while text[at] > 0:
            child = base[slot] + text[at]
            if check[child] != slot:
                break
            slot = child
            at += 1
            if symbol_at[slot] >= 0:
                symbol, end = slot, at
        while True:
            if not dead[end]:
                if not _may_meet(base, check, symbol_at, rights, last, text, position, end):
                    break
                key = uint64(last) << uint64(33) | uint64(symbol) << uint64(1)
                place = (key * _MIX) >> uint64(32) & uint64(len(fits) - 1)
                entry = fits[place]
                if entry | uint64(1) != key | uint64(1):
                    begin = position - depths[last]
                    left = _merge(base, check, symbol_at, ranks, text, begin, position, end, space)
                    entry = key | uint64(left > 0)
                    fits[place] = entry
                if entry & uint64(1):
                    break
            symbol = shorter[symbol]
            while symbol == 0:  # nothing fits here: go back one symbol
                dead[position] = 1
                count -= 1
                position -= depths[last]
                symbol = shorter[last]
                last = stack[count - 1] if count else 0
            end = position + depths[symbol]
        stack[count] = symbol
        count += 1
        position, last = end, symbol
    return count


@_inlined
def _number(
    pages: np.ndarray,
    numbers: np.ndarray,
    add_prefix: bool,
    octets: np.ndarray,
    first: int,
    end: int,
    text: np.ndarray,
) -> int:
    """Write the numbers of a text's characters, and a -1 after them; how many there are, or -1: it is not UTF-8.

    A character without a number is written as -1 - its code point.
    """
    count, at = 0, first
    prefix = add_prefix and first < end
    while at < end:
        if prefix:
            point, num_bytes = _SPACE, 0
            prefix = False
        else:
            point, num_bytes = code_point(octets, at, end)
            if num_bytes == 0:
                return -1
        point = _SPACE_PIECE if point == _SPACE else point
        number = numbers[pages[point >> 8] + (point & 0xFF)]
        text[count] = number if number else -1 - point
        count += 1
        at += num_bytes
    text[count] = -1
    return count


@compiled
def encode(
    octets: np.ndarray,
    offsets: np.ndarray,
    prefix: np.ndarray,
    suffix: np.ndarray,
    tables: Tables,
    fits: np.ndarray,
    ids: np.ndarray,
    bounds: np.ndarray,
) -> int:
    """Encode texts.

    Args:
        octets: uint8: UTF-8 of all texts; read-only.
        offsets: int64 (texts + 1,): text i is octets[offsets[i] : offsets[i + 1]].
        prefix, suffix: int32: ids to put before and after every text.
        fits: uint64, a power of two of them, zero before the first call: pairs met, which later calls find again.
        ids: uint16 or int32, written.
        bounds: int64 (texts + 1,), written: where in `ids` each text begins.

    Returns:
        -1, or the first text that is not UTF-8.
    """
    num_pieces, pages, numbers, base, check, symbol_at, ranks, depths, shorter, rights, single, byte_ids, add_prefix = (
        tables
    )
    longest = 0
    for number in range(len(offsets) - 1):
        longest = max(longest, offsets[number + 1] - offsets[number])
    text, stack = np.empty(longest + 2, np.int32), np.empty(longest + 2, np.int32)
    dead = np.empty(longest + 2, np.uint8)
    space = np.empty((4, 2 * depths.max() + 1), np.int32)
    written = 0
    bounds[0] = 0
    for number in range(len(offsets) - 1):
        count = _number(pages, numbers, add_prefix, octets, offsets[number], offsets[number + 1], text)
        if count < 0:
            return number
        for token in prefix:
            ids[written] = token
            written += 1
        dead[: count + 1] = 0
        position = 0
        while position < count:
            if text[position] < 0:
                written = write_bytes(byte_ids, -1 - text[position], ids, written)
                position += 1
                continue
            num_symbols = _split(
                base, check, symbol_at, ranks, depths, shorter, rights, fits, text, position, stack, dead, space
            )
            for at in range(num_symbols):
                symbol = symbol_at[stack[at]]
                position += depths[stack[at]]
                if symbol < num_pieces:
                    ids[written] = symbol
                    written += 1
                else:
                    written = write_bytes(byte_ids, single[symbol - num_pieces], ids, written)
        for token in suffix:
            ids[written] = token
            written += 1
        bounds[number + 1] = written
    return -1

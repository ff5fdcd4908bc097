"""Exact byte-pair encoding for SentencePiece models, several times faster than sentencepiece itself.

In: the bytes of `tokenizer.model`. Out: for UTF-8 texts their token ids in one array, equal to what sentencepiece
gives. The algorithm, and why it is exact, is told in `tokenizer.bpe_kernel`; here its tables are made: a trie of all
pieces and characters, and which pieces can be formed at all. What the tables cannot represent is refused with the
reason, and sentencepiece encodes such a model.

Memory: tables of about 52 bytes a piece (with 32,000 pieces 1.7 MB), 2 MB of pairs met, and while it works 9 bytes for
each byte of the longest text.

    ids, bounds = BytePairEncoder(read_bytes("tokenizer.model")).encode(octets, offsets, np.uint16)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np

from tokenizer.bpe_kernel import Tables, encode, last_merges, shorter_symbols
from tokenizer.bpe_trie import build_trie, end_slots
from tokenizer.sentencepiece_expansion import parse_model

NUM_PAIRS = 1 << 18  # of symbols that are remembered, 8 bytes each: Japanese novels meet 95,000
_NORMAL, _UNUSED, _BYTE = 1, 5, 6  # kinds of pieces
_SPACE = "▁"


class UnrepresentableModelError(ValueError):
    """A model that sentencepiece encodes in a way that the tables cannot hold."""


class BytePairEncoder:
    """The tables of a model, and the pairs of symbols met so far."""

    def __init__(self, data: bytes) -> None:
        """Make the tables.

        Raises:
            UnrepresentableModelError: the message says what is special about the model.
        """
        self._tables = make_tables(data)
        self._pairs = np.zeros(NUM_PAIRS, np.uint64)
        space = self._tables.numbers[self._tables.pages[ord(_SPACE) >> 8] + (ord(_SPACE) & 0xFF)]
        has_piece = space > 0 and self._tables.symbol_at[space] < self._tables.num_pieces
        self._ids_per_byte = 1 if has_piece else len(_SPACE.encode())

    def encode(
        self,
        octets: np.ndarray,
        offsets: np.ndarray,
        dtype: np.dtype | type[np.integer],
        prefix: Sequence[int] = (),
        suffix: Sequence[int] = (),
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encode texts, with `prefix` and `suffix` around each.

        Args:
            octets: uint8: UTF-8 of all texts.
            offsets: int64 (texts + 1,): text i is octets[offsets[i] : offsets[i + 1]].
            dtype: of the ids: uint16 or int32.

        Returns:
            ids, and bounds (texts + 1,) int64: those of text i are ids[bounds[i] : bounds[i + 1]].

        Raises:
            UnicodeDecodeError: a text is not UTF-8.
        """
        num_texts = len(offsets) - 1
        around = len(prefix) + len(suffix) + len(_SPACE.encode())
        ids = np.empty(self._ids_per_byte * int(offsets[-1] - offsets[0]) + num_texts * around, dtype)
        bounds = np.empty(num_texts + 1, np.int64)
        before, after = np.array(prefix, np.int32), np.array(suffix, np.int32)
        octets = octets.view()
        octets.setflags(write=False)  # the kernel is compiled for arrays like an Arrow buffer
        failed = encode(octets, offsets, before, after, self._tables, self._pairs, ids, bounds)
        if failed >= 0:
            octets[offsets[failed] : offsets[failed + 1]].tobytes().decode()
            raise AssertionError(f"text {failed} is UTF-8 after all")
        return ids[: bounds[-1]].copy(), bounds


def make_tables(data: bytes) -> Tables:
    """The tables of a model.

    Raises:
        UnrepresentableModelError: the message says what is special about the model.
    """
    try:
        model = parse_model(data)
    except ValueError as error:
        raise UnrepresentableModelError(str(error)) from error
    texts = _mergeable(model)
    frequent_first = Counter(chain.from_iterable(texts)).most_common()
    numbers = {character: rank + 1 for rank, (character, _) in enumerate(frequent_first)}
    single = sorted(numbers.keys() - set(texts))
    scores = np.array([*(piece.score for piece in model.pieces), *(0.0 for _ in single)], np.float32)
    spellings = [[numbers[character] for character in text] for text in [*texts, *single]]
    pages, page_numbers = _pages(numbers)
    return Tables(
        num_pieces=len(texts),
        pages=pages,
        numbers=page_numbers,
        **_trie(spellings, _ranks(scores), len(numbers)),
        single=np.array([ord(character) for character in single], np.int32),
        byte_ids=_byte_ids(model),
        add_prefix=model.normalizer_spec.add_dummy_prefix,
    )


def _trie(spellings: Sequence[list[int]], ranks: np.ndarray, highest: int) -> dict[str, np.ndarray]:
    """The tables that lie in the trie's slots, of symbols spelled by numbers from 1 to `highest`."""
    base, check = build_trie(*_flat(sorted(filter(None, spellings))), highest)
    flat, bounds = _flat(spellings)
    slot_of = end_slots(base, flat, bounds)
    slots = slot_of[slot_of > 0]
    symbol_at, rank_at = np.full(len(base), -1, np.int32), np.zeros(len(base), np.int32)
    symbol_at[slots], rank_at[slots] = np.flatnonzero(slot_of), ranks[slot_of > 0]
    rights = last_merges(base, check, symbol_at, rank_at, flat, bounds)
    symbol_at[slot_of[rights < 0]] = -1
    right_at = np.zeros(len(base), np.int32)
    right_at[slot_of[rights > 0]] = rights[rights > 0]
    shorter, depths = shorter_symbols(base, symbol_at, flat, bounds)
    return {
        "base": base,
        "check": check,
        "symbol_at": symbol_at,
        "ranks": rank_at,
        "depths": depths,
        "shorter": shorter,
        "rights": right_at,
    }


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Integers that stand in the order of float32 scores; as in sentencepiece, -0.0 stands below 0.0."""
    bits = scores.view(np.int32)
    return np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int32)


def _flat(rows: Sequence[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """All rows end to end, and where each begins: int32."""
    flat = np.array(list(chain.from_iterable(rows)), np.int32)
    return flat, np.array(list(accumulate(map(len, rows), initial=0)), np.int32)


def _mergeable(model: Any) -> list[str]:
    """The text of each piece, empty for those that no merge makes.

    Raises:
        UnrepresentableModelError: as in `make_tables`.
    """
    normal = {piece.piece for piece in model.pieces if piece.type == _NORMAL}
    reserved = [piece.piece for piece in model.pieces if piece.type != _NORMAL]
    unused = [piece.piece for piece in model.pieces if piece.type == _UNUSED]
    taken = [text for text in reserved if len(text) == 1 or text in normal]
    if unused:
        raise UnrepresentableModelError(f"it has {len(unused)} unused pieces ({unused[:3]})")
    if taken:
        raise UnrepresentableModelError(f"text can be mistaken for its special pieces {taken[:3]}")
    if any(piece.score != piece.score for piece in model.pieces):
        raise UnrepresentableModelError("a piece has a score that is no number")
    # Spaces of a text are written as "▁" before anything is merged, so a piece with a space never matches.
    return [piece.piece if piece.type == _NORMAL and " " not in piece.piece else "" for piece in model.pieces]


def _pages(numbers: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """`Tables.pages` and `Tables.numbers`; pages without a numbered character are one."""
    used = sorted({ord(character) >> 8 for character in numbers})
    pages = np.zeros(0x110000 >> 8, np.int32)
    pages[used] = [256 * (rank + 1) for rank in range(len(used))]
    table = np.zeros(256 * (len(used) + 1), np.int32)
    for character, number in numbers.items():
        table[pages[ord(character) >> 8] + (ord(character) & 0xFF)] = number
    return pages, table


def _byte_ids(model: Any) -> np.ndarray:
    ids = {piece.piece: index for index, piece in enumerate(model.pieces) if piece.type == _BYTE}
    return np.array([ids[f"<0x{value:02X}>"] for value in range(256)], np.int32)

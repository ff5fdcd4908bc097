"""New pieces for a byte-level BPE tokenizer (Llama 3, SmolLM2): its merges, continued on the corpus.

In: the bytes of the base's `tokenizer.json` and a corpus sample. Out: the bytes of the expanded one and
what is known of each new piece. The sample is encoded with the base, and further merges are learned within
its pre-tokens (`tokenizer.merges`): the most frequent adjacent pair whose bytes are whole Japanese-class
characters, or the beginning of one character that can only be Japanese. UTF-8 synchronises itself, so those
bytes occur in no other text, and such text is encoded as before. The new merges rank after all of the
base's; by the time one applies, no base merge is left to make, so a piece splits into exactly the tokens
that the base would give for its bytes.

New ids follow all ids of the base, special tokens included. The `tokenizers` library numbers a special
token that is missing from the model's vocabulary by that vocabulary's size, which would move Llama 3's; so
such tokens are entered in the vocabulary under the ids they have.

    data, expansion = expand_byte_level(tokenizer_json, sample.documents, ExpandOptions())
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby, islice
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from tokenizer.characters import is_japanese, is_japanese_prefix
from tokenizer.encoder import is_byte_level
from tokenizer.expansion import ExpandOptions, Expansion, NewPiece
from tokenizer.merges import Merge, learn_merges
from tokenizer.prune import fitting, prune

_BATCH = 64  # documents encoded at once: an Encoding with words takes about 200 bytes a token


def expand_byte_level(
    data: bytes,
    documents: Sequence[str],
    options: ExpandOptions,
) -> tuple[bytes, Expansion]:
    """The expanded `tokenizer.json` and its new pieces, from the highest rank to the lowest.

    Raises:
        ValueError: the base is of another kind.
    """
    base = json.loads(data)
    if not is_byte_level(base):
        raise ValueError(
            "this tokenizer.json cannot be expanded: expected byte-level BPE such as Llama 3's or SmolLM2's"
        )
    pieces_by_id = {index: piece for piece, index in base["model"]["vocab"].items()}
    base_vocab = 1 + max([*pieces_by_id, *(token["id"] for token in base["added_tokens"])])
    present = {piece_bytes(piece) for piece in pieces_by_id.values()}

    def allowed(data: bytes) -> bool:
        return data not in present and may_be_piece(data, options.max_piece_characters)

    learned = learn_merges(
        _runs(data, pieces_by_id, documents),
        lambda index: piece_bytes(pieces_by_id[index]) or b"",
        first_id=base_vocab,
        allowed=allowed,
        limit=min(options.num_candidates, options.max_new_pieces or options.num_candidates),
        min_count=options.min_count,
    )
    parts = {base_vocab + rank: (merge.left, merge.right) for rank, merge in enumerate(learned)}

    def count(ids: Sequence[int]) -> Mapping[int, int]:
        expanded = _open(_with_merges(base, base_vocab, learned, ids))
        total = np.zeros(base_vocab + len(ids), np.int64)
        for batch in _batches(documents):
            for encoding in expanded.encode_batch_fast(batch, add_special_tokens=False):
                total += np.bincount(np.array(encoding.ids, np.int64), minlength=len(total))
        return dict(zip(ids, total[base_vocab:].tolist(), strict=True))

    fit = partial(fitting, base_vocab=base_vocab, options=options)
    kept, counts = prune(
        list(parts),
        count=count,
        parts=lambda ids: {i: parts[i] for i in ids},
        min_count=options.min_count,
        fit=fit,
    )
    new = []
    for rank, provisional in enumerate(kept):
        merge = learned[provisional - base_vocab]
        base_ids = tuple(_base_ids(provisional, parts))
        new.append(
            NewPiece(
                base_vocab + rank,
                byte_piece(merge.data),
                _text(merge.data),
                merge.data,
                counts[provisional],
                base_ids,
            )
        )
    return _with_merges(base, base_vocab, learned, kept), Expansion("byte_level_bpe", base_vocab, new)


def may_be_piece(data: bytes, max_characters: int) -> bool:
    """Whether these bytes are Japanese-class characters, or the beginning of one that can be no other."""
    text = _text(data)
    if text is None:
        return is_japanese_prefix(data)
    return len(text) <= max_characters and is_japanese(text)


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _open(tokenizer_json: bytes) -> Tokenizer:
    """A tokenizer to which everything is ordinary text."""
    tokenizer = Tokenizer.from_buffer(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    waiting = iter(documents)
    while batch := list(islice(waiting, _BATCH)):
        yield batch


def _runs(tokenizer_json: bytes, pieces_by_id: Mapping[int, str], documents: Iterable[str]) -> Counter[tuple[int, ...]]:
    """Runs of tokens inside one pre-token that may merge, with how often each occurs.

    A token with an ASCII byte in it, or an added token, can be part of no new piece.
    """
    eligible = {index for index, piece in pieces_by_id.items() if _all_high(piece_bytes(piece))}
    runs: Counter[tuple[int, ...]] = Counter()
    tokenizer = _open(tokenizer_json)
    for batch in _batches(documents):
        for encoding in tokenizer.encode_batch(batch, add_special_tokens=False):  # the fast one knows no words
            words = groupby(
                zip(encoding.ids, encoding.word_ids, strict=True),
                key=lambda token: (token[1], token[0] in eligible),
            )
            for (_, mergeable), tokens in words:
                run = tuple(index for index, _ in tokens)
                if mergeable and len(run) > 1:
                    runs[run] += 1
    return runs


def _all_high(data: bytes | None) -> bool:
    return data is not None and all(byte >= 0x80 for byte in data)


def _base_ids(index: int, parts: Mapping[int, tuple[int, int]]) -> Iterator[int]:
    if index not in parts:
        yield index
        return
    for part in parts[index]:
        yield from _base_ids(part, parts)


def _with_merges(base: Mapping[str, Any], base_vocab: int, learned: Sequence[Merge], ids: Sequence[int]) -> bytes:
    """`tokenizer.json` of the base with the merges of these provisional ids, numbered anew in their order."""
    model = base["model"]
    vocab = model["vocab"] | {token["content"]: token["id"] for token in base["added_tokens"]}
    names = {index: piece for piece, index in model["vocab"].items()}
    pairs = []
    for rank, provisional in enumerate(ids):
        merge = learned[provisional - base_vocab]
        names[provisional] = byte_piece(merge.data)
        vocab[names[provisional]] = base_vocab + rank
        pairs.append([names[merge.left], names[merge.right]])
    as_lines = bool(model["merges"]) and isinstance(model["merges"][0], str)  # the older of the two notations
    merges = model["merges"] + ([" ".join(pair) for pair in pairs] if as_lines else pairs)
    expanded = {**base, "model": {**model, "vocab": vocab, "merges": merges}}
    return json.dumps(expanded, ensure_ascii=False).encode() + b"\n"


def _byte_alphabet() -> list[str]:
    """The character that stands for each byte: itself where it prints, else one from U+0100 on (GPT-2)."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printing]
    characters = {byte: chr(byte) for byte in printing} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    return [characters[byte] for byte in range(256)]


_CHARACTER_OF = _byte_alphabet()
_BYTE_OF = {character: byte for byte, character in enumerate(_CHARACTER_OF)}


def byte_piece(data: bytes) -> str:
    """Bytes as the vocabulary of a byte-level tokenizer writes them."""
    return "".join(_CHARACTER_OF[byte] for byte in data)


def piece_bytes(piece: str) -> bytes | None:
    """The bytes that a vocabulary entry stands for; None outside the byte alphabet (a special token)."""
    try:
        return bytes(_BYTE_OF[character] for character in piece)
    except KeyError:
        return None

"""New pieces for a byte-level BPE tokenizer (Llama 3, SmolLM2): its merges, continued on the corpus.

In: the bytes of the base's `tokenizer.json` and a corpus sample. Out: the bytes of the expanded one and
what is known of each new piece. The sample is encoded with the base, and further merges are learned within
its pre-tokens and, with `words: mecab`, within words (`tokenizer.byte_level_runs`, `tokenizer.merges`): the
most frequent adjacent pair whose bytes are whole Japanese-class characters, or the beginning of one
character that can only be Japanese. UTF-8 synchronises itself, so those bytes occur in no other text, and
such text is encoded as before. The new merges rank after all of the base's; by the time one applies, no base
merge is left to make, so a piece splits into exactly the tokens that the base would give for its bytes.

Words bound what is learned, not what is encoded: every new piece lies inside a word of the sample, but encoding
knows only pre-tokens, so a piece may be used across the edge of two words that happen to make it.

New ids follow all ids of the base, special tokens included. The `tokenizers` library numbers a special
token that is missing from the model's vocabulary by that vocabulary's size, which would move Llama 3's; so
such tokens are entered in the vocabulary under the ids they have.

    data, expansion = expand_byte_level(tokenizer_json, sample.documents, ExpandOptions())
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from tokenizer.byte_alphabet import byte_piece, piece_bytes
from tokenizer.byte_level_runs import batches, collect_runs, ordinary_tokenizer
from tokenizer.characters import is_japanese, is_japanese_prefix
from tokenizer.encoder import is_byte_level
from tokenizer.expansion import ExpandOptions, Expansion, NewPiece
from tokenizer.merges import Merge, learn_merges
from tokenizer.prune import fitting, prune


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
        collect_runs(data, base_vocab, documents, options.words),
        lambda index: piece_bytes(pieces_by_id[index]) or b"",
        first_id=base_vocab,
        allowed=allowed,
        limit=min(options.num_candidates, options.max_new_pieces or options.num_candidates),
        min_count=options.min_count,
    )
    parts = {base_vocab + rank: (merge.left, merge.right) for rank, merge in enumerate(learned)}

    def count(ids: Sequence[int]) -> Mapping[int, int]:
        expanded = ordinary_tokenizer(_with_merges(base, base_vocab, learned, ids))
        total = np.zeros(base_vocab + len(ids), np.int64)
        for batch in batches(documents):
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

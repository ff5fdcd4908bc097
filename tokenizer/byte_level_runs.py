"""Where merges may be learned in a text that a byte-level tokenizer has encoded: runs of its tokens.

In: the bytes of a byte-level `tokenizer.json` and documents. Out: the different runs and how often each occurs. A run
ends where a pre-token of the base ends, at a token that can be part of no new piece (one with an ASCII byte in it, or
an added token), and with `words="mecab"` at the edges of words (`tokenizer.words`). A token of the base that itself
lies across such an edge is part of no run, so no merge is learned across the edge through it.

Words are Japanese; the tokenizer's pre-tokens are its own, and both are places in the same bytes: the tokens of a
byte-level tokenizer put together are the text, unless it puts a space before every text, which is refused here.

Memory: the different runs. With words there are few of them (490,000 tokens in 10 million characters); without, almost
every clause is a run of its own, and they hold almost every token of the sample.

    runs = collect_runs(tokenizer_json, 49_152, sample.documents, "mecab")
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from tokenizers import Tokenizer

from tokenizer.byte_alphabet import piece_bytes
from tokenizer.expansion import WordBoundaries
from tokenizer.merges import Runs
from tokenizer.words import Words

_BATCH = 64  # documents encoded at once: an Encoding with words takes about 200 bytes a token


def collect_runs(tokenizer_json: bytes, vocab_size: int, documents: Iterable[str], words: WordBoundaries) -> Runs:
    """The runs of the documents.

    Raises:
        ValueError: words are asked for and the tokens' bytes are not those of the text.
    """
    tokenizer = ordinary_tokenizer(tokenizer_json)
    num_bytes, eligible = _pieces(tokenizer, vocab_size)
    cutter = Words() if words == "mecab" else None
    counts: Counter[bytes] = Counter()
    for batch in batches(documents):
        encodings = tokenizer.encode_batch(batch, add_special_tokens=False)  # the fast one knows no pre-tokens
        for text, encoding in zip(batch, encodings, strict=True):
            ids = np.array(encoding.ids, np.int32)
            mergeable = eligible[ids]
            together = np.diff(np.array(encoding.word_ids, np.int32)) == 0  # with the next token
            if cutter is not None:
                seen = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
                edge_after, edge_inside = _edges(num_bytes[ids], seen, cutter)
                mergeable &= ~edge_inside
                together &= ~edge_after[:-1]
            counts.update(_runs_of(ids, mergeable, together))
    tokens = np.frombuffer(b"".join(counts), np.int32)
    sizes = np.fromiter((len(run) // tokens.itemsize for run in counts), np.int64, len(counts))
    times = np.fromiter(counts.values(), np.int64, len(counts))
    return Runs(tokens, np.concatenate(([0], np.cumsum(sizes))), times)


def ordinary_tokenizer(tokenizer_json: bytes) -> Tokenizer:
    """A tokenizer to which everything is ordinary text."""
    tokenizer = Tokenizer.from_buffer(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def batches(documents: Iterable[str]) -> Iterator[list[str]]:
    """The documents, as many at a time as are encoded at once."""
    waiting = iter(documents)
    while batch := list(islice(waiting, _BATCH)):
        yield batch


def _pieces(tokenizer: Tokenizer, vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    """(vocab_size,) how many bytes each id stands for, and whether it may be part of a new piece."""
    num_bytes, eligible = np.zeros(vocab_size, np.int64), np.zeros(vocab_size, bool)
    added = tokenizer.get_added_tokens_decoder()
    for piece, index in tokenizer.get_vocab().items():
        data = piece_bytes(piece) if index not in added else None
        num_bytes[index] = len(piece.encode() if data is None else data)
        eligible[index] = data is not None and all(byte >= 0x80 for byte in data)
    return num_bytes, eligible


def _edges(num_bytes: np.ndarray, text: str, words: Words) -> tuple[np.ndarray, np.ndarray]:
    """For each token (their sizes are given): whether a word ends where it does, and whether one ends inside it."""
    ends = np.cumsum(num_bytes)
    at_word_end = np.zeros(len(text.encode()) + 1, bool)
    at_word_end[np.cumsum([len(word.encode()) for word in words.cut(text)], dtype=np.int64)] = True
    if (int(ends[-1]) if len(ends) else 0) != len(at_word_end) - 1:
        raise ValueError(
            "expand.words: this tokenizer adds something to a text (a space before it, for one), so the edges of words "
            "cannot be found among its tokens; set expand.words: none"
        )
    up_to = np.cumsum(at_word_end)
    return at_word_end[ends], up_to[ends - 1] > up_to[ends - num_bytes]


def _runs_of(ids: np.ndarray, mergeable: np.ndarray, together: np.ndarray) -> Iterator[bytes]:
    """Stretches of two or more mergeable tokens that are together, as the bytes of their ids."""
    linked = np.zeros(len(ids) + 1, bool)  # whether token i may merge with the one before
    linked[1:-1] = together & mergeable[1:] & mergeable[:-1]
    starts = np.flatnonzero(linked[1:] & ~linked[:-1])
    ends = np.flatnonzero(linked[:-1] & ~linked[1:]) + 1
    octets, size = ids.tobytes(), ids.itemsize
    for start, end in zip((starts * size).tolist(), (ends * size).tolist(), strict=True):
        yield octets[start:end]

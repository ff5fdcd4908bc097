"""Best-fit packing: documents into sequences with as few cuts as there can be, instead of one stream cut anywhere.

In: pieces of documents (whole documents, as a rule), sequence length, seed. Out: numpy index arrays. A piece longer
than a sequence is cut into full sequences and a rest; then, longest first, each goes to the sequence with the least
room that still holds it, a new one where none does. What stays free is padding. Each epoch is packed anew, over
documents shuffled anew (which decides between equal lengths), and its sequences are shuffled.

Every token is a target exactly once an epoch: a sequence of seq_len targets is read with one token before them, the
document's own where the first piece is the rest of a document, else the token that ends documents. Such a rest comes
first in its sequence; should there be several, the first token of the others is predicted from another document's
end.

The sequences by their room are stacks; the smallest room that fits is found in a binary tree over the rooms, so that n
pieces take O(n log seq_len).

Source: Ding et al., "Fewer Truncations Improve Language Modeling", ICML 2024 (arXiv 2404.10830), section 3.

    order = packed_order([whole_documents(lengths)], num_samples=1000, seq_len=512, seed=1234)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from storage.compiled import compiled
from storage.sample_order import shuffled_apart


@dataclass(frozen=True)
class PackedOrder:
    """The order of one source, packed.

    Attributes:
        pieces: (pieces, 3) int32, those of a sequence side by side: row, and from which token of the document to which.
        bounds: (samples + 1,) int64, where the pieces of each sequence begin.
        shuffle_index: (samples,) the sequence that is read as the j-th sample.
        targets: (samples,) int32, tokens of each sequence that are targets; the rest of seq_len is padding.
    """

    pieces: np.ndarray
    bounds: np.ndarray
    shuffle_index: np.ndarray
    targets: np.ndarray

    @property
    def num_samples(self) -> int:
        return len(self.shuffle_index)


def whole_documents(lengths: np.ndarray) -> np.ndarray:
    """(documents, 3) int32: each document as one piece."""
    pieces = np.zeros((len(lengths), 3), np.int32)
    pieces[:, 0] = np.arange(len(lengths), dtype=np.int32)
    pieces[:, 2] = lengths
    return pieces


def packed_order(
    epochs: Iterable[np.ndarray], num_samples: int, seq_len: int, seed: int, phase: int = 0
) -> PackedOrder:
    """Pack epoch after epoch until there are at least `num_samples` sequences.

    Memory: 12 bytes a piece and 20 a sequence that is kept, and about 60 a piece of the epoch being packed. 20 M
    documents (20 B tokens) into sequences of 4,096 took 20 s of CPU and 1.9 GB on an EPYC.

    Args:
        epochs: (pieces, 3) row, from, to; each with a token at least, and so many that they suffice.
        phase: number of orders that the run has had before, so that no two shuffle alike.
    """
    random = np.random.RandomState([seed, phase])
    parts, borders, num_sequences = [], [], 0
    for pieces in epochs:
        order = np.arange(len(pieces), dtype=np.int32)
        random.shuffle(order)
        part = _pack(cut(pieces[order], seq_len), seq_len)
        parts.append(part)
        num_sequences += len(part[1])
        borders.append(num_sequences)
        if num_sequences >= num_samples:
            break
    assert num_sequences >= num_samples, f"{num_sequences} sequences of {num_samples}"
    sizes = np.concatenate([sizes for _, sizes, _ in parts])
    return PackedOrder(
        pieces=np.concatenate([pieces for pieces, _, _ in parts]),
        bounds=np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]),
        shuffle_index=shuffled_apart(borders, random),
        targets=np.concatenate([targets for _, _, targets in parts]),
    )


def cut(pieces: np.ndarray, seq_len: int) -> np.ndarray:
    """Pieces of at most `seq_len` tokens: full ones and the rest of each; those without a token are left out."""
    lengths = (pieces[:, 2] - pieces[:, 1]).astype(np.int64)
    times = -(-lengths // seq_len)
    whose = np.repeat(np.arange(len(pieces)), times)
    number = np.arange(len(whose)) - np.repeat(np.cumsum(times) - times, times)
    chunks = pieces[whose]
    chunks[:, 1] += (number * seq_len).astype(np.int32)
    np.minimum(chunks[:, 2], chunks[:, 1].astype(np.int64) + seq_len, out=chunks[:, 2], casting="unsafe")
    return chunks


def _pack(chunks: np.ndarray, seq_len: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chunks sequence by sequence; how many each sequence has; how many tokens."""
    lengths = chunks[:, 2] - chunks[:, 1]
    longest_first = np.argsort(-lengths, kind="stable")
    sequences = np.empty(len(chunks), np.int32)
    num_sequences = _best_fit(lengths[longest_first], seq_len, sequences)
    chunks = chunks[longest_first]
    grouped = np.argsort(sequences.astype(np.int64) * 2 + (chunks[:, 1] == 0), kind="stable")
    sizes = np.bincount(sequences, minlength=num_sequences)
    targets = np.zeros(num_sequences, np.int32)
    np.add.at(targets, sequences, lengths[longest_first])
    return chunks[grouped], sizes, targets


def num_sequences(lengths: np.ndarray, seq_len: int) -> int:
    """Sequences that documents of these lengths make, in every epoch the same: the order of equals changes nothing."""
    rests = lengths % seq_len  # full sequences have no room for others
    sizes = np.sort(rests[rests > 0].astype(np.int32))[::-1].copy()
    return int((lengths // seq_len).sum(dtype=np.int64)) + int(_best_fit(sizes, seq_len, np.empty_like(sizes)))


@compiled
def _best_fit(sizes: np.ndarray, seq_len: int, sequences: np.ndarray) -> int:
    """Write the sequence of each size, which come longest first and fit a sequence; how many sequences there are."""
    width = 1
    while width <= seq_len:
        width *= 2
    some = np.zeros(2 * width, np.bool_)  # a binary tree: is there a sequence with this room, or of a room below
    top = np.full(seq_len + 1, -1, np.int32)  # by room, the last sequence that came to have it
    below = np.empty(len(sizes), np.int32)  # the one under it
    count = 0
    for item in range(len(sizes)):
        room = _smallest_room(some, width, sizes[item])
        if room < 0:
            sequence, left = count, seq_len - sizes[item]
            count += 1
        else:
            sequence, left = top[room], room - sizes[item]
            top[room] = below[sequence]
            if top[room] < 0:
                _mark(some, width + room, False)
        sequences[item] = sequence
        if left > 0:
            if top[left] < 0:
                _mark(some, width + left, True)
            below[sequence] = top[left]
            top[left] = sequence
    return count


@compiled
def _smallest_room(some: np.ndarray, width: int, size: int) -> int:
    """The smallest room of at least `size` that some sequence has; -1 where none has."""
    node = width + size
    if some[node]:
        return size
    while node > 1:
        if node % 2 == 0 and some[node + 1]:
            node += 1
            while node < width:
                node *= 2
                if not some[node]:
                    node += 1
            return node - width
        node //= 2
    return -1


@compiled
def _mark(some: np.ndarray, node: int, value: bool) -> None:
    some[node] = value
    node //= 2
    while node >= 1:
        either = some[2 * node] or some[2 * node + 1]
        if some[node] == either:
            return
        some[node] = either
        node //= 2


@dataclass(frozen=True)
class PackingFacts:
    """What a way of packing does to documents: parts of 1.

    Attributes:
        padding: of all positions.
        truncated: of all documents with a token: read in more than one sample.
    """

    padding: float
    truncated: float


def packing_facts(lengths: np.ndarray, seq_len: int) -> dict[str, PackingFacts]:
    """Both ways of packing an epoch of documents of these lengths; the stream is cut as it lies in the file."""
    lengths = lengths[lengths > 0]
    if not len(lengths):
        return dict.fromkeys(("concatenate", "best_fit"), PackingFacts(0.0, 0.0))
    ends = np.cumsum(lengths, dtype=np.int64)
    first, last = np.maximum(ends - lengths - 1, 0) // seq_len, np.maximum(ends - 2, 0) // seq_len
    padding = 1 - int(ends[-1]) / (num_sequences(lengths, seq_len) * seq_len)
    return {
        "concatenate": PackingFacts(0.0, float(np.mean(first != last))),
        "best_fit": PackingFacts(padding, float(np.mean(lengths > seq_len))),
    }

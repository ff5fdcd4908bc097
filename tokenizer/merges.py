"""Learning further BPE merges on top of a base tokenizer's output.

In: runs of base token ids with how often each occurs, and a rule for which concatenations may become a
piece. Out: merges in the order learned, each with the count it had. The algorithm is Sennrich et al. 2016
(section 3.2): merge the most frequent adjacent pair everywhere, again and again; ties go to the smaller
(left, right) ids. It is incremental: tokens form a linked list in flat arrays, each pair keeps its count and
a list of its positions, and a heap with lazily corrected counts yields the next pair (`merge_kernel`,
compiled), so the cost is that of the merges made, not of rescanning. The rule is asked only for pairs that
reach the top.

Memory of T tokens in R runs (without those, which are the caller's): 20 T for positions, 8 bytes for each place that a
pair has ever had (at most T, and two for each of the at most T tokens that merges take away: 24 T; half more while
the room for them grows), 32 for each pair that ever occurs `min_count` times (room for them doubles when it is full),
24 for each id. So at most 56 T + 64 pairs; 1.4 million tokens of Japanese without words took 74 MiB.
While the first pairs are counted: 24 to 48 bytes for each different one.

    merges = learn_merges(Runs.of({(230, 129, 130): 7}), token_bytes, first_id=300, allowed=may_merge,
                          limit=2000, min_count=5)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tokenizer.merge_kernel import (
    NONE,
    PLACES,
    TOKEN,
    TRACKED,
    Neighbours,
    Pairs,
    Places,
    chain,
    count_pairs,
    enter_all,
    merge,
    most_frequent,
    track,
)

_ID_BITS = 32
_ID_MASK = (1 << _ID_BITS) - 1
_FEWEST_PAIRS = 1 << 16  # room at the start


@dataclass(frozen=True)
class Runs:
    """Runs of tokens within which pairs may merge: run i is `tokens[bounds[i]:bounds[i + 1]]`."""

    tokens: np.ndarray  # (tokens,) int32
    bounds: np.ndarray  # (runs + 1,) int64
    times: np.ndarray  # (runs,) int64: how often each occurs

    @classmethod
    def of(cls, counts: Mapping[tuple[int, ...], int]) -> Runs:
        """These runs and how often each occurs."""
        tokens = np.array([token for run in counts for token in run], np.int32)
        bounds = np.cumsum([0, *map(len, counts)], dtype=np.int64)
        return cls(tokens, bounds, np.array([*counts.values()], np.int64))


@dataclass(frozen=True)
class Merge:
    """`left` and `right` (token ids) become a new token with these bytes; `count` is the pair's then."""

    left: int
    right: int
    data: bytes
    count: int


def learn_merges(
    runs: Runs,
    token_bytes: Callable[[int], bytes],
    *,
    first_id: int,
    allowed: Callable[[bytes], bool],
    limit: int,
    min_count: int,
) -> list[Merge]:
    """Learn at most `limit` merges, each of a pair seen `min_count` times or more.

    The k-th merge makes the token `first_id + k`.

    Args:
        token_bytes: the bytes of a base token.
        allowed: whether these bytes may become a new piece.

    Raises:
        ValueError: more tokens, or more of a run, than 32 bits can count.
    """
    most = max(len(runs.tokens), int(runs.times.max(initial=0)))
    if most > np.iinfo(np.int32).max:
        raise ValueError(
            f"expand.sample_characters: {most} tokens, or times that one run occurs, expected at most "
            f"{np.iinfo(np.int32).max}; lower it"
        )
    state = _State(runs, first_id + limit, max(min_count, 1))
    merges: list[Merge] = []

    def bytes_of(token: int) -> bytes:
        return token_bytes(token) if token < first_id else merges[token - first_id].data

    while len(merges) < limit and (pair := state.most_frequent()) != NONE:
        left, right, count = state.facts(pair)
        data = bytes_of(left) + bytes_of(right)
        if allowed(data):
            state.merge(pair, first_id + len(merges))
            merges.append(Merge(left, right, data, count))
    return merges


class _State:
    """All runs as linked lists of tokens, with the positions and counts of every frequent pair."""

    def __init__(self, runs: Runs, max_ids: int, min_count: int) -> None:
        self.min_count = min_count
        self.tokens = np.empty(len(runs.tokens), TOKEN)
        chain(self.tokens, runs.tokens, runs.bounds, runs.times)
        zeros, nones = np.zeros(max_ids, np.int64), np.full(max_ids, NONE, np.int32)
        self.near = Neighbours(zeros, zeros.copy(), nones, nones.copy())
        keys, counts = count_pairs(self.tokens)
        frequent = np.flatnonzero(counts >= min_count)
        self.pairs = _room_for_pairs(max(len(frequent), _FEWEST_PAIRS))
        self.places = _room_for_places(len(runs.tokens))
        self.sizes = np.zeros(3, np.int64)
        enter_all(self.pairs, self.sizes, keys[frequent], counts[frequent])
        renumbered = np.full(len(keys), NONE, np.int32)
        renumbered[frequent] = np.arange(len(frequent), dtype=np.int32)
        track(self.tokens, renumbered, self.pairs, self.places, self.sizes)

    def most_frequent(self) -> int:
        """The pair to merge next, which leaves the heap; NONE when none is frequent enough."""
        return int(most_frequent(self.pairs, self.sizes, self.min_count))

    def facts(self, pair: int) -> tuple[int, int, int]:
        """Left token, right token, count."""
        key = int(self.pairs.key[pair])
        return key >> _ID_BITS, key & _ID_MASK, int(self.pairs.times[pair])

    def merge(self, pair: int, new: int) -> None:
        count = int(self.pairs.times[pair])
        self._make_room(2 * min(new + 1, count), 2 * min(len(self.tokens), count))
        merge(self.tokens, self.pairs, self.places, self.sizes, self.near, pair, new, self.min_count)

    def _make_room(self, more_pairs: int, more_places: int) -> None:
        pairs, places = int(self.sizes[TRACKED]) + more_pairs, int(self.sizes[PLACES]) + more_places
        if pairs > (room := len(self.pairs.key)):
            self.pairs = Pairs(*_copied(self.pairs, _room_for_pairs(max(pairs, 2 * room))))
        if places > (room := len(self.places.position)):
            self.places = Places(*_copied(self.places, _room_for_places(max(places, room + room // 2))))


def _room_for_pairs(number: int) -> Pairs:
    key, times, bound = (np.zeros(number, np.int64) for _ in range(3))
    return Pairs(key, times, bound, np.full(number, NONE, np.int32), np.full(number, NONE, np.int32))


def _room_for_places(number: int) -> Places:
    return Places(np.empty(number, np.int32), np.empty(number, np.int32))


def _copied(full: Iterable[np.ndarray], larger: Iterable[np.ndarray]) -> list[np.ndarray]:
    """The larger arrays, beginning with what the full ones hold."""
    pairs = list(zip(full, larger, strict=True))
    for old, new in pairs:
        new[: len(old)] = old
    return [new for _, new in pairs]

"""Compiled parts of merge learning: linked lists of tokens and of equal pairs, and a heap of pairs.

Every token has a position. What is known of it lies together (`TOKEN`), because merging reads positions in no order
that a cache could foresee. A pair's positions are a linked list in `Places`, which only grows: where the pair has been
broken is found out when the pair is merged, for the tokens there are others. A pair's count is always exact. It can
only fall after the merge that made the pair, because every pair made later holds a newer token; so a pair below
`min_count` is never taken in, and a heap ordered by an earlier, higher count needs a correction only for what reaches
its top.

    enter_all(pairs, sizes, keys, counts)
    pair = most_frequent(pairs, sizes, min_count)
    merge(tokens, pairs, places, sizes, near, pair, new, min_count)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from storage.compiled import compiled

NONE = -1
TRACKED, HEAP, PLACES = range(3)  # what `sizes` counts
_ID_BITS = 32
_MULTIPLIER = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: multiplicative hashing (Knuth, volume 3, 6.4)

# What is known of each position; `NONE` where there is nothing.
TOKEN = np.dtype([
    ("token", np.int32),
    ("before", np.int32),  # neighbours in its run
    ("after", np.int32),
    ("times", np.int32),  # how often the run occurs
    ("pair", np.int32),  # the tracked pair that begins here
])  # fmt: skip


class Pairs(NamedTuple):
    """Arrays with one entry for each tracked pair; `key` is left << 32 | right."""

    key: np.ndarray  # int64
    times: np.ndarray  # int64: how often it occurs now
    bound: np.ndarray  # int64: the count by which the pair stands in the heap
    first: np.ndarray  # int32: its first entry in `Places`
    heap: np.ndarray  # int32: pairs, the most frequent first


class Places(NamedTuple):
    """Arrays (int32) with one entry for each position that a pair has ever had."""

    position: np.ndarray
    after: np.ndarray  # the pair's next entry


class Neighbours(NamedTuple):
    """Scratch arrays with one entry for each token: what one merge finds left and right of the new token."""

    left_count: np.ndarray  # int64, 0 between merges
    right_count: np.ndarray
    left_pair: np.ndarray  # int32, NONE between merges
    right_pair: np.ndarray


@compiled
def chain(tokens: np.ndarray, ids: np.ndarray, bounds: np.ndarray, times: np.ndarray) -> None:
    """Set each run out as a list of positions; run i is ids[bounds[i]:bounds[i + 1]] and occurs times[i] times."""
    for run in range(len(times)):
        for at in range(bounds[run], bounds[run + 1]):
            position = tokens[at]
            position.token, position.times, position.pair = ids[at], times[run], NONE
            position.before = at - 1 if at > bounds[run] else NONE
            position.after = at + 1 if at + 1 < bounds[run + 1] else NONE


@compiled
def count_pairs(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the different pairs as they come, write each position's number to `tokens.pair`; keys and counts."""
    slots = np.full(1 << 10, NONE, np.int32)
    keys = np.empty(1 << 9, np.int64)
    counts = np.zeros(1 << 9, np.int64)
    used = 0
    for at in range(len(tokens)):
        second = tokens[at].after
        if second == NONE:
            continue
        if used == len(keys):
            keys = np.concatenate((keys, np.empty_like(keys)))
            counts = np.concatenate((counts, np.zeros_like(counts)))
            slots = np.full(2 * len(slots), NONE, np.int32)
            for pair in range(used):
                slots[_slot(slots, keys, keys[pair])] = pair
        key = np.int64(tokens[at].token) << _ID_BITS | np.int64(tokens[second].token)
        slot = _slot(slots, keys, key)
        if slots[slot] == NONE:
            slots[slot] = used
            keys[used] = key
            used += 1
        tokens[at].pair = slots[slot]
        counts[slots[slot]] += tokens[at].times
    return keys[:used], counts[:used]


@compiled
def _slot(slots: np.ndarray, keys: np.ndarray, key: int) -> np.uint64:
    """Where this key is in a table of open addressing, or where it would be entered."""
    mask = np.uint64(len(slots) - 1)
    at = (np.uint64(key) * np.uint64(_MULTIPLIER) >> np.uint64(20)) & mask
    while slots[at] != NONE and keys[slots[at]] != key:
        at = (at + np.uint64(1)) & mask
    return at


@compiled
def track(tokens: np.ndarray, renumbered: np.ndarray, pairs: Pairs, places: Places, sizes: np.ndarray) -> None:
    """Give positions the new numbers of their pairs (`NONE`: not tracked) and list those of each pair."""
    for at in range(len(tokens)):
        if tokens[at].pair != NONE:
            pair = renumbered[tokens[at].pair]
            tokens[at].pair = NONE
            if pair != NONE:
                _begin(tokens, pairs, places, sizes, at, pair)


@compiled
def _begin(tokens: np.ndarray, pairs: Pairs, places: Places, sizes: np.ndarray, at: int, pair: int) -> None:
    """The pair begins here."""
    tokens[at].pair = pair
    entry = sizes[PLACES]
    places.position[entry], places.after[entry] = at, pairs.first[pair]
    pairs.first[pair] = entry
    sizes[PLACES] += 1


@compiled
def _break(tokens: np.ndarray, pairs: Pairs, at: int) -> None:
    """The pair that begins here is no more."""
    if tokens[at].pair != NONE:
        pairs.times[tokens[at].pair] -= tokens[at].times
        tokens[at].pair = NONE


@compiled
def merge(
    tokens: np.ndarray,
    pairs: Pairs,
    places: Places,
    sizes: np.ndarray,
    near: Neighbours,
    pair: int,
    new: int,
    min_count: int,
) -> None:
    """Replace a pair by the token `new` everywhere, left to right, and take in the pairs that this makes.

    Args:
        sizes: how much of `pairs`, `pairs.heap` and `places` is in use; brought up to date. There must be room for
            two more pairs of each different neighbour, and two more places of each occurrence.
    """
    positions = _replace(tokens, pairs, places, pair, new)
    for at in positions:
        weight = tokens[at].times
        previous, following = tokens[at].before, tokens[at].after
        if previous != NONE and tokens[previous].token != new:  # else it is that one's right neighbour
            near.left_count[tokens[previous].token] += weight
        if following != NONE:
            near.right_count[tokens[following].token] += weight
    for at in positions:
        previous, following = tokens[at].before, tokens[at].after
        if previous != NONE and tokens[previous].token != new:
            other = tokens[previous].token
            if near.left_count[other] >= min_count:
                if near.left_pair[other] == NONE:
                    key = np.int64(other) << _ID_BITS | np.int64(new)
                    near.left_pair[other] = _enter(pairs, sizes, key, near.left_count[other])
                _begin(tokens, pairs, places, sizes, previous, near.left_pair[other])
        if following != NONE:
            other = tokens[following].token
            if near.right_count[other] >= min_count:
                if near.right_pair[other] == NONE:
                    key = np.int64(new) << _ID_BITS | np.int64(other)
                    near.right_pair[other] = _enter(pairs, sizes, key, near.right_count[other])
                _begin(tokens, pairs, places, sizes, at, near.right_pair[other])
    for at in positions:
        for neighbour in (tokens[at].before, tokens[at].after):
            if neighbour != NONE:
                other = tokens[neighbour].token
                near.left_count[other] = near.right_count[other] = 0
                near.left_pair[other] = near.right_pair[other] = NONE


@compiled
def _replace(tokens: np.ndarray, pairs: Pairs, places: Places, pair: int, new: int) -> np.ndarray:
    """Put `new` for the pair wherever it occurs, and drop the pairs which that breaks; the new token's positions."""
    left, right = pairs.key[pair] >> _ID_BITS, pairs.key[pair] & ((1 << _ID_BITS) - 1)
    number = 0
    entry = pairs.first[pair]
    while entry != NONE:
        number += 1
        entry = places.after[entry]
    positions = np.empty(number, np.int32)
    entry = pairs.first[pair]
    for index in range(number):
        positions[index] = places.position[entry]
        entry = places.after[entry]
    if left == right:
        positions.sort()  # only a token with itself can overlap: aaa becomes (aa)a
    merged = 0
    for at in positions:
        second = tokens[at].after
        if tokens[at].token != left or second == NONE or tokens[second].token != right:
            continue  # the pair was broken here
        previous, following = tokens[at].before, tokens[second].after
        if previous != NONE:
            _break(tokens, pairs, previous)
        _break(tokens, pairs, second)
        tokens[at].pair = NONE
        tokens[at].token, tokens[second].token = new, NONE
        tokens[at].after = following
        if following != NONE:
            tokens[following].before = at
        positions[merged] = at
        merged += 1
    pairs.times[pair] = 0
    return positions[:merged]


@compiled
def _enter(pairs: Pairs, sizes: np.ndarray, key: int, count: int) -> int:
    """Track one more pair and put it into the heap; its number."""
    pair = sizes[TRACKED]
    pairs.key[pair], pairs.times[pair], pairs.bound[pair], pairs.first[pair] = key, count, count, NONE
    sizes[TRACKED] += 1
    at = sizes[HEAP]
    sizes[HEAP] += 1
    while at > 0:
        parent = (at - 1) // 2
        if not _comes_first(pairs, pair, pairs.heap[parent]):
            break
        pairs.heap[at] = pairs.heap[parent]
        at = parent
    pairs.heap[at] = pair
    return pair


@compiled
def enter_all(pairs: Pairs, sizes: np.ndarray, keys: np.ndarray, counts: np.ndarray) -> None:
    """Track these pairs, numbered from 0 in their order."""
    for index in range(len(keys)):
        _enter(pairs, sizes, keys[index], counts[index])


@compiled
def most_frequent(pairs: Pairs, sizes: np.ndarray, min_count: int) -> int:
    """Take the most frequent pair out of the heap, of equal ones the smallest key; NONE when it is too rare."""
    while sizes[HEAP] > 0:
        top = pairs.heap[0]
        if pairs.bound[top] < min_count:
            return NONE
        exact = pairs.bound[top] == pairs.times[top]
        pairs.bound[top] = pairs.times[top]
        if exact or pairs.times[top] < min_count:
            sizes[HEAP] -= 1
            _sink(pairs, sizes[HEAP], pairs.heap[sizes[HEAP]])
        else:
            _sink(pairs, sizes[HEAP], top)
        if exact:
            return top
    return NONE


@compiled
def _sink(pairs: Pairs, size: int, pair: int) -> None:
    """Put a pair in at the top of a heap of this size, down to its place."""
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and _comes_first(pairs, pairs.heap[child + 1], pairs.heap[child]):
            child += 1
        if not _comes_first(pairs, pairs.heap[child], pair):
            break
        pairs.heap[at] = pairs.heap[child]
        at = child
    pairs.heap[at] = pair


@compiled
def _comes_first(pairs: Pairs, one: int, other: int) -> bool:
    if pairs.bound[one] != pairs.bound[other]:
        return pairs.bound[one] > pairs.bound[other]
    return pairs.key[one] < pairs.key[other]

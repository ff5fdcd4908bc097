"""Learning further BPE merges on top of a base tokenizer's output.

In: runs of base token ids with how often each occurs, and a rule for which concatenations may become a
piece. Out: merges in the order learned, each with the count it had. The algorithm is Sennrich et al. 2016
(section 3.2): merge the most frequent adjacent pair everywhere, again and again; ties go to the smaller
(left, right) ids. It is incremental: tokens form a linked list in flat arrays, each pair keeps its count
and the positions where it was seen, and a heap with lazily corrected counts yields the next pair, so the
cost is that of the merges made, not of rescanning. Pairs that the rule refuses are not tracked.

    merges = learn_merges({(230, 129, 130): 7}, token_bytes, allowed=may_merge, limit=2000, min_count=5)
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_ID_BITS = 32
_ID_MASK = (1 << _ID_BITS) - 1


@dataclass(frozen=True)
class Merge:
    """`left` and `right` (token ids) become a new token with these bytes; `count` is the pair's then."""

    left: int
    right: int
    data: bytes
    count: int


def learn_merges(
    runs: Mapping[tuple[int, ...], int],
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
        runs: token ids within which pairs may merge, and the number of times each run occurs.
        token_bytes: the bytes of a base token.
        allowed: whether these bytes may become a new piece.
    """
    state = _State(runs, token_bytes, first_id, allowed)
    merges: list[Merge] = []
    while len(merges) < limit and (best := state.most_frequent(min_count)) is not None:
        key, count = best
        merges.append(state.merge(key, count))
    return merges


class _State:
    """All runs as one linked list of tokens, with the positions and counts of every pair that may merge."""

    def __init__(
        self,
        runs: Mapping[tuple[int, ...], int],
        token_bytes: Callable[[int], bytes],
        first_id: int,
        allowed: Callable[[bytes], bool],
    ) -> None:
        self.base_bytes = token_bytes
        self.first_id = first_id
        self.new_bytes: list[bytes] = []
        self.allowed = allowed
        self.tokens = array("i")
        self.before = array("i")  # position of the token before, -1 at the start of a run
        self.after = array("i")
        self.weight = array("q")  # how often the run occurs
        for run, times in runs.items():
            start, end = len(self.tokens), len(self.tokens) + len(run)
            self.tokens.extend(run)
            self.before.extend([-1, *range(start, end - 1)])
            self.after.extend([*range(start + 1, end), -1])
            self.weight.extend([times] * len(run))
        self.counts: dict[int, int] = {}
        self.positions: dict[int, array[int]] = {}
        self.heap: list[tuple[int, int]] = []  # (-count, pair); the count is an upper bound
        seen = _Pairs()
        for position, after in enumerate(self.after):
            if after >= 0:
                seen.add(self.tokens[position] << _ID_BITS | self.tokens[after], position, self.weight[position])
        self._track(seen)

    def bytes_of(self, token: int) -> bytes:
        return self.base_bytes(token) if token < self.first_id else self.new_bytes[token - self.first_id]

    def _track(self, pairs: _Pairs) -> None:
        """Take in pairs never seen before, as far as they may merge."""
        for key, count in pairs.counts.items():
            if count > 0 and self.allowed(self.bytes_of(key >> _ID_BITS) + self.bytes_of(key & _ID_MASK)):
                self.counts[key] = count
                self.positions[key] = pairs.positions[key]
                heapq.heappush(self.heap, (-count, key))

    def most_frequent(self, min_count: int) -> tuple[int, int] | None:
        """The pair to merge next and its count, or None when none is frequent enough."""
        while self.heap:
            bound, key = heapq.heappop(self.heap)
            count = self.counts[key]
            if -bound < min_count:
                return None
            if count == -bound:
                return key, count
            heapq.heappush(self.heap, (-count, key))
        return None

    def merge(self, key: int, count: int) -> Merge:
        """Replace the pair by a new token everywhere, left to right, and correct its neighbours' counts.

        Every pair that this makes holds the new token, so it is new; every pair that it breaks loses count.
        """
        left, right = key >> _ID_BITS, key & _ID_MASK
        new = self.first_id + len(self.new_bytes)
        self.new_bytes.append(self.bytes_of(left) + self.bytes_of(right))
        tokens, before, after, weight = self.tokens, self.before, self.after, self.weight
        made, broken = _Pairs(), Counter[int]()
        for position in sorted(self.positions.pop(key)):
            second = after[position]
            if tokens[position] != left or second < 0 or tokens[second] != right:
                continue  # an earlier merge took one of the two
            previous, following, times = before[position], after[second], weight[position]
            tokens[position], tokens[second] = new, -1
            after[position], after[second] = following, -1
            if previous >= 0:
                token = tokens[previous]
                broken[token << _ID_BITS | left] += times
                made.add(token << _ID_BITS | new, previous, times)
            if following >= 0:
                before[following] = position
                token = tokens[following]
                broken[right << _ID_BITS | token] += times
                made.add(new << _ID_BITS | token, position, times)
        del self.counts[key]
        for pair, times in broken.items():
            if pair in self.counts:
                self.counts[pair] -= times
            elif pair in made.counts:  # in a run of equal tokens, made and broken again
                made.counts[pair] -= times
        self._track(made)
        return Merge(left, right, self.new_bytes[-1], count)


class _Pairs:
    """Counts and positions of adjacent tokens."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.positions: dict[int, array[int]] = {}

    def add(self, key: int, position: int, times: int) -> None:
        if key in self.counts:
            self.counts[key] += times
            self.positions[key].append(position)
        else:
            self.counts[key] = times
            self.positions[key] = array("i", (position,))

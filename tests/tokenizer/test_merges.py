"""The incremental merge learner against the plain algorithm, which recounts everything after each merge."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from tokenizer.merges import Merge, Runs, learn_merges

FIRST_ID = 10


def plain(
    runs: dict[tuple[int, ...], int], limit: int, min_count: int, max_bytes: int, first_id: int = FIRST_ID
) -> list[tuple[int, int]]:
    """Sennrich et al. 2016, as written: count all pairs, merge the most frequent, begin again."""
    sizes = dict.fromkeys(range(first_id), 1)
    state = {run: list(run) for run in runs}
    merges: list[tuple[int, int]] = []
    while len(merges) < limit:
        counts: Counter[tuple[int, int]] = Counter()
        for run, tokens in state.items():
            for pair in pairwise(tokens):
                if sizes[pair[0]] + sizes[pair[1]] <= max_bytes:
                    counts[pair] += runs[run]
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < min_count:
            return merges
        new = first_id + len(merges)
        sizes[new] = sizes[best[0]] + sizes[best[1]]
        merges.append(best)
        for tokens in state.values():
            at = 0
            while at < len(tokens) - 1:
                if (tokens[at], tokens[at + 1]) == best:
                    tokens[at : at + 2] = [new]
                at += 1
    return merges


def learn(
    runs: dict[tuple[int, ...], int], limit: int, min_count: int, max_bytes: int, first_id: int = FIRST_ID
) -> list[Merge]:
    return learn_merges(
        Runs.of(runs),
        lambda token: bytes([token]),
        first_id=first_id,
        allowed=lambda data: len(data) <= max_bytes,
        limit=limit,
        min_count=min_count,
    )


@pytest.mark.parametrize("seed", range(25))
def test_same_merges_as_the_plain_algorithm(seed: int) -> None:
    """Few different tokens, so that runs of equal ones and ties are everywhere."""
    generator = random.Random(seed)
    runs = {
        tuple(
            generator.choices(range(generator.choice([2, 4, 10])), k=generator.randrange(2, 30))
        ): generator.randrange(1, 5)
        for _ in range(20)
    }
    max_bytes = generator.choice([3, 6, 50])
    found = [(merge.left, merge.right) for merge in learn(runs, 60, 3, max_bytes)]
    assert found == plain(runs, 60, 3, max_bytes)
    assert found


def test_same_merges_when_tables_must_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,300 different pairs overflow the first hash table, and room for one pair is soon full."""
    monkeypatch.setattr("tokenizer.merges._FEWEST_PAIRS", 1)
    generator = random.Random(77)
    runs = {
        tuple(generator.choices(range(40), k=generator.randrange(2, 60))): generator.randrange(1, 90) for _ in range(90)
    }
    merges = learn(runs, 120, 2, 50, first_id=40)
    assert [(merge.left, merge.right) for merge in merges] == plain(runs, 120, 2, 50, first_id=40)
    assert len(merges) == 120


def test_counts_are_those_of_the_moment() -> None:
    """The second pair loses the times that the first merge took its token."""
    runs = {(1, 2, 3): 5, (2, 3): 4, (1, 2): 1}
    assert learn(runs, 9, 1, 2) == [Merge(2, 3, b"\x02\x03", 9), Merge(1, 2, b"\x01\x02", 1)]


@pytest.mark.parametrize(
    "runs",
    [
        Runs(np.broadcast_to(np.int32(1), 2**31), np.array([0, 2**31]), np.array([1])),
        Runs(np.ones(2, np.int32), np.array([0, 2]), np.array([2**31])),
    ],
    ids=["tokens", "times"],
)
def test_more_than_32_bits_is_refused(runs: Runs) -> None:
    with pytest.raises(ValueError, match="2147483648 tokens, or times"):
        learn_merges(runs, lambda _: b"", first_id=2, allowed=bool, limit=1, min_count=1)


def test_limits() -> None:
    runs = {(1, 2, 3): 4, (1, 2): 3, (3, 3): 2}
    assert learn(runs, 10, 3, 50) == [Merge(1, 2, b"\x01\x02", 7), Merge(10, 3, b"\x01\x02\x03", 4)]
    assert len(learn(runs, 1, 1, 50)) == 1
    assert learn(runs, 10, 8, 50) == []
    assert [merge.data for merge in learn(runs, 10, 2, 2)] == [b"\x01\x02", b"\x03\x03"]
    assert learn({}, 10, 1, 50) == []

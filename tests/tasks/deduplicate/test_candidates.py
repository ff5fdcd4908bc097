"""Which pairs are compared: all of a small bucket, those with the best-ranked of a large one, each once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tasks.deduplicate import candidates
from tasks.deduplicate.candidates import candidate_pairs


def buckets(*members: list[int]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *map(len, members)]).astype(np.int32)
    return offsets, np.concatenate(members).astype(np.int32)


def test_every_pair_of_a_small_bucket_once() -> None:
    rank = np.array([3, 0, 2, 1], np.int32)
    pairs = candidate_pairs([buckets([0, 1, 2]), buckets([3, 1], [1, 2])], rank, max_candidates=2)
    assert pairs.tolist() == [[0, 1], [0, 2], [0, 3], [2, 3]]


def test_in_a_large_bucket_only_the_best_ranked_are_compared_with_everyone() -> None:
    pairs = candidate_pairs([buckets([4, 2, 0, 1, 3])], np.arange(5, dtype=np.int32), max_candidates=2)
    assert pairs.tolist() == [[0, 1], [0, 2], [0, 3], [0, 4], [1, 2], [1, 3], [1, 4]]


def test_pairs_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    rank = rng.permutation(300).astype(np.int64)
    batches = [
        buckets(*(rng.choice(300, size, replace=False).tolist() for size in rng.integers(2, 30, 20))) for _ in range(5)
    ]
    whole = candidate_pairs(batches, rank, max_candidates=4)
    expected = set()
    for offsets, rows in batches:
        for first, last in pairwise(offsets):
            members = sorted(rank[rows[first:last]].tolist())
            expected |= {(members[k], members[i]) for i in range(len(members)) for k in range(min(i, 4))}
    assert [tuple(pair) for pair in whole.tolist()] == sorted(expected)
    monkeypatch.setattr(candidates, "MAX_PAIRS", 50)
    assert np.array_equal(candidate_pairs(batches, rank, max_candidates=4), whole)


def test_no_buckets_no_pairs() -> None:
    assert candidate_pairs([], np.arange(3), 4).shape == (0, 2)
    assert candidate_pairs([(np.zeros(1, np.int32), np.empty(0, np.int32))], np.arange(3), 4).shape == (0, 2)


def test_more_documents_than_a_pair_has_bits_for_are_refused() -> None:
    rank = np.broadcast_to(np.int64(0), (1 << 32) + 1)  # takes no memory
    with pytest.raises(ValueError, match="4,294,967,297 documents, at most 2\\^32"):
        candidate_pairs([], rank, 4)

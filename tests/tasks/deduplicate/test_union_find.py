"""Trees whose roots are the best-ranked, whatever the order of what ties them."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.deduplicate.union_find import join_buckets, join_pairs, to_roots


def plainly(num_documents: int, edges: list[tuple[int, int]]) -> list[int]:
    """The smallest number that can be reached from each."""
    smallest = list(range(num_documents))
    while True:
        before = smallest.copy()
        for left, right in edges:
            smallest[left] = smallest[right] = min(smallest[left], smallest[right])
        if smallest == before:
            return smallest


def start(num_documents: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(num_documents, dtype=dtype), np.full(num_documents, num_documents, dtype)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_roots_and_mates_do_not_depend_on_the_order_of_pairs(dtype: type) -> None:
    rng = np.random.default_rng(1)
    edges = [(int(left), int(right)) for left, right in rng.integers(0, 200, (120, 2)) if left != right]
    for _ in range(3):
        rng.shuffle(edges)
        parents, mates = start(200, dtype)
        join_pairs(parents, mates, np.array(edges), True)
        to_roots(parents)
        assert parents.tolist() == plainly(200, edges)
        for document in range(200):
            others = [sum(edge) - document for edge in edges if document in edge]
            assert mates[document] == min(others, default=200)


def test_a_long_chain_from_its_worst_end() -> None:
    parents, mates = start(3000, np.int32)
    join_pairs(parents, mates, np.stack([np.arange(2999), np.arange(1, 3000)], axis=1)[::-1].copy(), True)
    to_roots(parents)
    assert not parents.any()
    assert mates.tolist() == [1, *range(2999)]


def test_a_bucket_ties_its_documents_to_the_best_ranked() -> None:
    rank = np.array([5, 0, 3, 1, 4, 2], np.int32)  # of rows
    parents, mates = start(6, np.int32)
    join_buckets(parents, mates, rank, np.array([0, 3, 5], np.int32), np.array([0, 5, 2, 4, 3], np.int32), True)
    assert parents.tolist() == [0, 1, 2, 2, 1, 2]
    assert mates.tolist() == [6, 4, 3, 2, 1, 2], "of the bucket's best the second best, of the others the best"


def test_without_clusters_mates_are_noted_and_nothing_is_tied() -> None:
    rank = np.arange(4, dtype=np.int32)
    parents, mates = start(4, np.int32)
    join_buckets(parents, mates, rank, np.array([0, 2, 4], np.int32), np.array([1, 0, 1, 2], np.int32), False)
    join_pairs(parents, mates, np.array([[2, 3]]), False)
    assert parents.tolist() == [0, 1, 2, 3]
    assert mates.tolist() == [1, 0, 1, 2]

"""Clusters, survivors and twins: a function of the documents, not of their order."""

from __future__ import annotations

import numpy as np

from tasks.deduplicate.cluster import decide, survivor_rank


def bands(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.uint64)


def test_newest_then_longest_then_smallest_id_survives() -> None:
    rank = survivor_rank(
        ["CC-MAIN-2020-05", "CC-MAIN-2023-50", "unknown", "CC-MAIN-2023-50", "CC-MAIN-2023-50"],
        np.array([9, 5, 99, 7, 7]),
        [b"a", b"b", b"c", b"e", b"d"],
    )
    assert np.argsort(rank).tolist() == [4, 3, 1, 0, 2]


def test_exact_copies_name_the_best_of_them() -> None:
    decisions = decide(np.array([5, 5, 6, 5]), bands([1], [2], [3], [4]), np.array([2, 0, 3, 1]))
    assert decisions.survivor.tolist() == [1, 1, 2, 1]
    assert decisions.twin.tolist() == [1, -1, -1, 1]
    assert decisions.exact.tolist() == [True, False, False, True]
    assert decisions.kept.tolist() == [False, True, True, False]


def test_a_chain_of_buckets_is_one_cluster_with_one_survivor() -> None:
    # 0-1 share band 0, 1-2 share band 1; 2 outranks 1 and meets 0 only through it.
    decisions = decide(np.array([0, 1, 2, 3]), bands([7, 1], [7, 5], [8, 5], [9, 9]), np.array([0, 2, 1, 3]))
    assert decisions.survivor.tolist() == [0, 0, 0, 3]
    assert decisions.twin.tolist() == [-1, 0, 1, -1]


def test_equal_hashes_in_different_bands_mean_nothing() -> None:
    decisions = decide(np.array([0, 1]), bands([7, 1], [1, 7]), np.array([0, 1]))
    assert decisions.kept.tolist() == [True, True]


def test_an_exact_copy_follows_its_original_into_the_cluster() -> None:
    decisions = decide(np.array([0, 1, 1]), bands([7], [7], [7]), np.array([0, 1, 2]))
    assert decisions.survivor.tolist() == [0, 0, 0]
    assert decisions.twin.tolist() == [-1, 0, 1]


def test_order_of_documents_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    exact, hashes = rng.integers(0, 60, 80), rng.integers(0, 40, (80, 3)).astype(np.uint64)
    rank = rng.permutation(80)
    plain = decide(exact, hashes, rank)
    order = rng.permutation(80)
    shuffled = decide(exact[order], hashes[order], rank[order])
    assert np.array_equal(order[shuffled.survivor], plain.survivor[order])
    assert 0 < plain.kept.sum() < 80
    twins = np.where(shuffled.twin >= 0, order[shuffled.twin], -1)
    assert np.array_equal(twins, plain.twin[order])

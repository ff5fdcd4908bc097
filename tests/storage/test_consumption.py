"""Ranges of tokens: added up, taken from samples, and what is left of them."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from storage.consumption import History, consumed_ranges, epochs_left, joined, split_at_documents
from storage.continuation import matched_rows
from storage.sample_order import source_order
from storage.stored_order import StoredOrder


def spelled(ranges: np.ndarray) -> Counter[int]:
    return Counter({token: times for from_, to, times in ranges.tolist() for token in range(from_, to)})


@pytest.mark.parametrize("seed", range(20))
def test_joined_ranges_are_the_sum_of_those_given(seed: int) -> None:
    random = np.random.default_rng(seed)
    starts = random.integers(0, 40, int(random.integers(0, 25)))
    stops = starts + random.integers(0, 15, len(starts))
    times = random.integers(1, 4, len(starts))
    ranges = joined(starts, stops, times)
    expected: Counter[int] = Counter()
    for start, stop, number in zip(starts, stops, times, strict=True):
        expected.update(dict.fromkeys(range(start, stop), int(number)))
    assert spelled(ranges) == expected
    assert History(ranges).num_tokens == sum(expected.values())
    assert (ranges[1:, 0] >= ranges[:-1, 1]).all()
    touching = ranges[1:, 0] == ranges[:-1, 1]
    assert (ranges[1:, 2] != ranges[:-1, 2])[touching].all()  # else they would be one


@pytest.mark.parametrize("seed", range(20))
def test_what_samples_have_as_targets_is_told_to_the_token(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = random.integers(0, [3, 40][seed % 2], 25).astype(np.int32)  # empty documents, too, at the very beginning
    lengths[0] += 9
    seq_len = int(random.integers(1, 30))
    order = source_order(lengths, int(random.integers(1, 60)), seq_len, seed)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    stream = [starts[row] + token for row in order.document_index for token in range(lengths[row])]
    stored = StoredOrder(order.sample_index, order.shuffle_index, documents=order.document_index)
    for taken in (0, 1, order.num_samples // 2, order.num_samples):
        expected: Counter[int] = Counter()
        for number in order.shuffle_index[:taken].tolist():
            expected.update(int(token) for token in stream[number * seq_len + 1 : (number + 1) * seq_len + 1])
        from_, to = consumed_ranges(stored, taken, starts)
        assert spelled(joined(from_, to, np.ones(len(from_), np.int64))) == expected


def test_what_is_left_evens_out_epoch_by_epoch() -> None:
    starts = np.array([0, 5, 5, 8, 12])  # the second document is empty
    ranges = np.array([[0, 3, 1], [6, 8, 3], [10, 12, 1]])
    first, second, third, whole, again = islice(epochs_left(ranges, starts), 5)
    assert first.tolist() == [[0, 3, 5], [2, 0, 1], [3, 0, 2]]
    assert second.tolist() == [[0, 0, 5], [2, 0, 1], [3, 0, 4]]
    assert third.tolist() == second.tolist()
    assert whole.tolist() == again.tolist() == [[0, 0, 5], [2, 0, 3], [3, 0, 4]]


def test_an_epoch_that_was_just_finished_leaves_nothing() -> None:
    starts = np.array([0, 4, 9])
    epoch = next(epochs_left(np.array([[0, 9, 2]]), starts))
    assert epoch.tolist() == [[0, 0, 4], [1, 0, 5]]
    assert split_at_documents(np.array([3]), np.array([3]), starts).tolist() == []


def test_rows_are_matched_by_id_and_equal_ids_in_order() -> None:
    def ids(text: str) -> np.ndarray:
        return np.array([[ord(letter), 7] for letter in text], np.uint64).reshape(-1, 2)

    assert matched_rows(ids("abcd"), ids("dxb")).tolist() == [-1, 2, -1, 0]
    assert matched_rows(ids("aabca"), ids("caba")).tolist() == [1, 3, 2, 0, -1]
    assert matched_rows(ids("a"), ids("aa")).tolist() == [0]
    assert matched_rows(ids(""), ids("ab")).tolist() == []
    random = np.random.default_rng(0)
    before, now = random.permutation(500)[:300], random.permutation(500)[:350]
    rows = matched_rows(*(np.stack((values, values // 7), axis=1).astype(np.uint64) for values in (before, now)))
    place = {value: row for row, value in enumerate(now.tolist())}
    assert rows.tolist() == [place.get(value, -1) for value in before.tolist()]

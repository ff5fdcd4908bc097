from __future__ import annotations

from collections.abc import Sequence

import pytest

from tasks.evaluate.batching import common_prefix, plan_batches
from tasks.evaluate.requests import Context, Fitted, Generate

ASKED = Generate(Context(after="何が鳴く？"))


def fitted(*contexts: Sequence[int]) -> list[Fitted]:
    return [Fitted(ASKED, context) for context in contexts]


def test_requests_of_a_context_stay_together_and_the_longest_come_first() -> None:
    questions = fitted([1], [1, 2, 3], [1], [1, 2], [1, 2, 3], [7, 7])
    assert plan_batches(questions, 1) == [[1, 4], [3], [5], [0, 2]]
    assert plan_batches(questions, 2) == [[1, 4, 3], [5, 0, 2]]
    assert plan_batches(questions, 16) == [[1, 4, 3, 5, 0, 2]]


def test_requests_of_an_item_stay_together_with_different_contexts() -> None:
    questions = fitted([1], [1, 2, 3, 4], [2], [2, 3, 4, 5])
    assert plan_batches(questions, 1, items=[5, 5, 6, 6]) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_every_request_is_in_one_batch(batch_size: int) -> None:
    questions = fitted(*([number % 7] * (1 + number % 5) for number in range(50)))
    batches = plan_batches(questions, batch_size)
    assert sorted(place for batch in batches for place in batch) == list(range(50))


def test_the_prefix_is_what_all_contexts_begin_with() -> None:
    shared = list(range(10))
    assert common_prefix(fitted([*shared, 5, 6], [*shared, 5, 7], [*shared, 4])) == shared
    assert common_prefix(fitted([*shared, 5, 6], [*shared, 5, 7])) == [*shared, 5]


def test_each_context_keeps_an_id_of_its_own() -> None:
    """The logits after a context come from its last id, which therefore must be computed."""
    shared = list(range(10))
    assert common_prefix(fitted(shared, [*shared, 1])) == shared[:9]


def test_a_short_prefix_is_none() -> None:
    assert common_prefix(fitted([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 9])) == []
    assert common_prefix([]) == []

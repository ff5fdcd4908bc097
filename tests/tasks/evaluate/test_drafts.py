from __future__ import annotations

import pytest

from tasks.evaluate.drafts import FIRST, MOST, SAME, Drafts

PHRASE = list(range(100, 100 + SAME))


def test_what_followed_the_same_ids_is_guessed_to_follow_again() -> None:
    drafts = Drafts([*PHRASE, 7, 8, 9, 10, 11, *PHRASE])
    assert drafts.next(3) == [7, 8, 9]
    assert drafts.next(0) == []
    drafts.append(7)
    assert drafts.next(2) == [8, 9]
    drafts.append(50)
    assert drafts.next(3) == []


def test_the_last_time_counts() -> None:
    assert Drafts([*PHRASE, 7, *PHRASE, 8, *PHRASE]).next(1) == [8]


def test_one_id_fewer_in_common_is_not_enough() -> None:
    assert Drafts([1, *PHRASE[1:], 7, 2, *PHRASE[1:]]).next(3) == []
    assert Drafts(PHRASE[1:]).next(3) == []
    assert Drafts([]).next(3) == []


def test_a_loop_is_guessed_round_and_round() -> None:
    drafts = Drafts([1, 2, 3] * SAME)
    drafts.learn(FIRST, FIRST)
    assert drafts.next(MOST) == [1, 2, 3, 1, 2, 3, 1, 2]


@pytest.mark.parametrize(
    ("learned", "expected"),
    [
        ([], FIRST),
        ([(4, 4)], 8),
        ([(4, 4), (8, 8), (16, 16)], MOST),
        ([(4, 4), (8, 5)], 5),
        ([(4, 4), (3, 3)], 6),
        ([(4, 0)], 1),
        ([(4, 0), (1, 1)], 2),
        ([(0, 0)], FIRST),
    ],
)
def test_it_guesses_more_while_it_is_right(learned: list[tuple[int, int]], expected: int) -> None:
    drafts = Drafts([5] * 40)
    for guessed, right in learned:
        drafts.learn(guessed, right)
    assert len(drafts.next(100)) == expected

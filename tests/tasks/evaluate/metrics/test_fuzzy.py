from __future__ import annotations

import pytest

from tasks.evaluate.metrics.fuzzy import fuzzy_ratio, ratio, token_sort_ratio
from tests.tasks.evaluate.metrics.texts import random_pairs


@pytest.mark.parametrize(
    ("pred", "gold", "expected"),
    [
        ("京都", "東京", 0.5),  # 200 * 1 / 4
        ("東京都です。", "東京都", 0.75),  # 。 is gone: 200 * 3 / (5 + 3)
        ("答えは3です", "3", 0.29),  # 200 / 7 = 28.57
        ("織田信長、豊臣秀吉", "豊臣秀吉と織田信長", 0.44),  # sorted: 織田信長 豊臣秀吉; 200 * 4 / (9 + 9)
        ("豊臣秀吉、織田信長", "織田信長 豊臣秀吉", 1.0),
        ("ＴＯＫＹＯ", "tokyo", 1.0),
        ("5_000", "5 000", 0.6),  # an underscore is a letter; sorted: 000 5; 200 * 3 / 10
        ("あいう", "あえおかき", 0.25),  # 200 * 1 / 8
        ("あいうえおかきく", "あいうえおさしす", 0.62),  # 62.5 goes to the even number
        ("あいうえおかきく", "あいうさしすせそ", 0.38),  # and so does 37.5
        ("", "東京", 0.0),
    ],
)
def test_by_hand(pred: str, gold: str, expected: float) -> None:
    assert fuzzy_ratio(pred, gold) == expected


def test_latin_1_is_deleted_and_nothing_equals_nothing() -> None:
    assert token_sort_ratio("café", "caf") == 100
    assert token_sort_ratio("Ÿ", "ÿ") == 0  # U+0178 is lower-cased to U+00FF after the deletion
    assert token_sort_ratio("é", "！？") == 100
    assert fuzzy_ratio("", "。") == 1.0
    assert fuzzy_ratio("é", "東") == 0.0


def test_the_plain_ratio_takes_texts_as_they_are() -> None:
    assert ratio("雨。", "雪。") == 50
    assert token_sort_ratio("雨。", "雪。") == 0


def test_symmetric_bounded_and_one_for_the_same() -> None:
    for first, second in random_pairs(seed=2, count=1000):
        assert fuzzy_ratio(first, second) == fuzzy_ratio(second, first)
        assert 0.0 <= fuzzy_ratio(first, second) <= 1.0
        assert fuzzy_ratio(first, first) == 1.0


def test_a_long_text_is_compared() -> None:
    text = "今日は天気がいいので、散歩に出かけた。" * 2_000  # 108 kB
    assert fuzzy_ratio(text, text) == 1.0
    assert fuzzy_ratio(text, text[:36_000]) == 0.97  # 200 * 36,000 / 74,000 = 97.3

from __future__ import annotations

import pytest

from tasks.evaluate.metrics.character_f1 import best_character_f1, character_f1
from tests.tasks.evaluate.metrics.texts import random_pairs


@pytest.mark.parametrize(
    ("pred", "gold", "expected"),
    [
        ("東京都です。", "東京都", 2 * 3 / (5 + 3)),
        ("京都", "東京", 2 * 1 / (2 + 2)),
        ("ささやき", "さけび", 2 * 1 / (4 + 3)),  # the second さ has nothing to pair with
        ("ジョン・レノン", "ジョンレノン", 1.0),
        ("「吾輩は猫である」", "吾輩は猫である", 1.0),
        ("１９８９　年", "1989年", 1.0),
        ("Ａｐｐｌｅ", "aPPLE", 1.0),
        ("10～20個", "10〜20個", 1.0),  # both wave dashes
        ("C++", "C", 2 * 1 / (3 + 1)),  # symbols count
        ("都京", "京都", 1.0),  # order does not
        ("大阪", "札幌", 0.0),
        ("", "札幌", 0.0),
    ],
)
def test_by_hand(pred: str, gold: str, expected: float) -> None:
    assert character_f1(pred, gold) == pytest.approx(expected, abs=1e-12)


def test_without_characters_that_count_only_the_same_text_is_right() -> None:
    assert character_f1("", "") == 1.0
    assert character_f1(" ！", "!") == 1.0
    assert character_f1("？", "！") == 0.0
    assert character_f1("", "。") == 0.0


def test_invisible_characters_do_not_count() -> None:
    assert character_f1("\ufeff東\u200b京\x00", "東京") == 1.0


def test_the_best_answer_is_the_first_of_equals() -> None:
    assert best_character_f1("江戸時代", ["平安時代", "江戸", "時代"]) == (pytest.approx(2 / 3), "江戸")
    assert best_character_f1("鎌倉", ["奈良", "京都"]) == (0.0, "奈良")
    with pytest.raises(ValueError, match="no answer"):
        best_character_f1("鎌倉", [])


def test_symmetric_bounded_and_one_for_the_same() -> None:
    for first, second in random_pairs(seed=1, count=1000):
        assert character_f1(first, second) == character_f1(second, first)
        assert 0.0 <= character_f1(first, second) <= 1.0
        assert character_f1(first, first) == 1.0

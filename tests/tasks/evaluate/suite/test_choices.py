from __future__ import annotations

from tasks.evaluate.benchmark import Item
from tasks.evaluate.suite.choices import judge_choices
from tests.tasks.evaluate.suite.suite_cases import scored

ITEM = Item("1", {}, 1, "")


def test_the_sum_and_the_mean_per_byte_may_choose_differently() -> None:
    """ " b" is two bytes, " 雲雀" seven: -4/2 = -2 a byte against -7/7 = -1."""
    judgement = judge_choices(ITEM, scored(-4.0, -7.0), [" b", " 雲雀"])

    assert judgement.columns == {"accuracy": 0.0, "accuracy_per_byte": 1.0}
    assert (judgement.output, judgement.gold, judgement.predicted) == ("b", "雲雀", "0")


def test_of_equal_choices_the_first_is_taken() -> None:
    assert judge_choices(ITEM, scored(-3.0, -3.0), ["aa", "bb"]).columns["accuracy"] == 0.0
    assert judge_choices(ITEM, scored(-3.0, -2.0), ["aa", "bb"]).columns == {"accuracy": 1.0, "accuracy_per_byte": 1.0}

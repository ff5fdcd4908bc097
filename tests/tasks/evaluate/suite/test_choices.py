from __future__ import annotations

from tasks.evaluate.benchmark import Item
from tasks.evaluate.requests import Context
from tasks.evaluate.suite.choices import ask_choices, ask_harness_choices, judge_choices, judge_continuations
from tests.tasks.evaluate.suite.suite_cases import CHARACTERS, prompt_of, scored

ITEM = Item("1", {}, 1, "")


def test_the_sum_and_the_mean_per_byte_may_choose_differently() -> None:
    """ " b" is two bytes, " 雲雀" seven: -4/2 = -2 a byte against -7/7 = -1."""
    judgement = judge_continuations(ITEM, scored(-4.0, -7.0), [" b", " 雲雀"])

    assert judgement.columns == {"accuracy": 0.0, "accuracy_per_byte": 1.0}
    assert (judgement.output, judgement.gold, judgement.predicted) == ("b", "雲雀", "0")


def test_of_equal_choices_the_first_is_taken() -> None:
    assert judge_continuations(ITEM, scored(-3.0, -3.0), ["aa", "bb"]).columns["accuracy"] == 0.0
    assert judge_continuations(ITEM, scored(-3.0, -2.0), ["aa", "bb"]).columns == {
        "accuracy": 1.0,
        "accuracy_per_byte": 1.0,
    }


def test_choices_stand_behind_the_query_with_a_space_between() -> None:
    item = Item("1", {"query": "A lark", "choices": ["swims.", "sings."]}, 1, "")
    requests = ask_choices(Context(after="A lark"), item)

    assert [prompt_of(request) for request in requests] == ["A lark| swims.", "A lark| sings."]
    shown = Item("2", {"query": "An owl", "choices": ["hoots.", "barks."]}, 0, "")
    assert prompt_of(ask_harness_choices(item, [shown])[0]) == "An owl hoots.\n\nA lark| swims."
    judgement = judge_choices(item, scored(-2.0, -1.0), CHARACTERS)
    assert (judgement.output, judgement.columns["accuracy"]) == ("sings.", 1.0)

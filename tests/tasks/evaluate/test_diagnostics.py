from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.diagnostics import collapsed, diagnose, diagnostic_rows
from tasks.evaluate.scored_tasks import scored_task
from tests.tasks.evaluate.made_up_scores import SUITE, class_rows, rows

QA = scored_task("niilc-strict", "strict", SUITE)
NLI = scored_task("jnli-strict", "strict", SUITE)
CHOICE = scored_task("jsquad-strict", "strict", SUITE)


def _choices(predicted: Sequence[int], gold: Sequence[int]) -> list[dict[str, Any]]:
    return [
        row | {"predicted": str(ours), "gold": str(right)}
        for row, ours, right in zip(rows([0.0] * len(gold)), predicted, gold, strict=True)
    ]


def test_nothing_odd_says_nothing() -> None:
    found = diagnose(QA, rows([1.0, 0.0] * 20))
    assert (found["n"], found["counts"], found["warnings"]) == (40, {}, [])
    assert (found["predicted"], found["agreement"], found["collapsed"], found["constant"]) == (None, None, None, None)


def test_one_class_that_takes_all_is_named() -> None:
    answers = class_rows([("yes", "yes")] * 25 + [("no", "yes")] * 13 + [("no", "no")] * 2)
    found = diagnose(NLI, answers)
    assert found["collapsed"] == {"class": "yes", "share": 0.95}
    assert (found["predicted"], found["gold"]) == ({"yes": 38, "no": 2}, {"yes": 25, "no": 15})
    assert found["agreement"] == 27 / 40
    assert found["warnings"] == ["95 % of the predictions are yes, the right answer of 62 %"]


def test_just_below_is_no_collapse() -> None:
    answers = class_rows([("yes", "yes")] * 37 + [("no", "no")] * 3)
    assert collapsed(answers) is None
    assert diagnose(NLI, answers)["warnings"] == []


def test_a_few_examples_are_no_collapse() -> None:
    assert collapsed(class_rows([("yes", "yes")] * 19)) is None
    assert collapsed(class_rows([("yes", "yes")] * 20)) == {"class": "yes", "share": 1.0}


def test_unparsable_answers_are_in_no_class() -> None:
    answers = class_rows([("yes", "yes")] * 10 + [("no", None)] * 30)
    for row in answers[10:]:
        row["flags"] = ["unparsable"]
    found = diagnose(NLI, answers)
    assert (found["collapsed"], found["agreement"]) == (None, 0.25)
    assert (found["counts"], found["shares"]) == ({"unparsable": 30}, {"unparsable": 0.75})
    assert found["warnings"] == ["of 75 % of the outputs no answer could be read"]


def test_a_place_among_the_choices_that_is_taken_too_often() -> None:
    gold = [0, 1, 2, 3] * 25
    found = diagnose(CHOICE, _choices([0 if number < 60 else right for number, right in enumerate(gold)], gold))
    assert found["predicted"] == {"0": 70, "1": 10, "2": 10, "3": 10}
    assert found["warnings"] == ["choice 0 takes 70 % of the predictions, and is right in 25 %"]
    assert diagnose(CHOICE, _choices(gold, gold))["warnings"] == []


def test_a_skew_that_chance_makes_is_no_bias() -> None:
    """Half of 20 for a place that is right in 30 %: two standard errors, with so few."""
    gold = [0] * 6 + [1] * 14
    assert diagnose(CHOICE, _choices([0] * 10 + [1] * 10, gold))["warnings"] == []


def test_texts_are_no_choices() -> None:
    answers = [row | {"predicted": str(number)} for number, row in enumerate(rows([1.0] * 30))]
    assert diagnose(QA, answers)["predicted"] is None


def test_the_same_output_to_everything() -> None:
    answers = [row | {"normalised_output": "わかりません"} for row in rows([0.0] * 30)]
    found = diagnose(QA, answers)
    assert found["constant"] == {"output": "わかりません", "share": 1.0}
    assert found["warnings"] == ["100 % of the outputs are the same: 'わかりません'"]


def test_limits_and_cuts_are_warned_of() -> None:
    answers = rows([0.0] * 200)
    for row in answers[:101]:
        row["flags"] = ["token_limit"]
    answers[0]["flags"] = ["shots_dropped"]
    found = diagnose(QA, answers)
    assert found["counts"] == {"token_limit": 100, "shots_dropped": 1}
    assert found["warnings"] == ["0.5 % of the prompts did not fit: worked examples were left out"]
    answers[1:3] = [row | {"flags": ["token_limit"]} for row in answers[1:3]]
    answers[150]["flags"] = ["token_limit"]
    assert diagnose(QA, answers)["warnings"][0] == "50 % of the outputs end at the limit of tokens, not at a stop"


def test_a_row_for_each_model_and_benchmark() -> None:
    examples = {
        model: {"niilc-strict": rows([1.0]), "bits_per_byte": [{"id": "1", "bits": 1.0, "bytes": 1}]}
        for model in ("base", "trained")
    }
    found = diagnostic_rows(examples, EvaluateConfig(), benchmarks=SUITE)
    assert [(row["model"], row["task"], row["profile"]) for row in found] == [
        ("base", "niilc", "strict"),
        ("trained", "niilc", "strict"),
    ]


def test_choices_shown_by_their_texts_are_counted_by_their_places() -> None:
    gold = [0, 1, 2, 3] * 10
    answers = [row | {"right": row["gold"], "gold": f"text {row['id']}"} for row in _choices([3] * 40, gold)]
    found = diagnose(CHOICE, answers)
    assert found["gold"] == {"0": 10, "1": 10, "2": 10, "3": 10}
    assert found["collapsed"] == {"class": "3", "share": 1.0}
    assert found["warnings"] == ["100 % of the predictions are 3, the right answer of 25 %"]

from __future__ import annotations

import pytest

from tasks.evaluate.metrics.squad import (
    harness_triviaqa_exact,
    squad_exact,
    squad_f1,
    squad_normalise,
    triviaqa_exact,
    triviaqa_normalise,
)
from tests.tasks.evaluate.metrics.texts import random_pairs


def test_case_punctuation_articles_and_spaces_do_not_count() -> None:
    assert squad_normalise(" The  U.S. Navy, an  ally\n") == "us navy ally"
    assert squad_normalise("theatre") == "theatre"
    assert squad_normalise("state-of-the-art") == "stateoftheart"  # joined before articles are looked for
    assert squad_exact("the Edo period.", ["Heian period", "Edo Period"]) == 1.0
    assert squad_exact("Edo", ["Edo period"]) == 0.0


def test_f1_is_the_best_over_the_answers() -> None:
    assert squad_f1("in the Edo period", ["Edo period", "the Edo era"]) == pytest.approx(2 * 2 / (3 + 2))
    assert squad_f1("rain rain snow", ["rain"]) == pytest.approx(2 * 1 / (3 + 1))
    assert squad_f1("snow", ["rain", "hail"]) == 0.0


def test_a_question_without_answer_wants_none() -> None:
    for golds in ([], ["the"], ["!"]):
        assert squad_exact("", golds) == squad_f1("", golds) == 1.0
        assert squad_exact("unanswerable", golds) == squad_f1("unanswerable", golds) == 0.0
    assert squad_exact("", ["Kyoto"]) == squad_f1("", ["Kyoto"]) == 0.0
    assert squad_exact("", ["the", "Kyoto"]) == 0.0  # an answer is left, so there is one


def test_triviaqa_as_its_script_compares_it() -> None:
    assert triviaqa_normalise("The Ship-Yard_of ‘Nagasaki’!") == "ship yard of nagasaki"
    assert triviaqa_exact("a ship yard", ["Harbour", "The Ship-Yard"]) == 1.0
    assert triviaqa_exact("shipyard", ["The Ship-Yard"]) == 0.0


def test_triviaqa_as_the_harness_of_2023_compared_it() -> None:
    assert harness_triviaqa_exact(" SHIP-yard", ["Shipyard"]) == 1.0
    assert harness_triviaqa_exact("the shipyard", ["Shipyard"]) == 0.0  # articles stay
    assert harness_triviaqa_exact("ship  yard", ["ship yard"]) == 0.0  # spaces stay
    assert harness_triviaqa_exact("Shipyard !", ["Shipyard"]) == 0.0  # the space before the mark stays
    assert harness_triviaqa_exact("Shipyard", ["Shipyard "]) == 0.0  # an alias is not stripped
    assert harness_triviaqa_exact("", ["!"]) == 1.0


def test_symmetric_bounded_and_one_for_the_same() -> None:
    for first, second in random_pairs(seed=6, count=1000):
        assert squad_f1(first, [second]) == squad_f1(second, [first])
        assert squad_exact(first, [second]) <= squad_f1(first, [second]) <= 1.0
        assert squad_f1(first, [first]) == triviaqa_exact(first, [first]) == 1.0

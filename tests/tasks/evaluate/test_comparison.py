from __future__ import annotations

import numpy as np
import pytest

from tasks.evaluate.comparison import Sampled, average, compare_sampled, sample_models
from tasks.evaluate.metric import mean
from tests.tasks.evaluate.made_up_scores import CORPUS, EXACT, F1, rows


def _pair(theirs: list[float], ours: list[float], metric: object = EXACT) -> tuple[Sampled, Sampled]:
    metrics = [EXACT, F1, CORPUS]
    sampled = sample_models(
        metrics, {"theirs": rows(theirs), "ours": rows(ours)}, resamples=2000, seed=5, name="jsquad/ja/"
    )
    name = next(each.name for each in metrics if each is metric)
    return sampled["ours"][name], sampled["theirs"][name]


def test_pairing_takes_out_how_hard_the_examples_are() -> None:
    generator = np.random.default_rng(0)
    base = generator.uniform(0, 0.9, 60)  # questions differ by far more than the models do
    ours, theirs = _pair(base.tolist(), (base + 0.03 + generator.normal(0, 0.01, 60)).tolist(), F1)
    compared = compare_sampled(ours, theirs, confidence=0.95)
    assert compared.difference.value == pytest.approx(0.03, abs=0.005)
    assert compared.difference.low is not None
    assert compared.difference.low > 0
    alone = ours.estimate(0.95)
    assert alone.low is not None
    assert alone.high is not None
    assert compared.difference.high is not None
    assert compared.difference.high - compared.difference.low < 0.05 * (alone.high - alone.low)
    assert compared.mde is not None
    assert ours.mde_unpaired is not None
    assert compared.mde < 0.05 * ours.mde_unpaired, "the same examples show what as many others would not"


def test_a_model_differs_from_itself_by_exactly_nothing() -> None:
    for metric in (EXACT, F1, CORPUS):
        ours, theirs = _pair([0.5, 1.0, 0.0, 0.25], [0.5, 1.0, 0.0, 0.25], metric)
        compared = compare_sampled(ours, theirs, confidence=0.9)
        estimate = compared.difference
        assert (estimate.value, estimate.low, estimate.high) == (0.0, 0.0, 0.0)
        assert (compared.p_bootstrap, compared.mde) == (1.0, None)
    assert _pair([1, 0, 1], [1, 0, 1])[0].value == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", [EXACT, F1])
def test_scores_that_do_not_vary_have_the_width_that_so_few_examples_leave(metric: object) -> None:
    """Wilson's for 10 examples: 3.8415 / (10 + 3.8415) = 0.27753. Newcombe's differences are made of it."""
    right, wrong = _pair([0.0] * 10, [1.0] * 10, metric)
    assert (wrong.estimate(0.95).low, wrong.estimate(0.95).high) == (0.0, pytest.approx(0.27753, abs=1e-5))
    assert (right.estimate(0.95).low, right.estimate(0.95).high) == (pytest.approx(0.72247, abs=1e-5), 1.0)
    same = compare_sampled(wrong, wrong, confidence=0.95)
    assert (same.difference.low, same.difference.high) == pytest.approx((-0.27753, 0.27753), abs=1e-5)
    assert (same.difference.value, same.p) == (0.0, 1.0)
    opposite = compare_sampled(right, wrong, confidence=0.95).difference
    assert (opposite.low, opposite.high) == (pytest.approx(1 - 2**0.5 * 0.27753, abs=1e-5), 1.0)
    both = average([wrong, right]).estimate(0.95)
    assert (both.low, both.high) == pytest.approx((0.5 - 0.27753 / 2, 0.5 + 0.27753 / 2), abs=1e-5)


def test_an_average_is_no_surer_than_its_tasks() -> None:
    """Two tasks, one all wrong: with the bootstrap alone the average would be half as wide as the other task."""
    models = {"theirs": rows([0.0] * 10), "ours": rows([0.0] * 10)}
    nothing = sample_models([EXACT], models, resamples=500, seed=1, name="a")
    models = {"theirs": rows([1.0, 0.0] * 20), "ours": rows([1.0, 0.0, 1.0, 1.0] * 10)}
    some = sample_models([EXACT], models, resamples=500, seed=1, name="b")
    theirs, ours = (average([each[model]["exact_match"] for each in (nothing, some)]) for model in models)
    alone = some["ours"]["exact_match"].estimate(0.95)
    assert alone.high is not None
    high = ours.value + 0.5 * (0.27753**2 + (alone.high - alone.value) ** 2) ** 0.5
    assert ours.estimate(0.95).high == pytest.approx(high, abs=1e-5)
    difference = compare_sampled(ours, theirs, confidence=0.95).difference
    paired = compare_sampled(some["ours"]["exact_match"], some["theirs"]["exact_match"], confidence=0.95).difference
    assert paired.low is not None
    low = 0.125 - 0.5 * (0.27753**2 + (paired.value - paired.low) ** 2) ** 0.5
    assert difference.low == pytest.approx(low, abs=1e-5)


def test_only_scores_between_0_and_1_that_are_means_are_so_treated() -> None:
    """Margins in bits, a corpus metric, and a difference to a model whose answers vary keep the bootstrap's bounds."""
    margin = mean("margin", "exact_match", "bits/byte")
    found = sample_models([margin, CORPUS], {"m": rows([0.0] * 4)}, resamples=100, seed=1, name="x")["m"]
    assert [(one.estimate(0.95).low, one.estimate(0.95).high) for one in found.values()] == [(0.0, 0.0)] * 2
    ours, theirs = _pair([0.0] * 4, [1.0, 0.0, 1.0, 0.0])
    compared = compare_sampled(ours, theirs, confidence=0.95)
    assert compared.difference == ours.estimate(0.95), "of what varies alone"


def test_right_and_wrong_are_tested_by_mcnemar() -> None:
    compared = compare_sampled(*_pair([0.0] * 8 + [1.0] * 3, [1.0] * 8 + [0.0] + [1.0] * 2), confidence=0.95)
    assert (compared.wins, compared.losses, compared.ties) == (8, 1, 2)
    assert compared.p_mcnemar == compared.p == 2 * (1 + 9) / 2**9


def test_one_example_tells_nothing_of_chance() -> None:
    compared = compare_sampled(*_pair([0.0], [0.5], F1), confidence=0.95)
    assert (compared.difference.value, compared.difference.low, compared.p, compared.mde) == (0.5, None, None, None)


def test_an_average_weighs_tasks_alike_and_resamples_each_within_itself() -> None:
    few = sample_models([EXACT], {"m": rows([1.0, 0.0])}, resamples=4000, seed=1, name="few")["m"]["exact_match"]
    many = sample_models([EXACT], {"m": rows([1.0] * 300 + [0.0] * 100)}, resamples=4000, seed=1, name="many")
    mean = average([few, many["m"]["exact_match"]])
    assert mean.value == (0.5 + 0.75) / 2
    # Independent draws: the variances add up, p (1 - p) / n of each, over four.
    assert float(mean.resampled.var()) == pytest.approx((0.25 / 2 + 0.1875 / 400) / 4, rel=0.05)
    assert mean.num == 2
    assert average([few]).estimate(0.95) == few.estimate(0.95)


def test_the_interval_of_a_difference_holds_the_truth_nineteen_times_in_twenty() -> None:
    """300 pairs of models, one right on 40 % and one on 50 % of the same 150 questions."""
    generator = np.random.default_rng(11)
    hard = generator.random((150, 300))
    theirs, ours = ((hard + generator.normal(0, 0.3, hard.shape) < bar).astype(float) for bar in (0.4, 0.5))
    truth = float((ours - theirs).mean())  # of 45,000 questions, as good as the true one
    models = {
        str(trial): [{"columns": {"exact_match": float(value)}} for value in column]
        for trial, column in enumerate(np.concatenate([theirs, ours], axis=1).T)
    }
    sampled = sample_models([EXACT], models, resamples=1000, seed=2, name="x")
    held = 0
    for trial in range(300):
        pair = sampled[str(300 + trial)]["exact_match"], sampled[str(trial)]["exact_match"]
        difference = compare_sampled(*pair, confidence=0.95).difference
        assert difference.low is not None
        assert difference.high is not None
        held += difference.low <= truth <= difference.high
    assert 0.92 <= held / 300 <= 0.98

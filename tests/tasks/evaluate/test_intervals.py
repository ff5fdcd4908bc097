from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from tasks.evaluate import intervals
from tasks.evaluate.intervals import (
    Estimate,
    column_sums,
    combined,
    resample_sums,
    resample_weights,
    unanimous_interval,
    with_interval,
)
from tasks.evaluate.metric import Floats


def _weights(num_examples: int, resamples: int, *, seed: int, name: str = "x") -> Floats:
    return np.concatenate(list(resample_weights(num_examples, resamples, seed=seed, name=name)))


def _ratio(columns: Floats, resamples: int, seed: int) -> tuple[float, Floats]:
    sums = resample_sums(columns, resamples, seed=seed, name="x")
    return float(columns[:, 0].sum() / columns[:, 1].sum()), sums[:, 0] / sums[:, 1]


def test_the_seed_and_the_name_decide_the_resamples() -> None:
    first = _weights(12, 200, seed=7, name="bits_per_byte/ja/")
    assert (first == _weights(12, 200, seed=7, name="bits_per_byte/ja/")).all()
    assert (first != _weights(12, 200, seed=8, name="bits_per_byte/ja/")).any()
    assert (first != _weights(12, 200, seed=7, name="bits_per_byte/en/")).any()
    assert (first.sum(axis=1) == 12).all()


def test_chunks_change_neither_draws_nor_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.random.default_rng(0).normal(size=(30, 3))
    whole = _weights(30, 101, seed=1), resample_sums(columns, 101, seed=1, name="x")
    monkeypatch.setattr(intervals, "_CHUNK", 7 * 30)
    assert [len(chunk) for chunk in resample_weights(30, 101, seed=1, name="x")] == [7] * 14 + [3]
    assert (_weights(30, 101, seed=1) == whole[0]).all()
    assert resample_sums(columns, 101, seed=1, name="x") == pytest.approx(whole[1], rel=1e-12)


def test_a_column_is_summed_as_if_it_stood_alone() -> None:
    """Another model, or another metric, beside it must not move a score's last digit."""
    columns = np.random.default_rng(0).normal(size=(257, 5))
    together = resample_sums(columns, 100, seed=1, name="x")
    for at in range(5):
        alone = resample_sums(columns[:, [at]], 100, seed=1, name="x")
        assert (together[:, at] == alone[:, 0]).all()
        assert column_sums(columns)[at] == columns[:, at].copy().sum()


def test_a_ratio_weighs_examples_by_their_denominator() -> None:
    value, resampled = _ratio(np.array([[10.0, 10.0], [300.0, 100.0]]), 500, seed=1)
    estimate = with_interval(value, resampled, 2, confidence=0.95)
    assert estimate.value == pytest.approx(310 / 110)  # the mean of the two ratios would be 2
    assert (estimate.low, estimate.high) == (pytest.approx(1.0), pytest.approx(3.0))


def test_the_interval_of_a_share_is_the_textbook_one() -> None:
    correct = np.array([1.0] * 60 + [0.0] * 140)
    value, resampled = _ratio(np.stack([correct, np.ones(200)], axis=1), 4000, seed=3)
    estimate = with_interval(value, resampled, 200, confidence=0.95)
    half_width = 1.96 * np.sqrt(0.3 * 0.7 / 200)
    assert estimate.low == pytest.approx(0.3 - half_width, abs=0.01)
    assert estimate.high == pytest.approx(0.3 + half_width, abs=0.01)


def test_ninety_five_in_a_hundred_intervals_hold_the_truth() -> None:
    """400 samples of 120 answers, 30 % of them right in truth: the size of JEMHopQA."""
    correct = (np.random.default_rng(20).random((120, 400)) < 0.3).astype(float)
    resampled = resample_sums(correct, 1000, seed=1, name="x") / 120
    held = 0
    for seen, drawn in zip(correct.T, resampled.T, strict=True):
        estimate = with_interval(float(seen.mean()), drawn, 120, confidence=0.95)
        assert estimate.low is not None
        assert estimate.high is not None
        held += estimate.low <= 0.3 <= estimate.high
    assert 0.92 <= held / 400 <= 0.97


def test_resamples_that_say_nothing_are_left_out() -> None:
    resampled = np.array([np.nan, 0.2, 0.4, np.nan, 0.6])
    estimate = with_interval(0.4, resampled, 5, confidence=0.9)
    assert (estimate.low, estimate.high) == (pytest.approx(0.22), pytest.approx(0.58))
    assert with_interval(np.nan, np.full(3, np.nan), 5, confidence=0.9).low is None


def test_one_example_has_no_interval() -> None:
    estimate = with_interval(*_ratio(np.array([[3.0, 2.0]]), 100, seed=1), 1, confidence=0.95)
    assert (estimate.value, estimate.low, estimate.high) == (1.5, None, None)


@pytest.mark.parametrize("num_examples", [2, 10, 50, 1319])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_nothing_right_and_everything_right_have_wilsons_interval(num_examples: int, confidence: float) -> None:
    for right in (0, num_examples):
        theirs = binomtest(right, num_examples).proportion_ci(confidence, method="wilson")
        ours = unanimous_interval(right / num_examples, num_examples, confidence=confidence)
        assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=1e-12), pytest.approx(theirs.high, abs=1e-12))
        assert ours.value in (ours.low, ours.high), "the score itself is one end"


def test_one_right_answer_is_not_known_to_be_all() -> None:
    assert unanimous_interval(1.0, 1, confidence=0.95) == Estimate(1.0, None, None)


def test_distances_to_the_bounds_are_squared_and_added() -> None:
    """3-4-5 triangles, and a subtracted one whose bounds change places."""
    first, second = Estimate(0.5, 0.2, 0.9), Estimate(0.1, 0.1, 0.5)
    difference = combined([first, second], [1, -1])
    assert (difference.low, difference.high) == (pytest.approx(0.4 - 0.5), pytest.approx(0.4 + 0.4))
    mean = combined([Estimate(0.0, 0.0, 0.06), Estimate(1.0, 0.92, 1.0)], [0.5, 0.5])
    assert (mean.low, mean.high) == (pytest.approx(0.46), pytest.approx(0.53))
    assert combined([first, Estimate(0.1, None, None)], [1, -1]) == Estimate(0.4, None, None)

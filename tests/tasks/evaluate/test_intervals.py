from __future__ import annotations

import numpy as np
import pytest

from tasks.evaluate.intervals import paired_difference, ratio_estimate, resample_weights


def test_the_seed_decides_the_resamples() -> None:
    first = resample_weights(12, 200, seed=7, name="bits_per_byte/ja/")
    assert (first == resample_weights(12, 200, seed=7, name="bits_per_byte/ja/")).all()
    assert (first != resample_weights(12, 200, seed=8, name="bits_per_byte/ja/")).any()
    assert (first != resample_weights(12, 200, seed=7, name="bits_per_byte/en/")).any()
    assert (first.sum(axis=1) == 12).all()


def test_a_ratio_weighs_examples_by_their_denominator() -> None:
    weights = resample_weights(2, 500, seed=1, name="x")
    estimate = ratio_estimate(np.array([10.0, 300.0]), np.array([10.0, 100.0]), weights, confidence=0.95)
    assert estimate.value == pytest.approx(310 / 110)  # the mean of the two ratios would be 2
    assert (estimate.low, estimate.high) == (pytest.approx(1.0), pytest.approx(3.0))


def test_the_interval_of_a_share_is_the_textbook_one() -> None:
    correct = np.array([1.0] * 60 + [0.0] * 140)
    weights = resample_weights(200, 4000, seed=3, name="x")
    estimate = ratio_estimate(correct, np.ones(200), weights, confidence=0.95)
    half_width = 1.96 * np.sqrt(0.3 * 0.7 / 200)
    assert estimate.low == pytest.approx(0.3 - half_width, abs=0.01)
    assert estimate.high == pytest.approx(0.3 + half_width, abs=0.01)


def test_pairing_takes_out_how_hard_the_examples_are() -> None:
    generator = np.random.default_rng(0)
    num_bytes = np.full(50, 1000.0)
    base = generator.uniform(500, 2500, 50)  # documents differ by far more than the models do
    ours = base - 40 + generator.normal(0, 10, 50)
    weights = resample_weights(50, 2000, seed=5, name="x")
    difference = paired_difference((ours, num_bytes), (base, num_bytes), weights, confidence=0.95)
    assert difference.value == pytest.approx(-0.04, abs=0.01)
    assert difference.low is not None
    assert difference.high is not None
    assert difference.high < 0
    alone = ratio_estimate(ours, num_bytes, weights, confidence=0.95)
    assert alone.low is not None
    assert alone.high is not None
    assert difference.high - difference.low < 0.05 * (alone.high - alone.low)


def test_a_model_differs_from_itself_by_exactly_nothing() -> None:
    columns = (np.array([3.0, 5.0, 2.0]), np.array([1.0, 2.0, 4.0]))
    weights = resample_weights(3, 300, seed=2, name="x")
    same = paired_difference(columns, columns, weights, confidence=0.9)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_one_example_has_no_interval() -> None:
    weights = resample_weights(1, 100, seed=1, name="x")
    estimate = ratio_estimate(np.array([3.0]), np.array([2.0]), weights, confidence=0.95)
    assert (estimate.value, estimate.low, estimate.high) == (1.5, None, None)

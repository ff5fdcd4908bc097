from __future__ import annotations

from math import comb

import numpy as np
import pytest

from tasks.evaluate.intervals import resample_sums
from tasks.evaluate.significance import (
    bootstrap_p,
    holm,
    mcnemar_p,
    minimum_detectable,
    paired_error,
    unpaired_error,
)


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [
        (9, 1, 2 * (1 + 10) / 2**10),
        (1, 9, 2 * (1 + 10) / 2**10),
        (6, 0, 2 / 2**6),
        (5, 5, 1.0),
        (0, 0, 1.0),
        (5, 4, 1.0),  # twice the tail up to 4 of 9 is exactly 1
        (12, 0, 2 / 2**12),
        (29, 17, 2 * sum(comb(46, k) for k in range(18)) / 2**46),
    ],
)
def test_mcnemar_is_the_toss_of_a_coin_for_each_disagreement(wins: int, losses: int, p: float) -> None:
    assert mcnemar_p(wins, losses) == pytest.approx(p, rel=1e-9)


def test_mcnemar_of_many_disagreements_is_the_normal_approximation() -> None:
    z = (5200 - 4800 - 1) / 10_000**0.5  # with the continuity correction
    assert mcnemar_p(5200, 4800) == pytest.approx(6.6e-5, rel=0.02)
    assert z == pytest.approx(3.99)


def test_holm_by_hand() -> None:
    """Of 0.01, 0.03 and 0.04 the first is tripled, the second doubled, and the third is no less than the second."""
    assert holm({"c": 0.04, "a": 0.01, "b": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.5, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({"alone": 0.04}) == {"alone": 0.04}
    assert holm({}) == {}


def test_the_bootstrap_counts_differences_that_chance_makes() -> None:
    """0.2 was seen; of five resamples two lie at least 0.2 from it. The observed one counts as one more."""
    assert bootstrap_p(0.2, np.array([0.0, 0.1, 0.25, 0.5, 0.2])) == pytest.approx((1 + 2) / (1 + 5))
    assert bootstrap_p(-0.2, np.array([-0.0, -0.1, -0.25, -0.5, -0.2, np.nan])) == pytest.approx((1 + 2) / (1 + 5))
    assert bootstrap_p(0.0, np.zeros(99)) == 1.0
    assert bootstrap_p(0.3, np.full(999, 0.3)) == 0.001, "never 0: it is known to a thousandth"


def test_the_bootstrap_agrees_with_the_t_test() -> None:
    from scipy.stats import ttest_1samp

    differences = np.random.default_rng(5).normal(0.08, 1, (300, 20))
    resampled = resample_sums(differences, 2000, seed=1, name="x") / 300
    for ours, drawn in zip(differences.T, resampled.T, strict=True):
        assert bootstrap_p(ours.mean(), drawn) == pytest.approx(ttest_1samp(ours, 0).pvalue, abs=0.04)


def test_what_two_hundred_and_fifty_questions_can_show() -> None:
    """MGSM: 7.6 % of 250 right. The effect is (1.95996 + 0.84162) * sqrt(2 * 0.076 * 0.924 / 250)."""
    assert minimum_detectable(unpaired_error(0.076 * 0.924, 250)) == pytest.approx(2.80158 * 0.0237022, rel=1e-5)
    assert minimum_detectable(1.0, power=0.5) == pytest.approx(1.959964)
    differences = np.array([1.0] * 28 + [-1.0] * 16 + [0.0] * 206)
    variance = (44 - 250 * (12 / 250) ** 2) / 249
    assert paired_error(differences) == pytest.approx((variance / 250) ** 0.5)


def test_the_minimum_detectable_effect_is_found_four_times_in_five() -> None:
    generator = np.random.default_rng(3)
    error = unpaired_error(1.0, 200)
    effect = minimum_detectable(error)
    found = 0
    for _ in range(2000):
        seen = generator.normal(0, 1, 200).mean() + effect - generator.normal(0, 1, 200).mean()
        found += abs(seen) > 1.96 * error
    assert found / 2000 == pytest.approx(0.8, abs=0.03)


def test_holm_keeps_false_alarms_below_the_level() -> None:
    """Ten tasks, two models that are equally good, 400 times: uncorrected, one in three comparisons would raise one."""
    differences = np.random.default_rng(7).normal(0, 1, (100, 400 * 10))
    resampled = resample_sums(differences, 1000, seed=1, name="x") / 100
    p_values = [bootstrap_p(seen, drawn) for seen, drawn in zip(differences.mean(axis=0), resampled.T, strict=True)]
    alarms = corrected = 0
    for trial in range(400):
        tasks = {str(task): p_values[10 * trial + task] for task in range(10)}
        alarms += min(tasks.values()) < 0.05
        corrected += min(holm(tasks).values()) < 0.05
    assert alarms / 400 > 0.3
    assert corrected / 400 < 0.08

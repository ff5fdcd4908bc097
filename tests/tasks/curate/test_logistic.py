"""Breaks when the optimiser stops short of the minimum, or the gradient is not the loss's."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.curate.logistic import Samples, fit, minimise


def made_up_samples(num: int = 300, num_columns: int = 12) -> tuple[Samples, np.ndarray]:
    """Samples of 1 to 5 features, as compressed rows and as a dense matrix; labels that no weights explain fully."""
    random = np.random.default_rng(1)
    dense = np.zeros((num, num_columns))
    for row in dense:
        row[random.choice(num_columns, random.integers(1, 6), replace=False)] = random.uniform(0.1, 1)
    labels = dense @ random.normal(size=num_columns) + random.normal(size=num) > 0
    rows, columns = np.nonzero(dense)
    starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=num))])
    return Samples(labels, starts, columns, dense[rows, columns]), dense


def test_margins_and_gradient_are_those_of_the_dense_matrix() -> None:
    samples, dense = made_up_samples()
    weights, of_margins = np.arange(12.0), np.linspace(-1, 1, 300)
    assert samples.margins(weights) == pytest.approx(dense @ weights)
    assert samples.gradient(of_margins, 12) == pytest.approx(dense.T @ of_margins)


def test_no_step_away_from_the_fitted_weights_lowers_the_loss() -> None:
    samples, dense = made_up_samples()
    weights = fit(samples, 12, l2=0.01, max_steps=200)
    signs = np.where(samples.labels, 1, -1)

    def loss(at: np.ndarray) -> float:
        return float(np.logaddexp(0, -signs * (dense @ at)).mean() + 0.005 * at @ at)

    slope = [(loss(weights + 1e-4 * axis) - loss(weights - 1e-4 * axis)) / 2e-4 for axis in np.eye(12)]
    assert np.abs(slope).max() < 1e-3
    assert loss(weights) < loss(np.zeros(12)) - 0.05


def test_a_valley_with_steep_sides_is_followed_to_its_end() -> None:
    scales = np.array([1.0, 100.0, 10_000.0])
    goal = np.array([3.0, -2.0, 0.5])
    found = minimise(
        lambda x: (float(scales @ (x - goal) ** 2), 2 * scales * (x - goal)), np.zeros(3), 200, tolerance=0
    )
    assert found == pytest.approx(goal, abs=1e-6)


def test_a_start_at_the_minimum_stays_there() -> None:
    assert minimise(lambda x: (float(x @ x), 2 * x), np.zeros(2), 10).tolist() == [0, 0]

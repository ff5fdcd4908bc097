"""Logistic regression on sparse features, in numpy: what the language model is fitted with.

In: samples as compressed rows. Out: the weights of least mean logistic loss with an L2 penalty. The loss is convex, the
optimiser (L-BFGS) starts from zero and draws nothing at random, so the same samples give the same weights.

    weights = fit(Samples(labels, starts, columns, values), num_columns, l2=1e-6, max_steps=100)
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

logger = logging.getLogger(__name__)

_MEMORY = 10  # steps that L-BFGS remembers


@dataclass(frozen=True)
class Samples:
    """Features as compressed rows: sample i has `columns[starts[i]:starts[i + 1]]` with their `values`."""

    labels: np.ndarray
    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def margins(self, weights: np.ndarray) -> np.ndarray:
        """(samples,) the scores under `weights`."""
        return np.add.reduceat(weights[self.columns] * self.values, self.starts[:-1])

    def gradient(self, of_margins: np.ndarray, num_columns: int) -> np.ndarray:
        """(columns,) the gradient that a gradient by the scores makes."""
        parts = self.values * np.repeat(of_margins, np.diff(self.starts))
        return np.bincount(self.columns, parts, num_columns)


def fit(
    samples: Samples, num_columns: int, l2: float, max_steps: int, say: Callable[[str], None] = logger.info
) -> np.ndarray:
    """(columns,) weights of least mean logistic loss + l2 / 2 · Σ w²."""
    signs = np.where(samples.labels, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * samples.margins(weights)
        residuals = -signs / (1 + np.exp(np.clip(margins, -500, 500))) / len(signs)
        value = float(np.logaddexp(0, -margins).mean() + l2 / 2 * weights @ weights)
        return value, samples.gradient(residuals, num_columns) + l2 * weights

    return minimise(loss, np.zeros(num_columns), max_steps, say=say)


def minimise(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    max_steps: int,
    tolerance: float = 1e-6,
    say: Callable[[str], None] = logger.info,
) -> np.ndarray:
    """Minimum of a smooth convex function by L-BFGS with a backtracking line search (Nocedal & Wright, ch. 7).

    Args:
        loss: value and gradient at a point.
        tolerance: relative decrease of the value at which it stops.
    """
    point = start
    value, gradient = loss(point)
    history: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=_MEMORY)
    for step in range(max_steps):
        direction = -_times_inverse_hessian(gradient, history)
        slope = float(direction @ gradient)
        if not slope < 0:
            return point
        length = 1.0 if history else 1.0 / max(1e-12, float(np.linalg.norm(gradient)))
        for length in (length * 0.5**halvings for halvings in range(30)):
            new_point = point + length * direction
            new_value, new_gradient = loss(new_point)
            if new_value <= value + 1e-4 * length * slope:
                break
        else:
            return point
        moved, turned = new_point - point, new_gradient - gradient
        if (curvature := float(moved @ turned)) > 1e-12:
            history.append((moved, turned, curvature))
        decrease = value - new_value
        point, value, gradient = new_point, new_value, new_gradient
        if step % 10 == 9:
            say(f"step {step + 1} of at most {max_steps}: loss {value:.5f}")
        if decrease < tolerance * abs(value):
            break
    return point


def _times_inverse_hessian(gradient: np.ndarray, history: Sequence[tuple[np.ndarray, np.ndarray, float]]) -> np.ndarray:
    """The two-loop recursion."""
    result = gradient.copy()
    factors = []
    for moved, turned, curvature in reversed(history):
        factors.append(float(moved @ result) / curvature)
        result -= factors[-1] * turned
    if history:
        _, turned, curvature = history[-1]
        result *= curvature / float(turned @ turned)
    for (moved, turned, curvature), factor in zip(history, reversed(factors), strict=True):
        result += (factor - float(turned @ result) / curvature) * moved
    return result

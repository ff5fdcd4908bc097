"""How sure a score is: bootstrap intervals of ratios, and of the difference between two models.

In: for each example (a document, a question) a numerator and a denominator; out: their ratio over all
examples with a percentile interval. A resample draws as many examples as there are, with replacement, and
is kept as how often each was drawn. Every model is seen through the same resamples, so a difference is
paired: examples that are hard for both do not widen it. Source: Efron and Tibshirani, An Introduction to
the Bootstrap, chapters 8 and 13.

    weights = resample_weights(len(bits), 1000, seed=7, name="bits_per_byte/ja")
    ratio_estimate(bits, num_bytes, weights, confidence=0.95)
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; the bounds are None where one example tells nothing of the spread."""

    value: float
    low: float | None
    high: float | None


def resample_weights(num_examples: int, resamples: int, *, seed: int, name: str) -> NDArray[np.int64]:
    """How often each resample draws each example: (resamples, examples).

    The same seed, name and sizes give the same draws.
    """
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    drawn = np.empty((resamples, num_examples), np.int64)
    for row in drawn:
        row[:] = np.bincount(generator.integers(num_examples, size=num_examples), minlength=num_examples)
    return drawn


def ratio_estimate(
    numerators: Floats, denominators: Floats, weights: NDArray[np.int64], *, confidence: float
) -> Estimate:
    """Sum of numerators over sum of denominators; both (examples,), denominators above zero."""
    value = float(numerators.sum() / denominators.sum())
    return _with_interval(value, _resampled(numerators, denominators, weights), len(numerators), confidence)


def paired_difference(
    ours: tuple[Floats, Floats],
    base: tuple[Floats, Floats],
    weights: NDArray[np.int64],
    *,
    confidence: float,
) -> Estimate:
    """Our ratio minus the base's, resampled together; two (numerators, denominators) of the same examples."""
    value = float(ours[0].sum() / ours[1].sum() - base[0].sum() / base[1].sum())
    resampled = _resampled(*ours, weights) - _resampled(*base, weights)
    return _with_interval(value, resampled, len(ours[0]), confidence)


def _resampled(numerators: Floats, denominators: Floats, weights: NDArray[np.int64]) -> Floats:
    return (weights @ numerators) / (weights @ denominators)


def _with_interval(value: float, resampled: Floats, num_examples: int, confidence: float) -> Estimate:
    if num_examples < 2:
        return Estimate(value, None, None)
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))

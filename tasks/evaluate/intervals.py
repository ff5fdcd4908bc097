"""How sure a score is: bootstrap intervals of any metric, of a difference between two models, and of an average.

In: for each example (a document, a question, an answer) the columns that metrics sum up (`tasks.evaluate.metric`); out:
a value with a percentile interval. A resample draws as many examples as there are, with replacement, and is kept as how
often each was drawn, so its sums of columns are one matrix product, whatever the metric makes of them. Every model is
seen through the same resamples, so a difference is paired: examples that are hard for both do not widen it. An average
over tasks draws within each task (a stratified bootstrap). Source: Efron and Tibshirani, An Introduction to the
Bootstrap, chapters 8 and 13; for corpus-level metrics Koehn 2004, Statistical Significance Tests for Machine
Translation Evaluation. Where all examples are wrong, or all right, resamples do not differ, and Wilson's interval takes
the bootstrap's place (`unanimous_interval`).

    sums = resample_sums(metric.matrix(rows), 1000, seed=7, name="jsquad/ja/")
    with_interval(metric.of(rows), metric.of_sums(sums), len(rows), confidence=0.95)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from tasks.evaluate.metric import Floats

_CHUNK = 1 << 22  # draws held at once, 32 MiB: a thousand resamples of 18,000 examples would be 144 MB


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; the bounds are None where one example tells nothing of the spread."""

    value: float
    low: float | None
    high: float | None


def resample_weights(num_examples: int, resamples: int, *, seed: int, name: str) -> Iterator[Floats]:
    """How often each resample draws each example, in chunks of (some resamples, examples).

    The same seed, name and sizes give the same draws.
    """
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    rows = max(1, _CHUNK // max(num_examples, 1))
    for begin in range(0, resamples, rows):
        drawn = np.empty((min(rows, resamples - begin), num_examples), np.float64)
        for row in drawn:
            row[:] = np.bincount(generator.integers(num_examples, size=num_examples), minlength=num_examples)
        yield drawn


def resample_sums(columns: Floats, resamples: int, *, seed: int, name: str) -> Floats:
    """Sums of columns (examples, columns) in each resample: (resamples, columns).

    Columns of several metrics and models may stand side by side: they are then resampled together. Each is summed by
    itself: in one product with its neighbours, which ones they are would decide its last digits.
    """
    apart = np.ascontiguousarray(columns.T)
    chunks = resample_weights(len(columns), resamples, seed=seed, name=name)
    return np.concatenate([np.stack([weights @ column for column in apart], axis=1) for weights in chunks])


def column_sums(columns: Floats) -> Floats:
    """Sums of columns (examples, columns), added pairwise for the least rounding: (columns,)."""
    return np.asarray(np.ascontiguousarray(columns.T).sum(axis=1))


def with_interval(value: float, resampled: Floats, num_examples: int, *, confidence: float) -> Estimate:
    """A value between the tails of its resampled values.

    Resamples about which the metric says nothing (NaN: a class that was not drawn) are left out.
    """
    known = resampled[~np.isnan(resampled)]
    if num_examples < 2 or not len(known):
        return Estimate(value, None, None)
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def unanimous_interval(value: float, num_examples: int, *, confidence: float) -> Estimate:
    """The interval of a score of 0 or 1 that every single example has.

    Every resample of such examples is the same, so the bootstrap would claim that the score is exactly known, from two
    examples as from two thousand. Wilson's score interval for a binomial share does not: at its ends it is [0, w] and
    [1 - w, 1] with w = z**2 / (n + z**2), 7.1 points for 50 examples and 3.7 for 100. It is chosen before that of
    Clopper and Pearson (7.1 and 3.6 points) because Newcombe's interval of a difference is made of it (`combined`).
    It holds for scores between 0 and 1 too, such as F1: no mean of these is above the share of those above 0. Source:
    Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference; Brown, Cai and DasGupta 2001,
    Interval Estimation for a Binomial Proportion.

    Args:
        value: 0 or 1.
    """
    assert value in (0, 1), f"{value} is not unanimous"
    if num_examples < 2:
        return Estimate(value, None, None)
    squared = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    width = squared / (num_examples + squared)
    return Estimate(value, max(0.0, value - width), min(1.0, value + width))


def combined(estimates: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """The weighted sum of estimates: a difference has weights 1 and -1.

    The distances from value to bound are squared and added. Source: Newcombe 1998, Improved Confidence Intervals for
    the Difference Between Binomial Proportions Based on Paired Data, method 10, which is this where neither share
    varies, for then they do not correlate; for other sums Zou and Donner 2008.
    """
    value = sum(weight * one.value for one, weight in zip(estimates, weights, strict=True))
    below, above = 0.0, 0.0
    for one, weight in zip(estimates, weights, strict=True):
        if one.low is None or one.high is None:
            return Estimate(value, None, None)
        down, up = weight * (one.value - one.low), weight * (one.high - one.value)
        below, above = below + max(down, -up) ** 2, above + max(up, -down) ** 2
    return Estimate(value, value - below**0.5, value + above**0.5)


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates: of an average's tasks."""
    return combined(estimates, [1 / len(estimates)] * len(estimates))

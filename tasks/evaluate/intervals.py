"""How sure a score is: bootstrap intervals of any metric, of a difference between two models, and of an average.

In: for each example (a document, a question, an answer) the columns that metrics sum up (`tasks.evaluate.metric`); out:
a value with a percentile interval. A resample draws as many examples as there are, with replacement, and is kept as how
often each was drawn, so its sums of columns are one matrix product, whatever the metric makes of them. Every model is
seen through the same resamples, so a difference is paired: examples that are hard for both do not widen it. An average
over tasks draws within each task (a stratified bootstrap). Source: Efron and Tibshirani, An Introduction to the
Bootstrap, chapters 8 and 13; for corpus-level metrics Koehn 2004, Statistical Significance Tests for Machine
Translation Evaluation.

    sums = resample_sums(metric.matrix(rows), 1000, seed=7, name="jsquad/ja/")
    with_interval(metric.of(rows), metric.of_sums(sums), len(rows), confidence=0.95)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

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

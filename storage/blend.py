"""The blend: which source gives each position of a mixture. Megatron's greedy one, index for index.

In: a weight for each source. Out: for every position the source that lags its share most there, and which of its
samples it reads. The choice depends on float64 rounding and on all choices before it, so it is a loop over the
positions, compiled; its numbers are those of the interpreter, bit for bit.

Source: Megatron-LM, core/datasets (blended_dataset), checked against arrays of megatron-core 0.19.2.

    sources, samples = blend([0.9, 0.1], 1000)
    largest_deviation(sources, [0.9, 0.1])
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from storage.compiled import compiled

# The blend asks each source for this much more than its share, which the greedy order may overshoot by one.
SURPLUS = 0.005


def normalised(weights: Sequence[float]) -> list[float]:
    """Weights that add up to 1.

    Raises:
        ValueError: none given, or one that is not a positive number.
    """
    if not weights or not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise ValueError(f"weights must be positive numbers, got {list(weights)}")
    given = np.array(weights, dtype=np.float64)
    return [float(weight) for weight in given / given.sum()]


def samples_to_build(num_samples: int, weight: float) -> int:
    """How many samples the blend asks of a source of this (normalised) weight.

    Never fewer than it takes: the errors of all sources add up to 0, so the largest, which is served, is not
    negative, and what a source has taken by position n is at most n * weight + 1.
    """
    return math.ceil(math.ceil(num_samples * weight) * (1 + SURPLUS))


def blend(weights: Sequence[float], num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Greedy blend: position i goes to the largest weight * max(i, 1) - taken, to the first source on ties.

    The first n positions do not depend on `num_samples`, and every source stays within about one sample
    of its share at every position. Memory: the two arrays, 10 bytes a position.

    Args:
        weights: normalised (`normalised`).

    Returns:
        (num_samples,) int16, the source of each position; (num_samples,) int64, which of its samples it is.
    """
    sources = np.empty(num_samples, np.int16)
    samples = np.empty(num_samples, np.int64)
    _fill_blend(np.array(weights, np.float64), sources, samples)
    return sources, samples


@compiled
def _fill_blend(weights: np.ndarray, sources: np.ndarray, samples: np.ndarray) -> None:
    taken = np.zeros(len(weights), np.float64)
    for position in range(len(sources)):
        size = np.float64(max(position, 1))
        best, lag = 0, weights[0] * size - taken[0]
        for source in range(1, len(weights)):
            error = weights[source] * size - taken[source]
            if error > lag:
                best, lag = source, error
        sources[position] = best
        samples[position] = np.int64(taken[best])
        taken[best] += 1.0


def largest_deviation(sources: np.ndarray, weights: Sequence[float]) -> float:
    """How far, in samples, any source ever is from weight * samples read, over all prefixes of a blend."""
    return float(_deviation(sources, np.array(weights, np.float64)))


@compiled
def _deviation(sources: np.ndarray, weights: np.ndarray) -> float:
    taken = np.zeros(len(weights), np.float64)
    largest = 0.0
    for position in range(len(sources)):
        taken[sources[position]] += 1.0
        for source in range(len(weights)):
            largest = max(largest, abs(taken[source] - weights[source] * (position + 1)))
    return largest

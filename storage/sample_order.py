"""The order in which training reads samples: Megatron's GPTDataset and blend, index for index.

In: the lengths of a source's documents, how many samples are asked, sequence length, seed; for the blend,
weights. Out: numpy index arrays. A source's documents, all epochs one after the other, are shuffled and
read as one stream of tokens; sample k is the seq_len + 1 tokens from position k * seq_len on (neighbours
share one token, which is the last target of one and the first input of the next); the samples are
shuffled once more. When the last epoch is only partly needed (less than 80 % of its samples), it is
shuffled apart, so that nothing of it is read before the earlier epochs are through. The blend hands
position i to the source that lags its share most.

Everything is a pure function of its arguments, drawn from numpy's `RandomState`, whose streams are frozen.

Source: Megatron-LM, core/datasets (gpt_dataset, blended_dataset), checked against arrays of megatron-core
0.19.2.

    order = source_order(lengths, num_samples=1000, seq_len=512, seed=1234)
    sources, samples = blend([0.9, 0.1], 1000)
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The blend asks each source for this much more than its share, which the greedy order may overshoot by one.
SURPLUS = 0.005
# A last epoch that supplies less than this share of an epoch's samples is shuffled apart.
FULL_LAST_EPOCH = 0.80


@dataclass(frozen=True)
class SourceOrder:
    """The order of one source.

    Attributes:
        document_index: (epochs * documents,) document rows in reading order.
        sample_index: (samples + 1, 2) where sample k starts and, one row on, where it ends:
            position in `document_index`, token offset in that document.
        shuffle_index: (samples,) the k that is read as the j-th sample.
        num_epochs: passes over the documents that the arrays cover.
    """

    document_index: np.ndarray
    sample_index: np.ndarray
    shuffle_index: np.ndarray
    num_epochs: int

    @property
    def num_samples(self) -> int:
        return len(self.shuffle_index)


def source_order(lengths: np.ndarray, num_samples: int, seq_len: int, seed: int) -> SourceOrder:
    """Order a source's documents and cut them into at least `num_samples` samples.

    Takes as many whole epochs as are needed; there are usually more samples than asked. 5 M samples of 4,096
    tokens from 20 M documents (20 B tokens) took 7 s and 350 MB beside the lengths, on a core of a busy EPYC.

    Args:
        lengths: (documents,) tokens of each document.

    Raises:
        ValueError: the source holds no token, so that no number of epochs would do.
    """
    epoch_tokens = int(lengths.sum(dtype=np.int64))
    if epoch_tokens == 0:
        raise ValueError(f"{len(lengths)} documents with no token cannot fill {num_samples} samples of {seq_len}")
    num_epochs = max(1, math.ceil((num_samples * seq_len + 1) / epoch_tokens))
    total = (num_epochs * epoch_tokens - 1) // seq_len
    before_last = total
    if num_epochs > 1:
        samples_before = ((num_epochs - 1) * epoch_tokens - 1) // seq_len
        if num_samples - samples_before < int(FULL_LAST_EPOCH * ((epoch_tokens - 1) // seq_len)):
            before_last = samples_before
    random = np.random.RandomState(seed)
    apart = before_last < total
    document_index = _shuffled_documents(len(lengths), num_epochs, random, last_apart=apart)
    return SourceOrder(
        document_index=document_index,
        sample_index=_sample_index(lengths, document_index, total, seq_len),
        shuffle_index=_shuffled_samples(total, before_last, random),
        num_epochs=num_epochs,
    )


def _shuffled_documents(
    num_documents: int, num_epochs: int, random: np.random.RandomState, *, last_apart: bool
) -> np.ndarray:
    """All epochs shuffled together, or all but the last and then the last; int32."""
    epoch = np.arange(num_documents, dtype=np.int32)
    index = np.tile(epoch, num_epochs)
    if not last_apart:
        random.shuffle(index)
        return index
    random.shuffle(index[:-num_documents])
    random.shuffle(index[-num_documents:])
    return index


def _sample_index(lengths: np.ndarray, document_index: np.ndarray, num_samples: int, seq_len: int) -> np.ndarray:
    """Where token k * seq_len of the stream lies, k = 0..num_samples; int32 where that fits, else int64."""
    lengths_in_order = lengths[document_index]
    ends = np.cumsum(lengths_in_order, dtype=np.int64)
    tokens = np.arange(num_samples + 1, dtype=np.int64) * seq_len
    at = np.searchsorted(ends, tokens, side="right")
    largest = max(len(document_index), int(lengths.max()))
    index = np.empty((num_samples + 1, 2), np.int32 if largest <= np.iinfo(np.int32).max else np.int64)
    index[:, 0] = at
    index[:, 1] = tokens - (ends[at] - lengths_in_order[at])
    index[0] = 0  # Megatron starts at the first document even when that is empty
    return index


def _shuffled_samples(total: int, before_last: int, random: np.random.RandomState) -> np.ndarray:
    """The samples of all epochs but the last shuffled, then the rest; uint32 unless that is too small."""
    index = np.arange(total, dtype=np.uint32 if total < np.iinfo(np.uint32).max - 1 else np.int64)
    random.shuffle(index[:before_last])
    if before_last < total:
        random.shuffle(index[before_last:])
    return index


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
    of its share at every position. A plain loop, because each choice depends on the last and on
    float64 rounding: 0.8 to 0.9 s per million samples with two to eight sources on that core, so some 20 s
    for 100 B tokens.

    Args:
        weights: normalised (`normalised`).

    Returns:
        (num_samples,) int16, the source of each position; (num_samples,) int64, which of its samples it is.
    """
    taken = [0.0] * len(weights)
    others = range(1, len(weights))
    chosen = array("h")
    for position in range(num_samples):
        size = max(position, 1)
        best, lag = 0, weights[0] * size - taken[0]
        for source in others:
            if (error := weights[source] * size - taken[source]) > lag:
                best, lag = source, error
        taken[best] += 1.0
        chosen.append(best)
    sources = np.array(chosen, dtype=np.int16)
    samples = np.empty(num_samples, dtype=np.int64)
    for source in range(len(weights)):
        mine = sources == source
        samples[mine] = np.arange(np.count_nonzero(mine))
    return sources, samples


def largest_deviation(sources: np.ndarray, weights: Sequence[float]) -> float:
    """How far, in samples, any source ever is from weight * samples read, over all prefixes of a blend."""
    read = np.arange(1, len(sources) + 1)
    deviations = [
        np.abs(np.cumsum(sources == source) - weight * read).max(initial=0.0) for source, weight in enumerate(weights)
    ]
    return float(max(deviations))

"""Which samples of a mixture read given documents: `Mixture.trace`, inverted for many documents at once.

In: rows of one source's token file, with their lengths. Out: every (row, sample) in which a token of the row is read,
as an input or as the last target, with the number of tokens. The index arrays of the mixture are searched as a whole:
a row's places in the source's reading order, the samples whose stretch of that order touches them, where the shuffle
put those, and where the blend put them. No token file is opened. A mixture that continues another knows the samples
from where it begins on; what was read before is found in those before it (`storage.consumption.read_phases`).

    reads = samples_reading("runs/mix/demo-0123", "train", "corpus", rows, lengths)
    steps = reads.samples // global_batch + 1
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from storage.mixture_plan import read_plan
from storage.stored_order import StoredOrder, mapped_arrays


@dataclass(frozen=True)
class Reads:
    """(n,) int64 each, in the order of the samples: `samples[i]` reads `tokens[i]` tokens of row `rows[i]`.

    Samples are numbered from the run's beginning. A token that ends one sample and begins the next counts in both. A
    row read in several epochs, or on both sides of a border between samples, appears several times.
    """

    rows: np.ndarray
    samples: np.ndarray
    tokens: np.ndarray


def samples_reading(mixture: str, split: str, source: str, rows: np.ndarray, lengths: np.ndarray) -> Reads:
    """Find the samples that read any token of `rows`.

    Args:
        rows: (n,) rows of the source's token file in this split, each once.
        lengths: (n,) tokens of each.

    Raises:
        FileNotFoundError: no mixture there.
        ValueError: it has no such split or source, or fewer rows.
    """
    plan = read_plan(mixture)
    names = [planned.name for planned in plan.splits[split].sources] if split in plan.splits else []
    if source not in names:
        raise ValueError(f"{mixture} has no source {source!r} in split {split!r}; there: {', '.join(names) or 'none'}")
    number = names.index(source)
    num_documents = plan.splits[split].sources[number].documents
    if len(rows) and not 0 <= rows.min() <= rows.max() < num_documents:
        raise ValueError(f"{mixture}: rows up to {rows.max()} of source {source}, which has {num_documents} documents")
    with mapped_arrays(mixture, split) as array:
        order = StoredOrder.load(array, plan.splits[split].sources[number], plan.packing)
        wanted = np.full(num_documents, -1, np.int32)
        wanted[rows] = np.arange(len(rows), dtype=np.int32)
        places = np.flatnonzero(wanted[order.rows] >= 0)
        which = wanted[order.rows[places]].astype(np.int64)
        at, stretch, tokens = _stretches(order, places, lengths[which])
        which = which[at]
        sample = _positions(array("source"), array("sample"), array(f"{source}.shuffle"), number)[stretch]
    read = sample >= 0
    in_order = np.lexsort((which[read], sample[read]))
    samples = sample[read][in_order] + plan.splits[split].first_sample
    return Reads(rows[which[read]][in_order].astype(np.int64), samples, tokens[read][in_order])


def _stretches(
    order: StoredOrder, places: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which stretches of a source's order touch the wanted places.

    Args:
        places: (places,) in ascending order.
        lengths: (places,) tokens of the document in each.

    Returns:
        Index into `places`, number of the stretch, tokens read there; (n,) int64 each.
    """
    starts = np.ascontiguousarray(order.borders if order.packed else order.borders[:, 0])
    begin, end = np.zeros(len(places), np.int64), lengths.astype(np.int64)
    if order.pieces is not None:
        begin, end = order.pieces[places, 1].astype(np.int64), order.pieces[places, 2].astype(np.int64)
    if order.packed:
        stretch = np.searchsorted(starts, places, side="right") - 1
        # The rest of a document that comes first is read after the token before it.
        return np.arange(len(places)), stretch, end - begin + ((starts[stretch] == places) & (begin > 0))
    first = np.maximum(np.searchsorted(starts, places, side="left") - 1, 0)
    last = np.minimum(np.searchsorted(starts, places, side="right"), len(starts) - 1) - 1
    times = np.maximum(last - first + 1, 0)
    at = np.repeat(np.arange(len(places)), times)
    stretch = first[at] + np.arange(len(at)) - np.repeat(np.cumsum(times) - times, times)
    place, borders = places[at], order.borders
    from_ = np.where(starts[stretch] == place, borders[stretch, 1], 0)
    to = np.where(starts[stretch + 1] == place, borders[stretch + 1, 1] + 1, (end - begin)[at])
    tokens = (to - from_).astype(np.int64)
    touched = tokens > 0  # a document without tokens lies in a stretch that reads nothing of it
    return at[touched], stretch[touched], tokens[touched]


def _positions(sources: np.ndarray, numbers: np.ndarray, shuffle: np.ndarray, source: int) -> np.ndarray:
    """(stretches,) int64: the sample of the mixture that is each stretch of a source, -1 where none is."""
    mine = np.flatnonzero(sources == source)
    drawn = np.full(len(shuffle), -1, np.int64)
    drawn[numbers[mine]] = mine
    positions = np.empty(len(shuffle), np.int64)
    positions[shuffle] = drawn
    return positions

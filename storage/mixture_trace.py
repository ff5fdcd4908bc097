"""Which samples of a mixture read given documents: `Mixture.trace`, inverted for many documents at once.

In: rows of one source's token file, with their lengths. Out: every (row, sample) in which a token of the row is read,
as an input or as the last target, with the number of tokens. The index arrays of the mixture are searched as a whole:
a row's places in the source's reading order, the samples whose stretch of that order touches them, where the shuffle
put those, and where the blend put them. No token file is opened.

    reads = samples_reading("runs/mix/demo-0123", "train", "corpus", rows, lengths)
    steps = reads.samples // global_batch + 1
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from storage.mixture_plan import array_path, read_plan
from storage.uri import join, localized


@dataclass(frozen=True)
class Reads:
    """(n,) int64 each, in the order of the samples: `samples[i]` reads `tokens[i]` tokens of row `rows[i]`.

    A token that ends one sample and begins the next counts in both. A row read in several epochs, or on both sides of
    a border between samples, appears several times.
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
    with ExitStack() as stack:

        def array(name: str) -> np.ndarray:
            path = stack.enter_context(localized(join(mixture, array_path(split, name))))
            return np.load(path, mmap_mode="r", allow_pickle=False)

        wanted = np.full(num_documents, -1, np.int32)
        wanted[rows] = np.arange(len(rows), dtype=np.int32)
        which, stretch, tokens = _stretches(wanted[array(f"{source}.documents")], lengths, array(f"{source}.samples"))
        sample = _positions(array("source"), array("sample"), array(f"{source}.shuffle"), number)[stretch]
    read = sample >= 0
    order = np.lexsort((which[read], sample[read]))
    return Reads(rows[which[read]][order].astype(np.int64), sample[read][order], tokens[read][order])


def _stretches(
    wanted: np.ndarray, lengths: np.ndarray, borders: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which stretches of a source's stream touch the wanted documents.

    Args:
        wanted: (places,) for each place of the reading order an index into `lengths`, or -1.
        borders: (stretches + 1, 2) place and offset where each stretch starts and, one row on, ends (that token
            included): `storage.sample_order.SourceOrder.sample_index`.

    Returns:
        Index into `lengths`, number of the stretch, tokens of it there; (n,) int64 each.
    """
    places = np.flatnonzero(wanted >= 0)
    starts = np.ascontiguousarray(borders[:, 0])
    first = np.maximum(np.searchsorted(starts, places, side="left") - 1, 0)
    last = np.minimum(np.searchsorted(starts, places, side="right"), len(starts) - 1) - 1
    times = np.maximum(last - first + 1, 0)
    at = np.repeat(np.arange(len(places)), times)
    stretch = first[at] + np.arange(len(at)) - np.repeat(np.cumsum(times) - times, times)
    place, which = places[at], wanted[places[at]].astype(np.int64)
    begin = np.where(starts[stretch] == place, borders[stretch, 1], 0)
    end = np.where(starts[stretch + 1] == place, borders[stretch + 1, 1] + 1, lengths[which])
    tokens = (end - begin).astype(np.int64)
    touched = tokens > 0  # a document without tokens lies in a stretch that reads nothing of it
    return which[touched], stretch[touched], tokens[touched]


def _positions(sources: np.ndarray, numbers: np.ndarray, shuffle: np.ndarray, source: int) -> np.ndarray:
    """(stretches,) int64: the sample of the mixture that is each stretch of a source, -1 where none is."""
    mine = np.flatnonzero(sources == source)
    drawn = np.full(len(shuffle), -1, np.int64)
    drawn[numbers[mine]] = mine
    positions = np.empty(len(shuffle), np.int64)
    positions[shuffle] = drawn
    return positions

"""Which pairs of documents verification compares: of those that share a bucket, at most some for each document.

A bucket of k documents has k (k - 1) / 2 pairs, too many where a template fills thousands of pages. So each document
is compared with the `max_candidates` best-ranked of those before it in its bucket; in a bucket of up to
`max_candidates` + 1 documents these are all pairs. In a larger one a document is kept whose only copies are further
down, unless another band's bucket brings them together. Of crowds of 1,200 pages from 40 templates and 1,600 from 200,
in buckets of up to 519, sixteen candidates lost no cluster: not the best-ranked, nor the last before each document,
nor half of both. The best-ranked are taken because they are what twins should be.

Memory: 48 bytes x distinct pairs, and 48 bytes x MAX_PAIRS (100 MB).

    pairs = candidate_pairs(batches, rank, max_candidates=16)   # ranks, the better one first
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

MAX_PAIRS = 1 << 21  # not yet freed of repeats (a pair comes once for each band that it shares)
_LOW_BITS, _LOW_HALF = np.uint64(32), np.uint64(0xFFFFFFFF)


def candidate_pairs(
    buckets: Iterable[tuple[np.ndarray, np.ndarray]], rank: np.ndarray, max_candidates: int
) -> np.ndarray:
    """Distinct pairs of ranks, int64 (pairs, 2), the better one first, in order.

    Args:
        buckets: (offsets, rows) as `tasks.deduplicate.buckets.equal_keys` returns them.
        rank: int (documents,): of each row.

    Raises:
        ValueError: there are more documents than two ranks in 64 bits can tell apart.
    """
    if len(rank) > 1 << 32:
        raise ValueError(f"deduplicate.verify: {len(rank):,} documents, at most 2^32 can be verified; turn it off")
    distinct = np.empty(0, np.uint64)
    waiting: list[np.ndarray] = []
    num_waiting = 0
    for offsets, rows in buckets:
        for first, last in _batches(offsets, max_candidates):
            waiting.append(_pairs(rank, offsets[first : last + 1], rows, max_candidates))
            num_waiting += len(waiting[-1])
            if num_waiting > max(MAX_PAIRS, len(distinct)):
                distinct, waiting, num_waiting = np.unique(np.concatenate([distinct, *waiting])), [], 0
    distinct = np.unique(np.concatenate([distinct, *waiting]))
    return np.stack([distinct >> _LOW_BITS, distinct & _LOW_HALF], axis=1).astype(np.int64)


def _num_pairs(sizes: np.ndarray, max_candidates: int) -> np.ndarray:
    """How many pairs buckets of these sizes give, int64."""
    sizes = sizes.astype(np.int64)
    whole = np.minimum(sizes, max_candidates + 1)  # of these every pair
    return whole * (whole - 1) // 2 + (sizes - whole) * max_candidates


def _batches(offsets: np.ndarray, max_candidates: int) -> Iterator[tuple[int, int]]:
    """Ranges of buckets, last excluded, that give about MAX_PAIRS pairs at most, unless one bucket gives more."""
    ends = np.cumsum(_num_pairs(np.diff(offsets), max_candidates))
    first, before = 0, 0
    while first < len(ends):
        last = max(first + 1, int(np.searchsorted(ends, before + MAX_PAIRS, side="right")))
        yield first, last
        first, before = last, int(ends[last - 1])


def _pairs(rank: np.ndarray, offsets: np.ndarray, rows: np.ndarray, max_candidates: int) -> np.ndarray:
    """Every pair of some buckets as one number, the better rank in the high half."""
    sizes = np.diff(offsets)
    bucket = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes)
    members = bucket << _LOW_BITS | rank[rows[offsets[0] : offsets[-1]]].astype(np.uint64)
    members.sort()  # by bucket, then rank
    members &= _LOW_HALF
    starts = np.repeat(offsets[:-1] - offsets[0], sizes)
    num_better = np.minimum(np.arange(len(members)) - starts, max_candidates)
    ends = np.cumsum(num_better)
    better = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - num_better, num_better)
    return members[np.repeat(starts, num_better) + better] << _LOW_BITS | np.repeat(members, num_better)

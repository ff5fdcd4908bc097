"""Who is tied to whom: an integer union-find over documents by rank, compiled by numba.

Documents are known by their rank, 0 the best, so that a cluster's smallest number is its survivor: the root of every
tree is its best-ranked member. Edges may come in any order: parents differ on the way, roots at the end do not, and of
mates the minimum is kept. Paths are halved as they are walked (Tarjan and van Leeuwen 1984, Worst-case analysis of set
union algorithms).

Memory: parents and mates are 4 bytes x documents each below two billion documents, 8 from there on.

    parents, mates = np.arange(n, dtype=np.int32), np.full(n, n, np.int32)
    join_buckets(parents, mates, rank, offsets, rows, True)
    to_roots(parents)      # parents[r] is now the rank of r's survivor
"""

from __future__ import annotations

from typing import Any

from storage.compiled import compiled


@compiled
def join_buckets(parents: Any, mates: Any, rank: Any, offsets: Any, rows: Any, clusters: bool) -> None:
    """Tie each bucket's documents to the best-ranked of them.

    Args:
        parents: int (documents,): a rank not above its own for each rank; changed in place.
        mates: int (documents,): the best rank each has shared a bucket with so far, `documents` where there is none
            (never its own); changed in place.
        rank: int (documents,): of each row.
        offsets, rows: as `tasks.deduplicate.buckets.equal_keys` returns them.
        clusters: join trees; else only mates are noted.
    """
    for bucket in range(len(offsets) - 1):
        best, second = len(parents), len(parents)
        for place in range(offsets[bucket], offsets[bucket + 1]):
            document = rank[rows[place]]
            if document < best:
                best, second = document, best
            elif document < second:
                second = document
        mates[best] = min(mates[best], second)
        for place in range(offsets[bucket], offsets[bucket + 1]):
            document = rank[rows[place]]
            if document != best:
                mates[document] = min(mates[document], best)
                if clusters:
                    _join(parents, best, document)


@compiled
def join_pairs(parents: Any, mates: Any, pairs: Any, clusters: bool) -> None:
    """Tie pairs of ranks, int (pairs, 2), as `join_buckets` ties buckets."""
    for pair in range(len(pairs)):
        left, right = pairs[pair]
        mates[left] = min(mates[left], right)
        mates[right] = min(mates[right], left)
        if clusters:
            _join(parents, left, right)


@compiled
def to_roots(parents: Any) -> None:
    """Put every rank's root in place of its parent; parents come first, so one pass in order is enough."""
    for document in range(len(parents)):
        parents[document] = parents[parents[document]]


@compiled
def _root(parents: Any, document: int) -> int:
    while parents[document] != document:
        parents[document] = parents[parents[document]]
        document = parents[document]
    return document


@compiled
def _join(parents: Any, left: int, right: int) -> None:
    left, right = _root(parents, left), _root(parents, right)
    if left < right:
        parents[right] = left
    elif right < left:
        parents[left] = right

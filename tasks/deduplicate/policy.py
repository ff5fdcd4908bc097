"""Which of two copies is kept: every document's rank under the survivor policy, 0 the best.

In: columns of the index of all shards. Out: the documents' ids and their order from best to worst, a total order
that is a function of the documents alone: whatever shards they lie in, and in whatever order these are read.

| policy | compared first, and what wins | then |
| --- | --- | --- |
| newest | crawl, the newest; `fetched_at`, the latest | URL, id |
| oldest | crawl, the oldest; `fetched_at`, the earliest | URL, id |
| longest | `num_characters`, the most | newest crawl, URL, id |
| best_quality | `quality`, the highest | newest crawl, URL, id |

Names of crawls sort by time (CC-MAIN-2024-10). A document without a crawl (null or "unknown"), date or quality comes
after all that have one, under every policy. Of URLs and ids the smaller one wins: of URLs by its 64-bit hash, of ids
byte by byte.

Memory: 84 bytes x documents while they are sorted; the result is 24 bytes x documents.

    ids, order = survivor_order(shards, "newest")   # order[0] is the row of the best-ranked document
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tasks.deduplicate.config import SurvivorPolicy
from tasks.deduplicate.index import IndexShard, read_rows

UNKNOWN_CRAWL = "unknown"
_COMPARED = {"newest": "fetched_at", "oldest": "fetched_at", "longest": "num_characters", "best_quality": "quality"}
_LARGER_WINS = {"newest", "longest", "best_quality"}


@dataclass(frozen=True)
class RankColumns:
    """What ranks depend on, for all documents in the order of the index.

    Attributes:
        ids: uint8 (documents, 16).
        crawls: int32 (documents,): the place of the crawl's name in `crawl_names`; -1 where it is unknown.
        crawl_names: sorted.
        urls: uint64 (documents,).
        compared: int64 or float64 (documents,): what the policy compares, with its sign turned where the larger one
            wins, and the largest value there is where the document has none: the smallest wins.
    """

    ids: np.ndarray
    crawls: np.ndarray
    crawl_names: list[str]
    urls: np.ndarray
    compared: np.ndarray


def survivor_order(shards: Sequence[IndexShard], policy: SurvivorPolicy) -> tuple[np.ndarray, np.ndarray]:
    """All documents' ids, uint8 (documents, 16), and their rows from best to worst, int64 (documents,).

    Raises:
        ValueError: two documents have the same id.
    """
    columns = read_rank_columns(shards, policy)
    refuse_equal_ids(columns.ids)
    return columns.ids, sort_by_rank(columns, policy)


def sort_by_rank(columns: RankColumns, policy: SurvivorPolicy) -> np.ndarray:
    """The documents' rows from best to worst: int64 (documents,), a permutation."""
    newest_first = policy != "oldest"
    ages = columns.crawls if not newest_first else len(columns.crawl_names) - 1 - columns.crawls
    ages = np.where(columns.crawls < 0, np.int32(len(columns.crawl_names)), ages)
    halves = columns.ids.view(">u8").astype(np.uint64)  # as numbers they sort like the bytes
    ties = (halves[:, 1], halves[:, 0], columns.urls)  # lexsort: the last key is compared first
    if _COMPARED[policy] == "fetched_at":
        return np.lexsort((*ties, columns.compared, ages))
    return np.lexsort((*ties, ages, columns.compared))


def read_rank_columns(shards: Sequence[IndexShard], policy: SurvivorPolicy) -> RankColumns:
    """Read from the index what the policy compares."""
    name = _COMPARED[policy]
    total = sum(shard.documents for shard in shards)
    ids = np.empty((total, 16), np.uint8)
    urls = np.empty(total, np.uint64)
    compared = np.empty(total, np.float64 if name == "quality" else np.int64)
    crawls = np.empty(total, np.int32)
    codes: dict[str, int] = {}
    for shard in shards:
        table = read_rows(shard, ["id", "crawl", "url", name])
        here = slice(shard.first, shard.first + shard.documents)
        ids[here] = fixed_bytes(table.column("id"))
        urls[here] = table.column("url").to_numpy()
        compared[here] = _smaller_wins(table.column(name), name, larger_wins=policy in _LARGER_WINS)
        crawls[here] = _crawl_codes(table.column("crawl"), codes)
    names = sorted(codes)
    places = np.full(len(codes) + 1, -1, np.int32)  # the last is what code -1 finds
    places[[codes[crawl] for crawl in names]] = np.arange(len(names))
    return RankColumns(ids, places[crawls], names, urls, compared)


def refuse_equal_ids(ids: np.ndarray) -> None:
    """Raise ValueError where two rows of uint8 (documents, 16) are equal."""
    first = np.sort(ids.view(np.uint64)[:, 0])
    shared = np.unique(first[1:][first[1:] == first[:-1]])
    if not len(shared):
        return
    suspects = ids[np.isin(ids.view(np.uint64)[:, 0], shared)]
    distinct, counts = np.unique(suspects, axis=0, return_counts=True)
    if (counts > 1).any():
        equal = distinct[counts > 1]
        raise ValueError(
            f"{len(equal)} ids are of more than one document, {equal[0].tobytes().hex()} of {counts.max()}: was a WARC "
            "file or a source read twice? Every document must come from one place; leave the second one out"
        )


def fixed_bytes(column: pa.ChunkedArray) -> np.ndarray:
    """A column of binary(16) without nulls as uint8 (rows, 16)."""
    parts = [
        np.frombuffer(chunk.buffers()[1], np.uint8, 16 * len(chunk), 16 * chunk.offset)
        for chunk in column.chunks
        if len(chunk)
    ]
    return (np.concatenate(parts) if parts else np.empty(0, np.uint8)).reshape(-1, 16)


def _crawl_codes(column: pa.ChunkedArray, codes: dict[str, int]) -> np.ndarray:
    """int32 (rows,): a number for each crawl's name, as `codes` has it or is given it; -1 where it is unknown."""
    encoded = column.combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    of_name = [-1 if name == UNKNOWN_CRAWL else codes.setdefault(name, len(codes)) for name in names]
    return np.array([*of_name, -1], np.int32)[encoded.indices.fill_null(len(names)).to_numpy()]


def _smaller_wins(column: pa.ChunkedArray, name: str, *, larger_wins: bool) -> np.ndarray:
    """A column as numbers of which the smallest wins, the largest there is in place of nulls."""
    worst: float = np.inf if name == "quality" else np.iinfo(np.int64).max
    missing = column.is_null(nan_is_null=True).to_numpy()
    values = column.fill_null(0).to_numpy()
    return np.where(missing, worst, -values if larger_wins else values)

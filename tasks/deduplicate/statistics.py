"""What deduplication found, in figures that a report can show: clusters, hosts, crawls.

In: the decisions over all documents and the index of every shard (host key and crawl of each document). Out: JSON-like
values of bounded size, a function of documents and decisions alone. Everything is counted over integer arrays; names,
URLs and texts are read for the few rows that are shown (`tasks.deduplicate.excerpts`).

A cluster is all documents with one survivor, at whatever level they were dropped; a document that is no copy of any
other is a cluster of one.

Memory: 28 bytes x documents + 120 bytes x dropped documents, and one row group of texts.

    statistics(decisions, shards, documents={"CC-MAIN-00000": "runs/.../CC-MAIN-00000.parquet"}, pii=refine.pii)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from storage.ledger import Rule
from tasks.deduplicate.decide import Decisions
from tasks.deduplicate.excerpts import documents_at, excerpt
from tasks.deduplicate.index import IndexShard, read_rows
from tasks.refine.pii_config import PiiConfig

NUM_CLUSTERS = 10
NUM_MEMBERS = 3
NUM_HOSTS = 20
NUM_HOST_PAIRS = 10
MAX_CRAWL_PAIRS = 400  # all pairs of 20 crawls; of more crawls those with most copies
UNKNOWN_CRAWL = "unknown"

Figures = dict[str, Any]


def statistics(
    decisions: Decisions, shards: Sequence[IndexShard], *, documents: Mapping[str, str], pii: PiiConfig
) -> Figures:
    """The figures of all documents.

    Args:
        shards: of the index, in the order of the decisions' rows.
        documents: key of a shard -> URI of its documents before refinement; where one is not there, the URLs, hosts and
            excerpts of its documents are None.
        pii: what is masked in excerpts.

    Returns:
        `cluster_sizes`: {size: clusters}. `largest_clusters`: of each its `size`, its `survivor` and, of what was
        dropped, up to NUM_MEMBERS `members`, those with the smallest ids; `value` is the verified Jaccard similarity to
        the twin. `hosts`: those with most dropped documents, and on which host lies what was kept of them.
        `host_pairs`: the hosts that have most copies of another host's documents. `crawl_pairs`: of each crawl, how
        many documents gave way to one of each crawl.
    """
    origins = _read_origins(shards)
    dropped = np.flatnonzero(~decisions.kept)
    survivors = decisions.survivor[dropped]
    sizes = np.bincount(decisions.survivor)
    clusters = _largest_clusters(decisions, sizes, dropped, survivors)
    hosts, host_pairs = _hosts(origins.hosts, dropped, survivors)
    _name_hosts([*hosts, *host_pairs], shards, documents)
    _describe(clusters, origins, shards, documents, pii)
    how_large, how_many = np.unique(sizes[sizes > 0], return_counts=True)
    return {
        "cluster_sizes": {str(size): int(number) for size, number in zip(how_large, how_many, strict=True)},
        "largest_clusters": clusters,
        "hosts": hosts,
        "host_pairs": host_pairs,
        "crawl_pairs": _crawl_pairs(origins, dropped, survivors),
    }


@dataclass(frozen=True)
class _Origins:
    """Host key of each document, uint64 (documents,), and the number of its crawl among `crawl_names`, int32."""

    hosts: np.ndarray
    crawls: np.ndarray
    crawl_names: list[str]


def _read_origins(shards: Sequence[IndexShard]) -> _Origins:
    num_documents = sum(shard.documents for shard in shards)
    hosts, crawls = np.empty(num_documents, np.uint64), np.empty(num_documents, np.int32)
    numbers: dict[str, int] = {}
    for shard in shards:
        here = slice(shard.first, shard.first + shard.documents)
        table = read_rows(shard, ["host", "crawl"])
        hosts[here] = table.column("host").to_numpy()
        crawl = table.column("crawl").fill_null(UNKNOWN_CRAWL).combine_chunks().dictionary_encode()
        names = crawl.dictionary.to_pylist()
        number_of = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int32)
        crawls[here] = number_of[crawl.indices.to_numpy()]
    return _Origins(hosts, crawls, list(numbers))


def _largest_clusters(
    decisions: Decisions, sizes: np.ndarray, dropped: np.ndarray, survivors: np.ndarray
) -> list[Figures]:
    """The clusters with most documents; of equal ones those whose survivor comes first. Documents as `row` so far."""
    several = np.flatnonzero(sizes > 1)
    clusters = []
    for survivor in several[np.argsort(-sizes[several], kind="stable")[:NUM_CLUSTERS]].tolist():
        rows = dropped[survivors == survivor]
        ids = np.ascontiguousarray(decisions.ids[rows]).view(">u8")
        sample = rows[np.lexsort((ids[:, 1], ids[:, 0]))[:NUM_MEMBERS]].tolist()
        members = [
            {"row": row, "rule": Rule(int(decisions.rule[row])).label, "value": _known(decisions.value[row])}
            for row in sample
        ]
        kept = {"row": survivor, "id": decisions.ids[survivor].tobytes().hex()}
        clusters.append({"size": int(sizes[survivor]), "survivor": kept, "members": members})
    return clusters


def _hosts(hosts: np.ndarray, dropped: np.ndarray, survivors: np.ndarray) -> tuple[list[Figures], list[Figures]]:
    """The hosts that lost most documents, and the pairs of hosts; a host is the row of one of its documents so far."""
    rows = np.concatenate([dropped, survivors])
    keys, first, numbers = np.unique(hosts[rows], return_index=True, return_inverse=True)
    example = rows[first]
    lost_by, kept_by = numbers[: len(dropped)], numbers[len(dropped) :]
    elsewhere = lost_by != kept_by
    lost = np.bincount(lost_by, minlength=len(keys))
    lost_elsewhere = np.bincount(lost_by[elsewhere], minlength=len(keys))
    table = []
    for host in _largest(lost, NUM_HOSTS):
        num_documents = int(np.count_nonzero(hosts == keys[host]))
        figures = {"documents": num_documents, "dropped": int(lost[host]), "share": float(lost[host] / num_documents)}
        other = int(lost_elsewhere[host])
        table.append({"host": int(example[host]), **figures, "same_host": int(lost[host]) - other, "other_host": other})
    pairs, copies = np.unique(lost_by[elsewhere] * len(keys) + kept_by[elsewhere], return_counts=True)
    between = [(*divmod(int(pairs[pair]), len(keys)), int(copies[pair])) for pair in _largest(copies, NUM_HOST_PAIRS)]
    return table, [
        {"host": int(example[host]), "survivor_host": int(example[other]), "documents": number}
        for host, other, number in between
    ]


def _crawl_pairs(origins: _Origins, dropped: np.ndarray, survivors: np.ndarray) -> list[Figures]:
    """How many documents of each crawl were dropped for one of each crawl, most first."""
    names = origins.crawl_names
    pairs, copies = np.unique(
        origins.crawls[dropped].astype(np.int64) * len(names) + origins.crawls[survivors], return_counts=True
    )
    rows = [
        {"dropped_crawl": names[pair // len(names)], "survivor_crawl": names[pair % len(names)], "documents": number}
        for pair, number in zip(pairs.tolist(), copies.tolist(), strict=True)
    ]
    rows.sort(key=lambda row: (-row["documents"], row["dropped_crawl"], row["survivor_crawl"]))
    return rows[:MAX_CRAWL_PAIRS]


def _name_hosts(figures: Sequence[Figures], shards: Sequence[IndexShard], documents: Mapping[str, str]) -> None:
    """Put names in the place of the rows that stand for hosts."""
    fields = [(row, name) for row in figures for name in ("host", "survivor_host") if name in row]
    found = documents_at({row[name] for row, name in fields}, shards, documents, ["host"])
    for row, name in fields:
        row[name] = found[row[name]]["host"] if row[name] in found else None


def _describe(
    clusters: Sequence[Figures],
    origins: _Origins,
    shards: Sequence[IndexShard],
    documents: Mapping[str, str],
    pii: PiiConfig,
) -> None:
    """Say of the documents of these clusters what they are."""
    shown = [document for cluster in clusters for document in (cluster["survivor"], *cluster["members"])]
    found = documents_at({document["row"] for document in shown}, shards, documents, ["url", "host", "text"])
    for document in shown:
        row = document.pop("row")
        page = found.get(row)
        document["crawl"] = origins.crawl_names[origins.crawls[row]]
        document["url"] = page["url"] if page else None
        document["host"] = page["host"] if page else None
        document["excerpt"] = excerpt(page["text"], pii) if page else None


def _largest(numbers: np.ndarray, most: int) -> list[int]:
    """Where the largest numbers above 0 are, the largest first; of equal ones the first."""
    order = np.argsort(-numbers, kind="stable")[:most]
    return order[numbers[order] > 0].tolist()


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)

"""The report's section on duplicates: what each level dropped, clusters, hosts, crawls, and the S-curve.

In: the manifest of deduplicate, whose details hold the figures of `tasks.deduplicate.statistics` and the measured
S-curve. Out: JSON-like facts; what a manifest does not hold is None or an empty list.

    facts = duplicates(made)
    facts["levels"][-1]["remaining"], facts["hosts"][0]["dropped"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.report.artifacts import RunArtifacts
from tasks.report.corpus import REFINING, share_of

MAX_MATRIX_CRAWLS = 12  # of more crawls, the pairs with most copies are listed
MAX_CRAWL_ROWS = 20
CURVE_POINTS = 101
MIN_EXPECTED = 5  # pairs that share a bucket, and pairs that do not: with fewer a standard error says little
_COUNTS = (
    "documents",
    "kept",
    "dropped",
    "same_url",
    "exact_duplicates",
    "near_duplicates",
    "clusters",
    "characters",
)
_LEVELS = (
    ("same_url", "with a URL of their own"),
    ("exact_duplicates", "with a text of their own"),
    ("near_duplicates", "of which no near-duplicate is kept"),
)
_CLUSTER_SIZES = (
    (1, 1),
    (2, 2),
    (3, 3),
    (4, 4),
    (5, 9),
    (10, 19),
    (20, 49),
    (50, 99),
    (100, 999),
    (1_000, 9_999),
    (10_000, None),
)

Facts = dict[str, Any]


def duplicates(made: RunArtifacts) -> Facts:
    """What was dropped at which level, and who is a copy of whom: clusters, hosts, crawls."""
    counts = made.counts("deduplicate")
    details = made.detail("deduplicate") or {}
    sizes = {int(size): number for size, number in (details.get("cluster_sizes") or {}).items()}
    clusters = details.get("largest_clusters") or []
    copies = sum(counts.get(name, 0) for name, _ in _LEVELS)
    return {
        **{name: counts.get(name) for name in _COUNTS},
        "kept_share": share_of(counts.get("kept"), counts.get("documents")),
        "levels": _levels(counts),
        "sizes": _sizes(sizes),
        "largest": max(sizes, default=None),
        "largest_clusters": clusters,
        "largest_share": share_of(sum(cluster["size"] - 1 for cluster in clusters), copies),
        "hosts": details.get("hosts") or [],
        "host_pairs": details.get("host_pairs") or [],
        "crawls": _crawls(details.get("crawl_pairs") or [], copies),
        "s_curve": _s_curve(made, details.get("s_curve") or []),
        "generations": _generations(details.get("generations")),
    }


def _levels(counts: Mapping[str, int]) -> list[Facts]:
    """From all documents to the corpus, level by level; a level that is not in use is left out."""
    documents = remaining = counts.get("documents")
    rows = [{"left": "documents", "dropped": None, "remaining": documents, "share": share_of(documents, documents)}]
    refined = sum(counts.get(f"dropped_{rule.label}", 0) for rule in REFINING)
    lost = [(left, counts.get(name)) for name, left in _LEVELS if counts.get(name) or name != "same_url"]
    if refined:
        lost.append(("that refinement leaves: the corpus", refined))
    for left, dropped in lost:
        remaining = None if remaining is None or dropped is None else remaining - dropped
        rows.append({
            "left": left, "dropped": dropped, "remaining": remaining, "share": share_of(remaining, documents)
        })  # fmt: skip
    return rows


def _sizes(sizes: Mapping[int, int]) -> list[Facts]:
    """How many clusters there are of which size."""
    total = sum(size * number for size, number in sizes.items())
    rows = []
    for low, high in _CLUSTER_SIZES:
        inside = {size: number for size, number in sizes.items() if size >= low and (high is None or size <= high)}
        if inside:
            documents = sum(size * number for size, number in inside.items())
            rows.append({
                "size": f"{low:,}" if low == high else f"{low:,} to {high:,}" if high else f"{low:,} or more",
                "clusters": sum(inside.values()),
                "documents": documents,
                "dropped": sum((size - 1) * number for size, number in inside.items()),
                "share": share_of(documents, total),
            })  # fmt: skip
    return rows


def _crawls(pairs: Sequence[Mapping[str, Any]], total: int) -> Facts:
    """Copies by the crawl of what was dropped and the crawl of what was kept.

    Args:
        pairs: all, or of very many crawls those with most copies.
        total: copies in all.

    Returns:
        `names`, newest first; `pairs`, those with most copies; `matrix`, where the crawls are few: a row for each crawl
        of dropped documents, in it the number for each crawl of survivors, and how strongly it is coloured (`heat`,
        0 to 1: the root of its part of the largest); `within`, the share of copies whose survivor is of their crawl,
        None where not all pairs are there.
    """
    copies = {(pair["dropped_crawl"], pair["survivor_crawl"]): pair["documents"] for pair in pairs}
    most = max(copies.values(), default=1)
    within = sum(number for (dropped, survivor), number in copies.items() if dropped == survivor)
    names = sorted({name for pair in copies for name in pair}, key=lambda name: (name != "unknown", name), reverse=True)
    matrix = [
        {
            "crawl": dropped,
            "cells": [
                {"documents": number, "heat": (number / most) ** 0.5}
                for number in (copies.get((dropped, survivor), 0) for survivor in names)
            ],
        }
        for dropped in names
    ]
    return {
        "names": names,
        "pairs": [{**pair, "share": share_of(pair["documents"], total)} for pair in pairs[:MAX_CRAWL_ROWS]],
        "matrix": matrix if 1 < len(names) <= MAX_MATRIX_CRAWLS else [],
        "within": share_of(within, total) if sum(copies.values()) == total else None,
    }


def _s_curve(made: RunArtifacts, points: Sequence[Mapping[str, Any]]) -> Facts:
    """The curve of the run's settings, and what planted pairs showed.

    Returns:
        `bands`, `rows`; `min_jaccard`, where pairs are verified; `curve`: (Jaccard, probability) from 0 to 1; `middle`:
        the similarity at which one in two pairs shares a bucket; `points`, as measured, and how many `pairs` they are;
        `farthest`: the largest distance of a point from what theory says of its pairs, in standard errors, over the
        points that have enough pairs for it (MIN_EXPECTED).
    """
    manifest = made.manifests.get("deduplicate")
    settings = manifest.literals if manifest else {}
    verify = settings.get("verify") or {}
    bands, rows = settings.get("bands"), settings.get("rows")
    curve, middle = [], None
    if bands and rows:
        similarities = [number / (CURVE_POINTS - 1) for number in range(CURVE_POINTS)]
        curve = [(jaccard, 1 - (1 - jaccard**rows) ** bands) for jaccard in similarities]
        middle = (1 - 0.5 ** (1 / bands)) ** (1 / rows)
    distances = [
        abs(point["observed"] - point["theory"]) / point["standard_error"]
        for point in points
        if point["pairs"] * min(point["theory"], 1 - point["theory"]) >= MIN_EXPECTED
    ]
    return {
        "bands": bands,
        "rows": rows,
        "min_jaccard": verify.get("min_jaccard") if verify.get("enabled") else None,
        "curve": curve,
        "middle": middle,
        "points": list(points),
        "pairs": sum(point["pairs"] for point in points),
        "farthest": max(distances, default=None),
    }


def _generations(found: Mapping[str, Any] | None) -> Facts | None:
    """Of a corpus that adds onto earlier ones: how many they are, and what it adds to them and takes back."""
    if not found or not found.get("earlier"):
        return None
    added = {name: found.get(name) for name in ("documents_added", "returned", "superseded")}
    return {"earlier": len(found["earlier"]), **added}

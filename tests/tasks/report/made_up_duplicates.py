"""What a made-up deduplication of 1,204 documents says of its 104 copies, in the details of its manifest."""

from __future__ import annotations

from typing import Any

from tasks.deduplicate.config import DeduplicateConfig

CRAWLS = ("CC-MAIN-2024-10", "CC-MAIN-2023-50", "unknown")


def page(name: str, crawl: str = CRAWLS[0], **fields: Any) -> dict[str, Any]:
    host = f"{name}.example.jp"
    excerpt = f"{name}の案内です。<電話番号> までご連絡ください。"
    return {"crawl": crawl, "url": f"https://{host}/<guide>", "host": host, "excerpt": excerpt} | fields


def point(similarity: float, observed: float, pairs: int = 200) -> dict[str, Any]:
    """A bin of planted pairs, all of one similarity."""
    config = DeduplicateConfig()
    theory = 1 - (1 - similarity**config.rows) ** config.bands
    error = (theory * (1 - theory) / pairs) ** 0.5
    bounds = {"low": similarity - 0.02, "high": similarity + 0.02}
    shares = {"theory": theory, "observed": observed, "standard_error": error}
    return bounds | {"pairs": pairs, "mean_jaccard": similarity} | shares


DUPLICATES: dict[str, Any] = {
    "scheme": "made up",
    "cluster_sizes": {"1": 1_048, "2": 40, "3": 9, "7": 2, "22": 1},
    "largest_clusters": [
        {
            "size": 22,
            "survivor": {"id": "ab" * 16, **page("tsubame")},
            "members": [
                page("suzume", rule="exact_duplicate", value=None),
                page("hiwa", CRAWLS[1], rule="near_duplicate", value=0.9142857),
            ],
        },
        {
            "size": 7,
            "survivor": {"id": "cd" * 16, **dict.fromkeys(("url", "host", "excerpt")), "crawl": "unknown"},
            "members": [],
        },
    ],
    "hosts": [
        {
            "host": "hiwa.example.jp",
            "documents": 90,
            "dropped": 60,
            "share": 2 / 3,
            "same_host": 45,
            "other_host": 15,
        },
        {"host": None, "documents": 40, "dropped": 10, "share": 0.25, "same_host": 10, "other_host": 0},
    ],
    "host_pairs": [{"host": "suzume.example.jp", "survivor_host": "tsubame.example.jp", "documents": 13}],
    "crawl_pairs": [
        {"dropped_crawl": CRAWLS[1], "survivor_crawl": CRAWLS[0], "documents": 64},
        {"dropped_crawl": CRAWLS[0], "survivor_crawl": CRAWLS[0], "documents": 30},
        {"dropped_crawl": CRAWLS[2], "survivor_crawl": CRAWLS[0], "documents": 10},
    ],
    "s_curve": [point(0.75, 0.11), point(0.82, 0.6), point(0.91, 0.995), point(0.98, 1.0)],
}

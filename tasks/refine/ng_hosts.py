"""Hosts whose pages use NG words: a list for `refine.hosts.files`, derived from what curation measured.

The Swallow Corpus paper blocks hosts of which more than 0.005 of the pages hold NG expressions. Here a page does if the
share of its Japanese letters in NG words is what `quality.max_ng_word_ratio` drops a page for, and all pages count that
reached the quality rules, whether kept or not (`metrics/<shard>.parquet` of the curate artifact: `url`,
`ng_word_fraction`). A host needs some such pages before its share says anything.

    found = find_ng_hosts(uris, page_ratio=0.05)
    text = to_list(found, "demo")
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import pyarrow.compute as pc

from storage.documents import read_documents
from storage.tombstones import normalised_host

MIN_SHARE = 0.005  # of a host's pages; Swallow Corpus paper
MIN_PAGES = 2  # one page of NG words tells of a page, not of a host; Hibari


@dataclass(frozen=True)
class NgHost:
    """A host, its pages that use NG words, and all its pages."""

    host: str
    ng_pages: int
    pages: int


def find_ng_hosts(
    metrics: Iterable[str], page_ratio: float, min_share: float = MIN_SHARE, min_pages: int = MIN_PAGES
) -> list[NgHost]:
    """Hosts with more than `min_share` of their pages, and at least `min_pages`, using NG words; by name.

    Args:
        metrics: URIs of files with a row for every measured page.
        page_ratio: `ng_word_fraction` from which on a page uses NG words.

    Raises:
        FileNotFoundError, ValueError: a file is missing, or has no `ng_word_fraction`.
    """
    pages: Counter[str] = Counter()
    ng_pages: Counter[str] = Counter()
    for uri in metrics:
        for batch in read_documents(uri, ["url", "ng_word_fraction"]):
            marks = pc.greater_equal(batch.column("ng_word_fraction"), page_ratio)
            pages.update(_hosts(batch.column("url").to_pylist()))
            ng_pages.update(_hosts(batch.filter(marks).column("url").to_pylist()))
    return [
        NgHost(host, count, pages[host])
        for host, count in sorted(ng_pages.items())
        if count >= min_pages and count > min_share * pages[host]
    ]


def to_list(found: Sequence[NgHost], run: str) -> str:
    """The file: a host a line, with its pages as a comment."""
    head = f"# Hosts of run {run} whose pages use NG words: those pages of all its pages that curation measured.\n"
    return head + "".join(f"{one.host}  # {one.ng_pages} of {one.pages}\n" for one in found)


def _hosts(urls: Iterable[str | None]) -> Iterable[str]:
    for url in urls:
        try:
            host = urlsplit(url).hostname if url else None
        except ValueError:  # such as a broken IPv6 address
            continue
        if host and (name := normalised_host(host)):
            yield name

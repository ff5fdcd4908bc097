"""Which WARC files a run reads: paths, globs, URIs and crawls of Common Crawl, in the order given.

warcs = split_warcs(list_warcs(config.sources, config.commoncrawl), config)
for warc in warcs:
    print(warc.key, warc.uri)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from storage.uri import expand_glob, is_local, size
from tasks.curate.commoncrawl import crawl_base, list_crawl
from tasks.curate.config import CRAWL, CRAWL_SOURCE, CommonCrawlConfig, CurateConfig


@dataclass(frozen=True, slots=True)
class WarcSource:
    """A WARC file, or what a shard is to read of it.

    Attributes:
        identity: crawl/name for Common Crawl's own files, which never change, else None.
        number: its place in the crawl's list of files, for Common Crawl's own.
        part: (i, n): the records that start in the i-th of n equal parts of its bytes.
        records: URI of a Parquet file that says which of its records are wanted (`index.py`); None: all.
    """

    uri: str
    name: str
    crawl: str
    identity: str | None = None
    number: int | None = None
    part: tuple[int, int] = (0, 1)
    records: str | None = None

    @property
    def key(self) -> str:
        """The name as a shard key: without `.warc.gz`, safe in a file name, with its part where there are several."""
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", re.sub(r"(\.warc)?\.gz$", "", self.name)).lstrip(".")
        index, number = self.part
        return stem if number == 1 else f"{stem}.{index:03}"


def list_warcs(sources: Sequence[str], commoncrawl: CommonCrawlConfig | None = None) -> list[WarcSource]:
    """The WARC files that `curate.sources` names, in the order given; what a glob matches is sorted.

    A crawl is looked up in its `warc.paths.gz`, one small file.

    Raises:
        FileNotFoundError: a source that matches nothing.
        ValueError: a malformed source, a folder, or two files of the same name (names identify documents).
    """
    warcs = [warc for source in sources for warc in _expand(source, commoncrawl or CommonCrawlConfig())]
    seen: dict[str, str] = {}
    for warc in warcs:
        if warc.name in seen:
            raise ValueError(
                f"curate.sources: {seen[warc.name]} and {warc.uri} are both named {warc.name}; documents are "
                "identified by file name and offset, so rename one or leave it out"
            )
        seen[warc.name] = warc.uri
    return warcs


def split_warcs(warcs: Iterable[WarcSource], config: CurateConfig) -> list[WarcSource]:
    """One source per shard: WARC files in parts where they are large, or to be fetched in parts.

    A file on this machine is split by its size. To ask for the sizes of 90,000 others takes 90,000 requests, so they
    are split into a number of parts, and whoever fetches a part asks for the size.
    """
    sources = []
    for warc in warcs:
        if is_local(warc.uri):
            number = max(1, -(-(size(warc.uri) or 0) // (config.shard_mib << 20)))
        else:
            number = config.commoncrawl.parts_per_warc
        if warc.number is not None and config.commoncrawl.mode == "index":
            number = 1
        sources += [replace(warc, part=(index, number)) for index in range(number)]
    return sources


def _expand(source: str, commoncrawl: CommonCrawlConfig) -> list[WarcSource]:
    if source.startswith("commoncrawl:"):
        return _expand_crawl(source, commoncrawl)
    if source.startswith(("http://", "https://")) and not any(character in source for character in "*?["):
        return [_source(source)]  # whether it is there is seen when it is fetched
    try:
        uris = expand_glob(source)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"curate.sources: nothing found at {source}") from error
    if os.path.isdir(uris[0]):
        raise ValueError(f"curate.sources: {source} is a folder; name its files: {source.rstrip('/')}/*.warc.gz")
    return [_source(uri) for uri in uris]


def _source(uri: str) -> WarcSource:
    crawl = CRAWL.search(uri)
    return WarcSource(uri, uri.rsplit("/", 1)[-1], crawl.group() if crawl else "unknown")


def _expand_crawl(source: str, commoncrawl: CommonCrawlConfig) -> list[WarcSource]:
    if not (match := CRAWL_SOURCE.fullmatch(source)):
        raise ValueError(f"curate.sources: expected commoncrawl:CC-MAIN-YYYY-WW or ...:N for N files, got {source}")
    crawl, first = match.groups()
    paths = list_crawl(crawl, "warc", commoncrawl)
    base = crawl_base(commoncrawl)
    return [
        WarcSource(f"{base}/{path}", name := path.rsplit("/", 1)[-1], crawl, f"{crawl}/{name}", number)
        for number, path in enumerate(paths[: int(first)] if first else paths)
    ]

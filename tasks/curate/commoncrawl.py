"""Where things lie at Common Crawl: the files of a crawl, of its index, and the list of all crawls.

<base>/crawl-data/CC-MAIN-2024-10/warc.paths.gz             the crawl's 90,000 WARC files, a path a line
<base>/crawl-data/CC-MAIN-2024-10/cc-index-table.paths.gz   the Parquet files of its columnar index
https://index.commoncrawl.org/collinfo.json                 all crawls; <base>/collinfo.json for another base

The base is `curate.commoncrawl.base`, else `$HIBARI_COMMONCRAWL`, else https://data.commoncrawl.org/.

    list_crawl("CC-MAIN-2024-10", "warc", config.commoncrawl)
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from typing import Any, Literal

from storage.uri import is_local, join, local_path, read_bytes
from tasks.curate.config import CRAWL, CommonCrawlConfig
from tasks.curate.remote import read_remote

PUBLIC = "https://data.commoncrawl.org"
BUCKET = "s3://commoncrawl"
CRAWL_LIST = "https://index.commoncrawl.org/collinfo.json"

LISTING_GIVE_UP_S = 60.0

_LISTINGS = {"warc": "warc.paths.gz", "index": "cc-index-table.paths.gz"}


def crawl_base(config: CommonCrawlConfig) -> str:
    """Where the crawls lie, without a slash at the end."""
    return (config.base or os.environ.get("HIBARI_COMMONCRAWL") or PUBLIC).rstrip("/")


def list_crawl(crawl: str, kind: Literal["warc", "index"], config: CommonCrawlConfig) -> list[str]:
    """Paths below the base of a crawl's WARC files, or of the index files that are about them.

    Raises:
        FileNotFoundError: no such crawl.
        ValueError: its listing cannot be read.
        ConnectionError: the server does not answer.
    """
    uri = _listing(crawl, kind, config)
    try:
        paths = gzip.decompress(_read(uri, config)).decode().split()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"curate.sources: no such crawl {crawl}: nothing at {uri}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeError) as error:
        raise ValueError(f"curate.sources: cannot read the file list {uri}: {error}") from error
    if kind == "index":
        paths = [path for path in paths if "/subset=warc/" in path]
    if not paths:
        raise ValueError(f"curate.sources: the file list {uri} names no files")
    return paths


def index_digest(crawl: str, config: CommonCrawlConfig) -> str:
    """sha256 over the names of a crawl's index files, which never change once they are there."""
    return hashlib.sha256("\n".join(list_crawl(crawl, "index", config)).encode()).hexdigest()


def list_crawls(config: CommonCrawlConfig) -> list[str]:
    """The crawls there are, oldest first; those before 2013, named otherwise, are left out.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: the list is not there, is no such list, or cannot be had.
    """
    base = crawl_base(config)
    uri = CRAWL_LIST if base in (PUBLIC, BUCKET) else join(base, "collinfo.json")
    try:
        found: Any = json.loads(_read(uri, config))
        return sorted(entry["id"] for entry in found if CRAWL.fullmatch(entry["id"]))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{uri} is no list of crawls: expected [{{'id': 'CC-MAIN-...'}}, ...]: {error}") from error


def _listing(crawl: str, kind: str, config: CommonCrawlConfig) -> str:
    return f"{crawl_base(config)}/crawl-data/{crawl}/{_LISTINGS[kind]}"


def _read(uri: str, config: CommonCrawlConfig) -> bytes:
    if is_local(uri):
        return read_bytes(str(local_path(uri)))
    # Planning reads these, with somebody looking on.
    return read_remote(uri, config.model_copy(update={"give_up_s": min(LISTING_GIVE_UP_S, config.give_up_s)}))

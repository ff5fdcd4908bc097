"""Blocked hosts: lists of domains and URLs, and patterns of hosts.

In: lists (`tasks.refine.lists`) of hosts and of URLs without their scheme, as UT1 publishes them, or derived from a
crawl (`tasks.refine.ng_hosts`). A host entry blocks the host and every subdomain; a URL entry blocks the page and what
lies below it, on that host with or without `www.`. Hosts are compared in lower case and punycode, without port and
trailing dot (`storage.tombstones`); URLs as takedowns compare them.

A list of a million entries is held as the sorted 64-bit hashes (xxh3) of its entries: 8 MB. The chance that any of
10^9 hosts is blocked by a collision with one of a million entries is 1 in 18,000.

    blocked = BlockedHosts(HostsConfig(files=("blacklists/adult/domains",)))
    blocked.match("www.example.jp", "https://www.example.jp/a")  # the entry that blocks it, or None
"""

from __future__ import annotations

import logging
import re
from array import array
from collections.abc import Iterable, Iterator
from fnmatch import translate

import numpy as np
import xxhash

from storage.tombstones import normalised_host, page_of
from tasks.refine.config import HostsConfig
from tasks.refine.lists import HOSTS, list_files, read_entries

logger = logging.getLogger(__name__)

_SCHEME = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_PORT = re.compile(r":\d+$")
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+|\[[0-9a-f:.]+\]")
_BREAK = re.compile(r"[/?]")


class BlockedHosts:
    """Says which entry or pattern blocks a page.

    Raises:
        FileNotFoundError, ValueError: a list is missing, unreadable, or holds no host at all.
    """

    def __init__(self, config: HostsConfig) -> None:
        self._patterns = [(pattern, re.compile(translate(pattern.lower()))) for pattern in config.patterns]
        entries = array("Q")
        self._has_pages = False
        for file in list_files(config.files, HOSTS):
            for entry in _entries_of(file):
                self._has_pages |= "/" in entry
                entries.append(xxhash.xxh3_64_intdigest(entry.encode()))
        self._entries = np.unique(np.frombuffer(entries, np.uint64)) if entries else np.empty(0, np.uint64)

    def match(self, host: str | None, url: str | None) -> str | None:
        """The pattern or entry that blocks a page of `host`; None where none does, or the page has no host."""
        name = normalised_host(host) if host else None
        if name is None:
            return None
        for pattern, regex in self._patterns:
            if any(regex.match(spelling) for spelling in _spellings(name)):
                return pattern
        if not len(self._entries):
            return None
        candidates = list(_domains(name))
        if self._has_pages and url:
            candidates += _pages(name, url)
        return self._first_of(candidates)

    def _first_of(self, candidates: list[str]) -> str | None:
        hashes = np.array([xxhash.xxh3_64_intdigest(candidate.encode()) for candidate in candidates], np.uint64)
        places = np.minimum(np.searchsorted(self._entries, hashes), len(self._entries) - 1)
        hits = np.flatnonzero(self._entries[places] == hashes)
        return candidates[hits[0]] if len(hits) else None


def parse_entry(text: str) -> str | None:
    """A line of a list made comparable: `host` or `host/path`; None where it is neither.

    A name without a dot is none: one stray word would block a whole top-level domain.
    """
    if _HOST.fullmatch(text):
        return text  # as nearly all entries of a large list are written
    place = _SCHEME.sub("", text, count=1)
    authority, slash, rest = place.partition("/")
    name = normalised_host(_PORT.sub("", authority.rpartition("@")[2]).removeprefix("*").lstrip("."))
    if name is None or not _HOST.fullmatch(name):
        return None
    if not slash or not rest:
        return name
    page = page_of(f"https://{name}/{rest}")
    return page.removeprefix("https://").rstrip("/") if page else None


def _entries_of(file: str) -> Iterator[str]:
    usable = unusable = 0
    for line in read_entries(file):
        entry = parse_entry(line)
        if entry is None:
            unusable += 1
            logger.debug("%s: %r is neither a host nor a URL", file, line)
            continue
        usable += 1
        yield entry
    if unusable and not usable:
        raise ValueError(f"{file}: expected a host or URL a line, found none in {unusable:,} lines")
    if unusable:
        logger.warning("%s: %s of %s lines are neither host nor URL", file, f"{unusable:,}", f"{usable + unusable:,}")


def _domains(name: str) -> Iterator[str]:
    """The host and the domains above it, but for the top-level one."""
    while "." in name or name.startswith("["):
        yield name
        name = name.partition(".")[2]


def _pages(name: str, url: str) -> Iterator[str]:
    """The page and every place above it, from the root on, on its host and on that without `www.`."""
    page = page_of(url)
    if page is None:
        return
    path = page.removeprefix("https://").partition("/")[2]
    ends = [match.start() for match in _BREAK.finditer(path)] + [len(path)]
    for host in dict.fromkeys((name, name.removeprefix("www."))):
        yield from (f"{host}/{path[:end]}" for end in ends if end)


def _spellings(name: str) -> Iterable[str]:
    """Punycode and, where it differs, the name as people write it."""
    if "xn--" not in name:
        return (name,)
    try:
        return (name, name.encode("ascii").decode("idna"))
    except UnicodeError:
        return (name,)

"""Tombstones: pages and hosts that were taken down, and must not come back with the next crawl.

A root remembers them in `takedown/tombstones.jsonl`: a line per pattern with when, why, and the sha256 of the list it
came from. Lines are only ever added. A pattern is a page, `https://example.jp/page`, or a host with all its subdomains,
`host:example.jp`. Every plan at the root reads them (`flows.plan`); curate drops what they match, binarize does so for
the other sources.

Patterns and the URLs they are held against are made comparable in the same way:

- host: lower case, punycode (IDNA), no trailing dot; user name and password are left out, and so are ports 80 and 443;
- http and https are the same page; the fragment (`#...`) is left out;
- path and query: an empty path is `/`, an empty query none; characters beyond ASCII become percent escapes of their
  UTF-8, escapes are upper case, those of letters, digits and `-._~` are undone. Case, a slash at the end of the path
  and the order of parameters make different pages.

    taken_down = Tombstones.of(["host:example.jp"])
    taken_down.matches("http://WWW.example.jp./a")  # True
    add_tombstones("runs", ["host:example.jp"], reason="request of 1 March", list_digest="...")
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from urllib.parse import quote, urlsplit

from storage.artifact import canonical_json
from storage.uri import join, read_bytes, write_bytes

FOLDER = "takedown"
LIST = "tombstones.jsonl"
HOST = "host:"
TOMBSTONES = "tombstones"  # the input of an artifact that was made under tombstones

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_PORT = re.compile(r":\d+$")
_COMMENT = re.compile(r"(^|\s)#.*")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
_ASCII = "".join(chr(code) for code in range(0x21, 0x7F))
# Domains below which anyone can have a name; a tombstone for one would take down what nobody meant.
_REGISTRIES = frozenset(f"{label}.jp" for label in ("ac", "ad", "co", "ed", "go", "gr", "lg", "ne", "or"))


@dataclass(frozen=True)
class Tombstone:
    """A line of the list: `when` in ISO 8601, `list_digest` the sha256 of the file that asked for it."""

    pattern: str
    when: str
    reason: str
    list_digest: str


@dataclass(frozen=True)
class Tombstones:
    """What is taken down, ready to be held against URLs; small enough to travel to workers."""

    hosts: frozenset[str] = frozenset()
    pages: frozenset[str] = frozenset()

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Tombstones:
        """From patterns as `parse_pattern` returns them."""
        hosts, pages = set(), set()
        for pattern in patterns:
            if pattern.startswith(HOST):
                hosts.add(pattern.removeprefix(HOST))
            else:
                pages.add(pattern)
        return cls(frozenset(hosts), frozenset(pages))

    def __bool__(self) -> bool:
        return bool(self.hosts or self.pages)

    @property
    def digest(self) -> str:
        """Of the set of patterns, however it came about; empty when there is none."""
        patterns = sorted([HOST + host for host in self.hosts] + list(self.pages))
        return hashlib.sha256(canonical_json(patterns)).hexdigest() if patterns else ""

    def matches(self, url: str | None) -> bool:
        return next(self._matching(url), None) is not None

    def patterns_for(self, url: str | None) -> list[str]:
        """Every pattern that takes this URL down: its page, then hosts from the longest on."""
        return list(self._matching(url))

    def _matching(self, url: str | None) -> Iterator[str]:
        page = page_of(url) if url else None
        if page is None:
            return
        if page in self.pages:
            yield page
        if not self.hosts:
            return
        host = _host_of(page)
        while host:
            if host in self.hosts:
                yield HOST + host
            host = host.partition(".")[2]


def page_of(url: str) -> str | None:
    """The URL made comparable (see the module), or None where it names no page on the web."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:  # a broken IPv6 address, or a port that is no number
        return None
    name = normalised_host(host) if host else None
    if parts.scheme not in ("http", "https") or name is None:
        return None
    if port is not None and port not in (80, 443):
        name = f"{name}:{port}"
    query = f"?{_escaped(parts.query)}" if parts.query else ""
    return f"https://{name}{_escaped(parts.path) or '/'}{query}"


@lru_cache(maxsize=1 << 16)
def normalised_host(host: str) -> str | None:
    """Lower case, punycode, without a trailing dot; an IPv6 address in brackets; None where it is no host."""
    if ":" in host:
        try:
            return f"[{ipaddress.IPv6Address(host.strip('[]'))}]"
        except ValueError:
            return None
    try:
        name = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return None
    return name.lower().rstrip(".") or None


def _host_of(page: str) -> str:
    return _PORT.sub("", page.removeprefix("https://").split("/", 1)[0])


def _is_host(host: str | None) -> bool:
    return host is not None and (host.startswith("[") or all(map(_LABEL.fullmatch, host.split("."))))


def _escaped(text: str) -> str:
    def undo(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if character in _UNRESERVED else match[0].upper()

    return _ESCAPE.sub(undo, quote(text, safe=_ASCII))


def parse_pattern(text: str) -> str:
    """What one line of a takedown list asks for: `https://host/page` or `host:name`.

    Raises:
        ValueError: neither a URL nor a host, or a host that would take down what nobody meant.
    """
    if "://" in text:
        page = page_of(text)
        if page is None or not _is_host(_host_of(page)):
            raise ValueError(f"{text!r} is no http or https URL with a valid host")
        return page
    host = normalised_host(text.removeprefix(HOST).strip())
    if host is None or not _is_host(host):
        raise ValueError(f"{text!r}: expected https://host/page for a page, or host:name for a host and its subdomains")
    if not host.startswith("[") and "." not in host:
        raise ValueError(f"{text!r}: a whole top-level domain cannot be taken down; name a host below it")
    if host in _REGISTRIES:
        raise ValueError(f"{text!r} is a registry's domain, not a site; name the hosts below it")
    return HOST + host


def parse_list(text: str) -> tuple[list[str], list[str]]:
    """A takedown list: a URL or host a line; `#` at the start of a line or after a space begins a comment.

    Returns:
        The patterns, each once, in order; and what is wrong, one `line N: ...` each.
    """
    patterns: dict[str, None] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        entry = _COMMENT.sub("", line).strip()
        if not entry:
            continue
        try:
            patterns[parse_pattern(entry)] = None
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    return list(patterns), problems


def list_uri(root: str) -> str:
    """Where a root's tombstones lie."""
    return join(root, FOLDER, LIST)


def read_tombstones(root: str) -> list[Tombstone]:
    """All tombstones of a root, oldest first; none where nothing was ever taken down.

    Raises:
        ValueError: a line that is no tombstone; it is not skipped, for it may be what must not return.
    """
    uri = list_uri(root)
    try:
        lines = read_bytes(uri).decode().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            tombstone = Tombstone(**json.loads(line))
            if parse_pattern(tombstone.pattern) != tombstone.pattern:
                raise ValueError(f"pattern {tombstone.pattern!r} is not in its comparable form")
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{uri}, line {number}: not a tombstone ({error}); repair the line") from error
        found.append(tombstone)
    return found


def add_tombstones(root: str, patterns: Iterable[str], *, reason: str, list_digest: str) -> list[Tombstone]:
    """Add what is not there yet to a root's list; what was added.

    The list is rewritten as a whole, so that it is never seen half. Whoever calls holds off others (`storage.lease`).
    """
    there = read_tombstones(root)
    known = {tombstone.pattern for tombstone in there}
    when = datetime.now(UTC).isoformat(timespec="seconds")
    added = [
        Tombstone(pattern, when, reason, list_digest) for pattern in dict.fromkeys(patterns) if pattern not in known
    ]
    if added:
        lines = (json.dumps(asdict(tombstone), ensure_ascii=False) for tombstone in [*there, *added])
        write_bytes(list_uri(root), "".join(f"{line}\n" for line in lines).encode())
    return added


def tombstones_digest(root: str) -> str:
    """What enters the fingerprints at this root; empty where nothing was taken down."""
    return Tombstones.of(tombstone.pattern for tombstone in read_tombstones(root)).digest


def history(tombstones: Iterable[Tombstone]) -> dict[str, Tombstones]:
    """Digest -> the tombstones there were, for every state the list has been in, oldest first; the first is empty."""
    patterns: list[str] = []
    states = {"": Tombstones()}
    for _, added in groupby(tombstones, key=lambda tombstone: (tombstone.when, tombstone.list_digest)):
        patterns += [tombstone.pattern for tombstone in added]
        state = Tombstones.of(patterns)
        states[state.digest] = state
    return states


def tombstones_of(artifact: str, digest: str | None) -> Tombstones:
    """The tombstones that an artifact is to be made under, read from its root.

    Args:
        digest: what the artifact's plan says; None for an artifact without tombstones.

    Raises:
        ValueError: the list has changed since the plan was made.
    """
    if digest is None:
        return Tombstones()
    root = artifact.rsplit("/", 2)[0]
    states = history(read_tombstones(root))
    if digest not in states:
        raise ValueError(f"{list_uri(root)} is not what it was when this run was planned: was it edited? Run again")
    return states[digest]

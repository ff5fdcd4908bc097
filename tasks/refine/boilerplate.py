"""Boilerplate: lines that many documents of one host have.

A line is boilerplate on a host where enough of its documents have it (`needed`). Lines are compared stripped, with runs
of white space as one space; a line without a letter is never counted. A long boilerplate line is cut wherever it
stands. A short one may as well be a heading that pages share ("Examples"): it is cut only next to another
boilerplate line, as in a menu, or where nothing follows it. The line-level deduplication of crawls (CCNet, Wenzek et
al. 2020) counts over everything; here a host's own pages count, so that a phrase that many sites use stays.

Counting is over all survivors of deduplication, in steps that workers do alone (`tasks.deduplicate.host_lines`):
`count_lines` of a shard, `add_up` over shards and `choose` for one range of keys at a time, and `Boilerplate.cut` as
documents are written. A line's key is the 64-bit hash (xxh3) of host and text, its last bit saying that it is long.

Memory: a shard's counting takes about 140 bytes x the lines of its documents, adding up about 110 bytes x the pairs of
host and line in one range, cutting 8 bytes x boilerplate lines of the whole corpus, in each worker.

    boilerplate = Boilerplate(keys, config)
    boilerplate.cut("example.jp", text)  # (text, lines cut, characters cut)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import xxhash

from tasks.refine.config import BoilerplateConfig

COUNT = np.dtype([("key", "<u8"), ("host", "<u8"), ("documents", "<i8")])


def host_key(host: str | None) -> int:
    """A host as a number from 1 to 2^64 - 1; 0 where there is none."""
    return max(1, xxhash.xxh3_64_intdigest(host.encode())) if host else 0


def line_keys(host: str, lines: Sequence[str], min_letters: int) -> np.ndarray:
    """uint64 (lines,): what each line is known by on this host, odd for long ones; 0 for a line without a letter."""
    keys = np.zeros(len(lines), np.uint64)
    for number, line in enumerate(lines):
        words = " ".join(line.split())
        if any(map(str.isalpha, words)):
            key = xxhash.xxh3_64_intdigest(f"{host}\0{words}".encode())
            keys[number] = key | 1 if _has_letters(words, min_letters) else max(2, key & ~1)
    return keys


def _has_letters(words: str, number: int) -> bool:
    """Whether there are so many letters; mostly the beginning tells."""
    return len(words) >= number and (
        sum(map(str.isalpha, words[: 2 * number])) >= number or sum(map(str.isalpha, words)) >= number
    )


def needed(host_documents: np.ndarray, is_long: np.ndarray, config: BoilerplateConfig) -> np.ndarray:
    """In how many of its host's documents a line must be; int64, of the shape of both arrays."""
    share = np.ceil(config.min_share * host_documents - 1e-9).astype(np.int64)
    share = np.where(is_long, np.minimum(share, config.enough_documents), share)
    return np.maximum(share, config.min_documents)


def count_lines(documents: Iterable[tuple[str, str]], min_letters: int) -> np.ndarray:
    """COUNT (distinct lines of hosts,), sorted by key: how many of these (host, text) documents have each line."""
    keys, hosts = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for host, text in documents:
        distinct = np.unique(line_keys(host, text.split("\n"), min_letters))
        distinct = distinct[distinct > 0]
        keys.append(distinct)
        hosts.append(np.full(len(distinct), host_key(host), np.uint64))
    counts = np.empty(sum(map(len, keys)), COUNT)
    counts["key"], counts["host"], counts["documents"] = np.concatenate(keys), np.concatenate(hosts), 1
    return add_up(counts)


def add_up(counts: np.ndarray) -> np.ndarray:
    """The same counts sorted by key, each key once."""
    counts = counts[np.argsort(counts["key"], kind="stable")]
    starts = np.flatnonzero(np.diff(counts["key"], prepend=np.uint64(0)) > 0)
    if not len(starts):
        return counts
    summed = counts[starts].copy()
    summed["documents"] = np.add.reduceat(counts["documents"], starts)
    return summed


def choose(counts: np.ndarray, hosts: np.ndarray, host_documents: np.ndarray, config: BoilerplateConfig) -> np.ndarray:
    """Which of the summed counts are boilerplate: bool (counts,).

    Args:
        hosts: sorted host keys; every host of `counts` is among them.
        host_documents: documents of each.
    """
    of_host = host_documents[np.searchsorted(hosts, counts["host"])]
    return counts["documents"] >= needed(of_host, _is_long(counts["key"]), config)


class Boilerplate:
    """Cuts boilerplate; `keys` are the sorted keys of all boilerplate lines."""

    def __init__(self, keys: np.ndarray, config: BoilerplateConfig) -> None:
        self._keys = keys
        self._min_letters = config.min_letters

    @property
    def is_empty(self) -> bool:
        return not len(self._keys)

    def cut(self, host: str | None, text: str) -> tuple[str, int, int]:
        """The text without boilerplate lines, how many were cut, and the characters this took."""
        if host is None or self.is_empty:
            return text, 0, 0
        lines = text.split("\n")
        keys = line_keys(host, lines, self._min_letters)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        cut = _to_cut(keys, self._keys[places] == keys)
        if not cut:
            return text, 0, 0
        left = "\n".join(line for number, line in enumerate(lines) if number not in cut)
        return left, len(cut), len(text) - len(left)


def _to_cut(keys: np.ndarray, repeated: np.ndarray) -> set[int]:
    """Numbers of the lines to cut; what has no letter goes with the boilerplate on both of its sides."""
    lettered = np.flatnonzero(keys)
    chosen = repeated[lettered]
    before, after = np.append(False, chosen[:-1]), np.append(chosen[1:], True)
    lettered = lettered[chosen & (_is_long(keys[lettered]) | before | after)]
    cut = set(lettered.tolist())
    for first, last in pairwise(lettered.tolist()):
        if not keys[first + 1 : last].any():
            cut.update(range(first + 1, last))
    return cut


def _is_long(keys: np.ndarray) -> np.ndarray:
    return (keys & np.uint64(1)).astype(bool)

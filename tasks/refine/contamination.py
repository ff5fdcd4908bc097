"""Decontamination: which documents contain items of the benchmarks that a model will be judged by.

In: the texts of the benchmarks the run file names, and a document. Out: a `Hit` for every item that it contains.

Both sides are reduced to their letters and digits (`letters.py`), so spaces, line breaks, punctuation and the width of
characters make no difference, and compared by their n-grams. An item of at most `full_match_characters` letters must be
in the document as a whole, because a piece of it is a common phrase. Of a longer one `min_overlap` of its distinct
n-grams must be found within a stretch of the document twice as long as the item. Items shorter than one n-gram cannot
be told from common words; they are counted as skipped. Three letters of ASCII weigh as one Japanese character, since 10
of them are but two words of English. The idea is GPT-3's (Brown et al., 2020, appendix C); n-grams are of
characters because Japanese words have no borders.

The index is a table of n-gram hashes (`ngrams.py`). Texts are not kept.

    contamination = Contamination(config)
    hits = contamination.find(text)          # [] for nearly every document
    contamination.tally([hits])["niilc"]     # {"items": 844, "skipped": 156, "documents": 1, "found": {...}}
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any

import numpy as np

from storage.artifact import input_digests
from storage.uri import expand_glob
from tasks.refine.benchmarks import Item, read_items
from tasks.refine.contamination_config import DecontaminationConfig
from tasks.refine.letters import letters, ngram_hashes
from tasks.refine.ngrams import NO_HASHES, NONE, NgramTable, distinct_ngrams, joined_letters, letter_weights, ngrams

logger = logging.getLogger(__name__)

NUM_EXAMPLES = 20
_ITEMS_PER_BATCH = 8192
_WINDOW = 2  # an item's n-grams must be found within this many times its length


@dataclass(frozen=True, slots=True)
class ItemName:
    """Which item of which benchmark; `item` is its id there."""

    benchmark: str
    item: str


@dataclass(frozen=True, slots=True)
class Hit(ItemName):
    """An item that a document contains.

    Attributes:
        overlap: share of the item's n-grams that were found; `needed` was enough.
        span: the characters of the document from the first of them to the last.
    """

    overlap: float
    needed: float
    span: tuple[int, int]


class Contamination:
    """Finds benchmark items in documents; all of a process share one index.

    Raises:
        FileNotFoundError, ValueError: a benchmark's file is missing or not readable.
    """

    def __init__(self, config: DecontaminationConfig) -> None:
        files = [uri for pattern in config.files for uri in expand_glob(pattern)]
        self._index = _index(config, tuple(input_digests(files)))

    def find(self, text: str) -> list[Hit]:
        """The items that a document contains, the largest overlap first."""
        return self._index.find(text)

    def tally(self, items_per_document: Iterable[Sequence[ItemName]]) -> dict[str, Any]:
        """What was found in some documents, by benchmark: `documents`, and for each item found in how many."""
        documents: Counter[str] = Counter()
        found: dict[str, Counter[str]] = {name: Counter() for name in self._index.benchmarks}
        for items in items_per_document:
            documents.update({name.benchmark for name in items})
            for benchmark, item in {(name.benchmark, name.item) for name in items}:
                found[benchmark][item] += 1
        return {
            name: {**sizes, "documents": documents[name], "found": dict(sorted(found[name].items()))}
            for name, sizes in self._index.benchmarks.items()
        }


def merge_tallies(tallies: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The table of the report from the tallies of all shards.

    Returns:
        for each benchmark: `items` looked for, `skipped` (too short), `items_found`, `documents` that contain one,
        and `examples`: [id, documents] of the items found most often. No item's text.
    """
    table: dict[str, Any] = {}
    for name in dict.fromkeys(name for tally in tallies for name in tally):
        rows = [tally[name] for tally in tallies if name in tally]
        found: Counter[str] = Counter()
        for row in rows:
            found.update(row["found"])
        table[name] = {
            "items": rows[0]["items"],
            "skipped": rows[0]["skipped"],
            "items_found": len(found),
            "documents": sum(row["documents"] for row in rows),
            "examples": [list(pair) for pair in sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))][
                :NUM_EXAMPLES
            ],
        }
    return table


class _Index:
    """The n-grams of all items. `benchmarks`: name -> items looked for, and skipped."""

    def __init__(self, config: DecontaminationConfig) -> None:
        self.config = config
        self.benchmarks: dict[str, dict[str, int]] = {}
        self._names: list[tuple[str, str]] = []  # (benchmark, id) of each item
        batches: list[_Batch] = []
        for benchmark in config.benchmarks:
            seen: set[bytes] = set()
            num_skipped = 0
            items = read_items(benchmark)
            while some := list(islice(items, _ITEMS_PER_BATCH)):
                batch = _Batch(some, config.ngram, benchmark.min_letters, seen)
                num_skipped += batch.num_skipped
                self._names += [(benchmark.name, id) for id in batch.ids]
                batches.append(batch)
            self.benchmarks[benchmark.name] = {"items": len(seen), "skipped": num_skipped}
            logger.info("benchmark %s: %d items, %d too short", benchmark.name, len(seen), num_skipped)
        self._num_ngrams = np.concatenate([NONE, *(batch.num_ngrams for batch in batches)])
        self._set_thresholds(
            np.concatenate([NONE, *(batch.lengths for batch in batches)]),
            np.concatenate([NONE, *(batch.weights for batch in batches)]),
        )
        owners = np.repeat(np.arange(len(self._num_ngrams), dtype=np.int32), self._num_ngrams)
        self._table = NgramTable.make(np.concatenate([NO_HASHES, *(batch.hashes for batch in batches)]), owners)

    def _set_thresholds(self, lengths: np.ndarray, weights: np.ndarray) -> None:
        """What share of an item must be found, and within how many n-grams of a document."""
        whole = weights <= self.config.full_match_characters
        self._needed = np.where(whole, 1.0, self.config.min_overlap)
        self._least = np.ceil(self._needed * self._num_ngrams - 1e-9).astype(np.int64)
        self._window = np.where(whole, lengths - self.config.ngram + 1, _WINDOW * lengths)

    def find(self, text: str) -> list[Hit]:
        """See `Contamination.find`."""
        found = letters(text)
        hashes = ngram_hashes(found.points, self.config.ngram)
        known, first = self._table.known(hashes)
        if not len(known):
            return []
        which, owners = self._table.owners_of(first)
        places = known[which]  # of n-grams in the document, once for each item that has them
        order = np.argsort(owners, kind="stable")  # by item, and by place within it
        items, starts, num_places = np.unique(owners[order], return_index=True, return_counts=True)
        hits = []
        enough = num_places >= self._least[items]
        for item, start, count in zip(
            items[enough].tolist(), starts[enough].tolist(), num_places[enough].tolist(), strict=True
        ):
            mine = places[order[start : start + count]]
            num_found, opening, last = _densest(mine, hashes[mine], int(self._window[item]))
            if num_found >= self._least[item]:
                benchmark, name = self._names[item]
                overlap = num_found / int(self._num_ngrams[item])
                end = int(found.positions[last + self.config.ngram - 1]) + 1
                span = (int(found.positions[opening]), end)
                hits.append(Hit(benchmark, name, overlap, float(self._needed[item]), span))
        return sorted(hits, key=lambda hit: (-hit.overlap, hit.benchmark, hit.item))


class _Batch:
    """The distinct n-grams of some items, those left out that are too short or were `seen` before.

    Attributes:
        ids, lengths (letters), weights (Japanese characters: `letter_weights`), num_ngrams: of each item that is left.
        hashes: uint64, the items' n-grams one item after the other.
    """

    def __init__(self, items: Sequence[Item], n: int, min_letters: int, seen: set[bytes]) -> None:
        texts = [item.text for item in items]
        points, bounds = joined_letters(texts)
        weights = letter_weights(points, bounds)
        self.num_skipped = 0
        kept: list[int] = []
        for number, (first, last) in enumerate(pairwise(bounds.tolist())):
            if weights[number] < max(n, min_letters):
                self.num_skipped += 1
            elif (key := points[first:last].tobytes()) not in seen:
                seen.add(key)
                kept.append(number)
        self.ids = [items[number].id for number in kept]
        self.lengths = np.diff(bounds)[kept]
        self.weights = weights[kept]
        rank = np.full(len(items), -1)
        rank[kept] = np.arange(len(kept))
        hashes, owners = ngrams(points, bounds, n)
        stays = rank[owners] >= 0
        self.hashes, owners = distinct_ngrams(hashes[stays], rank[owners[stays]])
        self.num_ngrams = np.bincount(owners, minlength=len(kept))


def _densest(places: np.ndarray, hashes: np.ndarray, window: int) -> tuple[int, int, int]:
    """The most distinct hashes within `window` places: how many, the first place and the last.

    Args:
        places: ascending (found,); `hashes`: uint64 (found,), the n-grams there.
    """
    within: Counter[int] = Counter()
    best = (0, 0, 0)
    left = 0
    found = list(zip(places.tolist(), hashes.tolist(), strict=True))
    for place, ngram in found:
        within[ngram] += 1
        while found[left][0] <= place - window:
            gone = found[left][1]
            within[gone] -= 1
            if not within[gone]:
                del within[gone]
            left += 1
        if len(within) > best[0]:
            best = (len(within), found[left][0], place)
    return best


@lru_cache(maxsize=1)
def _index(config: DecontaminationConfig, digests: tuple[str, ...]) -> _Index:
    """One index a process, built anew where a benchmark's file has changed (`digests`)."""
    return _Index(config)

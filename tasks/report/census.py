"""The corpus card: hosts, dates, charsets, lengths, language scores and crawls of the deduplicated corpus.

In: the shards of the corpus, of which only short columns are read, never the text. Out: JSON-like facts. One
pass, a few shards at a time on threads (pyarrow decodes outside Python's lock); memory does not grow with the number of
documents: dates, lengths and scores are counted, not listed, and hosts are kept in at most `2 * MAX_HOSTS` counters.
Where a corpus has more, the rarest give way by the rule of Misra and Gries ("Finding repeated elements", 1982): a count
is then too low by at most `hosts.undercount`, which is at most documents / MAX_HOSTS.

    card = corpus_card(census_of(corpus_shards("runs/deduplicate/x-0123")))
    card["hosts"]["top"][0]["name"], card["lengths"]["percentiles"]["p50"]
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.corpus import CorpusShard, read_corpus

COLUMNS = ("id", "host", "crawl", "warc", "fetched_at", "charset", "language_score", "num_characters")
MAX_HOSTS = 200_000
NUM_TOP = 15
SCORE_BINS = 20
PERCENTILES = (1, 10, 25, 50, 75, 90, 99)
UNKNOWN = "unknown"
_EPOCH = date(1970, 1, 1)
_DAY_MS = 86_400_000
# Six to a decade, near enough to equal steps of the logarithm.
_LENGTH_EDGES = [round(digit * 10.0**power) for power in range(9) for digit in (1, 1.5, 2, 3, 5, 7)]
_THREADS = 4
_SHARDS_AT_ONCE = 64


@dataclass
class Census:
    """Counts over documents; `places` says in which file the documents lie that were asked for.

    Attributes:
        days: days since 1970 in UTC.
        crawls: WARC files, documents and characters of each crawl.
        undercount: by how much a host's count may be too low.
    """

    documents: int = 0
    characters: int = 0
    hosts: Counter[str] = field(default_factory=Counter)
    undercount: int = 0
    days: Counter[int] = field(default_factory=Counter)
    charsets: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    scores: Counter[int] = field(default_factory=Counter)
    crawls: dict[str, Counter[str]] = field(default_factory=dict)
    places: dict[bytes, str] = field(default_factory=dict)

    def add(self, other: Census) -> None:
        """Take in the counts of other documents."""
        self.documents += other.documents
        self.characters += other.characters
        for name in ("hosts", "days", "charsets", "lengths", "scores"):
            getattr(self, name).update(getattr(other, name))
        for crawl, counts in other.crawls.items():
            self.crawls.setdefault(crawl, Counter()).update(counts)
        self.places |= other.places
        if len(self.hosts) > 2 * MAX_HOSTS:
            self._forget_rare_hosts()

    def _forget_rare_hosts(self) -> None:
        ranked = self.hosts.most_common(MAX_HOSTS + 1)
        least = ranked[-1][1]
        self.hosts = Counter({name: count - least for name, count in ranked if count > least})
        self.undercount += least


def census_of(shards: Iterable[CorpusShard], wanted: Collection[bytes] = ()) -> Census:
    """Count the documents of all shards.

    Args:
        shards: as `storage.corpus.corpus_shards` orders them.
        wanted: ids of documents whose file is to be found in the same pass.
    """
    total, ids = Census(), pa.array(sorted(wanted), pa.binary(16))
    remaining = (list(files) for _, files in groupby(shards, attrgetter("key")))
    with ThreadPoolExecutor(_THREADS) as pool:
        while some := list(islice(remaining, _SHARDS_AT_ONCE)):
            for part in pool.map(partial(_count_shard, wanted=ids), some):
                total.add(part)
    return total


def _count_shard(files: Sequence[CorpusShard], wanted: pa.Array) -> Census:
    """Count a shard's documents in all generations: a WARC file is one shard, so no other has documents of it."""
    part = Census()
    warcs: set[tuple[str | None, str | None]] = set()
    for file in files:
        for batch in read_corpus(file, COLUMNS):
            _count_batch(part, batch, warcs)
            if len(wanted):
                here = batch.column("id").filter(pc.is_in(batch.column("id"), value_set=wanted))
                part.places.update(dict.fromkeys(here.to_pylist(), file.uri))
    return part


def _count_batch(part: Census, batch: pa.RecordBatch, warcs: set[tuple[str | None, str | None]]) -> None:
    """Add a batch's documents to a shard's counts, and its WARC files to those that are counted already."""
    lengths = batch.column("num_characters")
    part.documents += batch.num_rows
    part.characters += pc.sum(lengths).as_py() or 0
    part.lengths.update(_counted(lengths))
    part.hosts.update(_named(batch.column("host")))
    part.charsets.update(_named(batch.column("charset")))
    moments = batch.column("fetched_at").drop_null().cast(pa.int64())
    part.days.update(_counted(pc.divide(moments, _DAY_MS)))
    scores = batch.column("language_score").drop_null().to_numpy()
    bins = np.clip((scores * SCORE_BINS).astype(np.int64), 0, SCORE_BINS - 1)
    part.scores.update(_counted(pa.array(bins)))
    by_warc = pa.table(batch.select(["crawl", "warc", "num_characters"])).group_by(["crawl", "warc"])
    for row in by_warc.aggregate([("num_characters", "sum"), ([], "count_all")]).to_pylist():
        counts = part.crawls.setdefault(row["crawl"] or UNKNOWN, Counter())
        new = (row["crawl"], row["warc"]) not in warcs
        warcs.add((row["crawl"], row["warc"]))
        counts.update(warcs=int(new), documents=row["count_all"], characters=row["num_characters_sum"])


def _counted(values: pa.Array) -> dict[Any, int]:
    counted = values.value_counts()
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _named(values: pa.Array) -> dict[str, int]:
    counts = _counted(values)
    missing = counts.pop(None, 0) + counts.pop("", 0)
    return {**counts, UNKNOWN: counts.get(UNKNOWN, 0) + missing} if missing else counts


def corpus_card(census: Census) -> dict[str, Any]:
    """The card's figures; lists are empty and values None where there are no documents."""
    return {
        "documents": census.documents or None,
        "characters": census.characters or None,
        "hosts": {
            "distinct": len(census.hosts) if census.hosts and not census.undercount else None,
            "undercount": census.undercount,
            "top": _ranked(census.hosts, census.documents)[:NUM_TOP],
        },
        "dates": _dates(census.days),
        "charsets": _ranked(census.charsets, census.documents),
        "lengths": {
            "percentiles": percentiles(census.lengths),
            "mean": census.characters / census.documents if census.documents else None,
            "bars": _length_bars(census.lengths),
        },
        "language_scores": [
            {"from": bin_ / SCORE_BINS, "count": census.scores[bin_]}
            for bin_ in range(min(census.scores, default=SCORE_BINS), SCORE_BINS)
        ],
        "crawls": [
            {"name": name, **{key: counts[key] for key in ("warcs", "documents", "characters")}}
            for name, counts in sorted(census.crawls.items())
        ],
    }


def percentiles(values: Counter[int]) -> dict[str, int]:
    """Smallest, largest, and for each of `PERCENTILES` the least value that so many percent do not exceed."""
    ordered = sorted(values)
    if not ordered:
        return {}
    reached = np.cumsum([values[value] for value in ordered])
    at = {p: ordered[int(np.searchsorted(reached, p * reached[-1] / 100))] for p in PERCENTILES}
    return {"min": ordered[0], **{f"p{p}": value for p, value in at.items()}, "max": ordered[-1]}


def _ranked(counts: Counter[str], total: int) -> list[dict[str, Any]]:
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"name": name, "count": count, "share": count / total} for name, count in ranked]


def _length_bars(lengths: Counter[int]) -> list[dict[str, int]]:
    """Documents of at least `from` characters and fewer than the next bar's."""
    bins: Counter[int] = Counter()
    for length, count in lengths.items():
        bins[max(0, bisect_right(_LENGTH_EDGES, length) - 1)] += count
    return [{"from": _LENGTH_EDGES[bin_], "count": bins[bin_]} for bin_ in _span(bins)]


def _dates(days: Counter[int]) -> dict[str, Any]:
    """First and last day, and bars by day, month or year, whichever makes at most some sixty of them."""
    if not days:
        return {"first": None, "last": None, "unit": None, "bars": []}
    first, last = (_EPOCH + timedelta(days=day) for day in (min(days), max(days)))
    unit, digits = ("day", 10) if last - first < timedelta(days=62) else ("month", 7)
    if last - first > timedelta(days=5 * 366):
        unit, digits = "year", 4
    counts: Counter[str] = Counter()
    for day, count in days.items():
        counts[(_EPOCH + timedelta(days=day)).isoformat()[:digits]] += count
    labels = dict.fromkeys((first + timedelta(days=n)).isoformat()[:digits] for n in range((last - first).days + 1))
    bars = [{"from": label, "count": counts[label]} for label in labels]
    return {"first": first.isoformat(), "last": last.isoformat(), "unit": unit, "bars": bars}


def _span(bins: Iterable[int]) -> Iterator[int]:
    """From the lowest to the highest bin."""
    found = sorted(bins)
    if found:
        yield from range(found[0], found[-1] + 1)

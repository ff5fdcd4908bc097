"""A fair draw of what became of a crawl: documents that a rule dropped, or that were kept.

Every row of the rule in any shard is as likely as any other. The rows of each shard are counted first, and numbers of
rows are then drawn by a seed, so the same command shows the same pages.

    drawn = draw_dropped(opened, Rule.TOO_FEW_LETTERS, num=5, seed=1)
    drawn.total, drawn.records
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.inspection.find import LEDGERS
from flows.inspection.run import Made, OpenedRun, over_shards
from storage.corpus import CorpusShard, count_corpus, read_corpus
from storage.ledger import LedgerRow, Rule, compact_path, full_path

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """A ledger or documents file of a shard."""

    made: Made
    shard: str
    file: CorpusShard


@dataclass(frozen=True)
class Drawn:
    """A dropped record: its row in the ledger of `place`, compact (`offset` and `rule` alone) or full."""

    place: Place
    row: Row

    @property
    def ledger_row(self) -> LedgerRow | None:
        return LedgerRow(**{**self.row, "rule": Rule(self.row["rule"])}) if "id" in self.row else None


@dataclass(frozen=True)
class Draw:
    """How many there are in all, and those that were drawn, in the order of shards and rows."""

    total: int
    drawn: Sequence[Drawn] = field(default_factory=list)


def draw_dropped(run: OpenedRun, rule: Rule, num: int, seed: int) -> Draw:
    """Records that a rule dropped, from either stage's ledgers."""
    places = []
    for made in (run.curate, run.deduplicate):
        for shard in made.shards if made else ():
            uris = [made.file(path(shard)) for path in (compact_path, full_path)] if made else []
            places += [Place(made, shard, CorpusShard(uri)) for uri in uris if made and uri]
    numbers = list(over_shards(places, lambda place: _count(place, rule), LEDGERS))
    return Draw(sum(numbers), list(_drawn(places, numbers, rule, num, seed)))


def draw_kept(run: OpenedRun, num: int, seed: int) -> Draw:
    """Documents of the corpus, with their texts; of what curate kept where deduplicate is not complete."""
    made = run.deduplicate or run.curate
    places = [Place(made, shard, file) for shard, files in made.files.items() for file in files]
    numbers = list(over_shards(places, lambda place: count_corpus(place.file), "document shards"))
    return Draw(sum(numbers), list(_drawn(places, numbers, None, num, seed)))


def _count(place: Place, rule: Rule) -> int:
    batches = read_corpus(place.file, ["rule"])
    return sum(int(np.count_nonzero(batch.column("rule").to_numpy() == rule)) for batch in batches)


def _drawn(places: Sequence[Place], numbers: Sequence[int], rule: Rule | None, num: int, seed: int) -> Iterator[Drawn]:
    """Rows whose numbers, counted over all places, a seeded draw without replacement gives."""
    ends = list(accumulate(numbers))
    total = ends[-1] if ends else 0
    chosen: dict[int, list[int]] = {}
    for number in sorted(random.Random(seed).sample(range(total), min(num, total))):
        place = bisect_right(ends, number)
        chosen.setdefault(place, []).append(number - ends[place] + numbers[place])
    for place, wanted in chosen.items():
        for row in _rows(places[place], rule, wanted):
            yield Drawn(places[place], row)


def _rows(place: Place, rule: Rule | None, wanted: Sequence[int]) -> Iterator[Row]:
    """The rows of a file with these numbers, counted over those of the rule; ascending."""
    first = 0
    for batch in read_corpus(place.file):
        if rule is not None:
            batch = batch.filter(pc.equal(batch.column("rule"), pa.scalar(rule, pa.uint8())))
        here = [number - first for number in wanted if first <= number < first + batch.num_rows]
        first += batch.num_rows
        if here:
            yield from batch.take(pa.array(here, pa.int64())).to_pylist()

"""Other thresholds, tried on the metrics that curation stored, without reading the crawl again.

In: `metrics/<shard>.parquet` of a complete curate artifact, which has a row for every page that reached the quality
rules, and a `CurateConfig` with other thresholds. Out: what both sets of thresholds drop, by rule; the pages that would
be newly kept or newly dropped, by rule and host; a fair draw of each.

Each rule is one comparison over a column; the first rule that refuses a page decides, as in `rules.decide`. Pages are
drawn by their ids, which are hashes: those that are smallest when a number made of the seed is XORed in.

Language: a page not above a raised `language.min_score` is dropped before the rules. Pages that a lowered one would let
in have no metrics: they can be counted in the ledger, not decided.

    config, changes = propose(run.curate, ["min_letters=200"])  # tasks.curate.proposal
    trial = try_config({"CC-MAIN-00000": uri}, run.curate, config, Tombstones())
    trial.newly_kept.documents, trial.newly_kept.drawn
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from storage.documents import read_documents
from storage.ledger import Rule
from storage.tombstones import Tombstones
from tasks.curate.config import CurateConfig
from tasks.curate.page import host_of
from tasks.curate.quality_config import QualityConfig
from tasks.curate.rules import QUALITY_RULES

NUM_RULES = 256  # a rule is a byte
_ROW = ("id", "offset", "url", "rule", "language_score", "num_letters")


@dataclass
class Tally:
    """What one set of thresholds makes of all pages: int64 (256,) each, by `Rule`.

    Attributes:
        documents: pages that the rule decided (KEPT: those that are kept); `characters`: of their texts.
        failing: pages that the rule refuses, whether an earlier one does so too.
        alone: pages that no other rule refuses.
    """

    documents: np.ndarray = field(default_factory=lambda: np.zeros(NUM_RULES, np.int64))
    characters: np.ndarray = field(default_factory=lambda: np.zeros(NUM_RULES, np.int64))
    failing: np.ndarray = field(default_factory=lambda: np.zeros(NUM_RULES, np.int64))
    alone: np.ndarray = field(default_factory=lambda: np.zeros(NUM_RULES, np.int64))

    def add(self, decided: np.ndarray, characters: np.ndarray, refused: np.ndarray) -> None:
        """Count rows.

        Args:
            decided: uint8 (rows,) rules.
            refused: bool (rules, rows), as `refusals` returns it.
        """
        self.documents += np.bincount(decided, minlength=NUM_RULES)
        self.characters += np.bincount(decided, characters, minlength=NUM_RULES).astype(np.int64)
        only_one = refused.sum(axis=0) == 1
        for rule, row in zip(QUALITY_RULES, refused, strict=True):
            self.failing[rule.rule] += np.count_nonzero(row)
            self.alone[rule.rule] += np.count_nonzero(row & only_one)


@dataclass(frozen=True)
class Sample:
    """A page that other thresholds would decide otherwise.

    Attributes:
        refused_by: the rule that drops it now, if it would be kept; that would drop it, if it is kept now.
        value: what that rule measured; both thresholds are None for a rule without one.
        decided_now, decided_then: what becomes of it under both sets of thresholds.
    """

    shard: str
    offset: int
    id: bytes
    url: str | None
    decided_now: Rule
    decided_then: Rule
    value: float | None = None
    old_threshold: float | None = None
    new_threshold: float | None = None

    @property
    def refused_by(self) -> Rule:
        return self.decided_then if self.decided_now == Rule.KEPT else self.decided_now


@dataclass
class Group:
    """Pages that other thresholds would decide otherwise.

    Attributes:
        rules: by the rule that drops them (now, for those that would be kept).
        hosts: documents and characters of each host.
        ids: of all of them, 16 bytes each.
        drawn: some of them, by their draw.
    """

    documents: int = 0
    characters: int = 0
    rules: Counter[Rule] = field(default_factory=Counter)
    hosts: dict[str, Counter[str]] = field(default_factory=dict)
    ids: list[bytes] = field(default_factory=list)
    drawn: list[tuple[int, Sample]] = field(default_factory=list)

    @property
    def samples(self) -> list[Sample]:
        return [sample for _, sample in self.drawn]


@dataclass
class Trial:
    """What other thresholds would change.

    Attributes:
        before: under the thresholds the crawl was curated with; `after`: under those that are tried.
        otherwise: pages dropped both times, by another rule.
        disagreeing: rows whose stored decision is not what `rules.decide` says of their metrics.
    """

    before: Tally = field(default_factory=Tally)
    after: Tally = field(default_factory=Tally)
    newly_kept: Group = field(default_factory=Group)
    newly_dropped: Group = field(default_factory=Group)
    otherwise: int = 0
    disagreeing: int = 0


def refusals(metrics: Mapping[str, np.ndarray], config: QualityConfig) -> np.ndarray:
    """bool (rules, rows): which of QUALITY_RULES refuse which rows.

    Args:
        metrics: metric -> (rows,); one that was not measured is NaN, and refused by no rule.
    """
    return np.array([rule.refuses(metrics[rule.metric], config) for rule in QUALITY_RULES])


def decided_by(refused: np.ndarray) -> np.ndarray:
    """uint8 (rows,): the first rule that refuses each row, KEPT where none does."""
    numbers = np.array([rule.rule for rule in QUALITY_RULES], np.uint8)
    return np.where(refused.any(axis=0), numbers[refused.argmax(axis=0)], np.uint8(Rule.KEPT))


def try_config(
    files: Mapping[str, str],
    old: CurateConfig,
    new: CurateConfig,
    tombstones: Tombstones,
    *,
    num: int = 5,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Trial:
    """Decide every measured page again.

    Args:
        files: shard -> URI of its metrics.
        num: pages to draw of those that would be newly kept, and of those newly dropped.
        progress: called with the number of files that are done.

    Raises:
        FileNotFoundError, ValueError: a file is missing, or has no such metrics.
    """
    trying = _Trying(old, new, tombstones, num, xxhash.xxh3_64_intdigest(f"what-if {seed}".encode()))
    for number, (shard, uri) in enumerate(files.items(), 1):
        for batch in read_documents(uri, columns_read()):
            trying.add(shard, batch)
        if progress:
            progress(number)
    return trying.trial


def columns_read() -> list[str]:
    """The columns of a shard's metrics that a trial reads."""
    return list(dict.fromkeys([*_ROW, *(rule.metric for rule in QUALITY_RULES)]))


class _Trying:
    """A trial under way."""

    def __init__(self, old: CurateConfig, new: CurateConfig, tombstones: Tombstones, num: int, salt: int) -> None:
        self.old, self.new, self.tombstones = old, new, tombstones
        self.num, self.salt = num, np.uint64(salt)
        self.trial = Trial()

    def add(self, shard: str, batch: pa.RecordBatch) -> None:
        """Decide the pages of a batch again."""
        metrics = {
            name: batch.column(name).to_numpy(zero_copy_only=False)  # what was not measured is NaN
            for name in batch.schema.names
            if name not in ("id", "url")
        }
        stored, characters = metrics["rule"], metrics["num_letters"]
        refused_before, refused_after = refusals(metrics, self.old.quality), refusals(metrics, self.new.quality)
        before, after = decided_by(refused_before), decided_by(refused_after)
        if self.new.language.min_score > self.old.language.min_score:
            after[metrics["language_score"] <= self.new.language.min_score] = Rule.NOT_JAPANESE
        for decided in (before, after):
            decided[(stored == Rule.TAKEDOWN) & (decided == Rule.KEPT)] = Rule.TAKEDOWN
        self._take_down(after, stored, batch)
        trial = self.trial
        trial.disagreeing += int(np.count_nonzero(before != stored))
        trial.before.add(stored, characters, refused_before)
        trial.after.add(after, characters, refused_after)
        kept, dropped = (after == Rule.KEPT) & (stored != Rule.KEPT), (after != Rule.KEPT) & (stored == Rule.KEPT)
        trial.otherwise += int(np.count_nonzero((after != stored) & ~kept & ~dropped))
        self._gather(trial.newly_kept, shard, batch, np.flatnonzero(kept), stored, after)
        self._gather(trial.newly_dropped, shard, batch, np.flatnonzero(dropped), stored, after)

    def _take_down(self, after: np.ndarray, stored: np.ndarray, batch: pa.RecordBatch) -> None:
        """Pages that the rules let in may have been taken down."""
        if not self.tombstones:
            return
        urls = batch.column("url")
        for row in np.flatnonzero((after == Rule.KEPT) & (stored != Rule.KEPT)).tolist():
            if self.tombstones.matches(urls[row].as_py()):
                after[row] = Rule.TAKEDOWN

    def _gather(
        self,
        group: Group,
        shard: str,
        batch: pa.RecordBatch,
        rows: np.ndarray,
        stored: np.ndarray,
        after: np.ndarray,
    ) -> None:
        """Add rows of a batch to a group."""
        if not len(rows):
            return
        part = batch.take(pa.array(rows))
        urls, lengths = part.column("url").to_pylist(), part.column("num_letters").to_pylist()
        group.documents += len(rows)
        group.characters += sum(lengths)
        group.ids += part.column("id").to_pylist()
        reasons = stored if group is self.trial.newly_kept else after
        group.rules.update(Rule(number) for number in reasons[rows].tolist())
        for url, length in zip(urls, lengths, strict=True):
            counts = group.hosts.setdefault(host_of(url) or "unknown", Counter())
            counts["documents"] += 1
            counts["characters"] += length
        keys = _leading_numbers(part.column("id")) ^ self.salt
        worst = group.drawn[-1][0] if len(group.drawn) == self.num else None
        for index in np.argsort(keys, kind="stable")[: self.num].tolist():
            if worst is not None and int(keys[index]) >= worst:
                break
            row, place = part.slice(index, 1).to_pylist()[0], rows[index]
            sample = self._sample(shard, row, Rule(int(stored[place])), Rule(int(after[place])))
            group.drawn.append((int(keys[index]), sample))
        group.drawn = sorted(group.drawn, key=lambda drawn: drawn[0])[: self.num]

    def _sample(self, shard: str, row: Mapping[str, Any], now: Rule, then: Rule) -> Sample:
        sample = Sample(shard, row["offset"], row["id"], row["url"], now, then)
        refusing = self.old if then == Rule.KEPT else self.new
        for rule in QUALITY_RULES:
            if rule.rule == sample.refused_by and rule.is_asked(refusing.quality):
                old, new = (float(rule.threshold_in(config.quality)) for config in (self.old, self.new))
                return replace(sample, value=row[rule.metric], old_threshold=old, new_threshold=new)
        if sample.refused_by == Rule.NOT_JAPANESE:
            old, new = self.old.language.min_score, self.new.language.min_score
            return replace(sample, value=row["language_score"], old_threshold=old, new_threshold=new)
        return sample


def _leading_numbers(ids: pa.Array) -> np.ndarray:
    """uint64 (rows,): the first 8 bytes of each id."""
    return np.frombuffer(b"".join(id[:8] for id in ids.to_pylist()), ">u8").astype(np.uint64)


def count_let_in(ledger: str, old: float, new: float) -> int:
    """Pages of a shard that were refused as not Japanese under the `min_score` old, and would not be under new.

    Args:
        ledger: URI of the shard's full rows; these pages were never measured.
    """
    total = 0
    for batch in read_documents(ledger, ["rule", "value"]):
        refused = batch.column("rule").to_numpy() == Rule.NOT_JAPANESE
        score = batch.column("value").to_numpy(zero_copy_only=False)  # a higher one had no Japanese line
        total += int(np.count_nonzero(refused & (score > new) & (score <= old)))
    return total

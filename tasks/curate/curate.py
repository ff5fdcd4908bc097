"""The `curate` stage: Common Crawl WARC files to Japanese documents.

In: WARC files. Out, for each WARC, or each part of a large one: `documents/<shard>.parquet` (`storage/documents.py`,
with the quality metrics as columns), its two ledger files (`storage/ledger.py`), in which every response record and
every torn stretch has exactly one row, and `metrics/<shard>.parquet`: what the quality rules saw of every page that
reached them, kept or not, so that other thresholds can be tried without reading the crawl again.

What happens to one page is in `page.py`.

    outcome = curate(CurateConfig(sources=["a.warc.gz"]), out="runs/curate/x-0123", executor=ExecutorConfig())
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from storage.artifact import FileEntry, Outcome
from storage.documents import document_id, write_documents, write_parquet
from storage.ledger import LedgerRow, Rule, compact_path, full_path, write_compact, write_full
from storage.tombstones import Tombstones
from tasks.curate.config import CurateConfig
from tasks.curate.index import forget_records, locate_records
from tasks.curate.output import (
    DOCUMENTS_SCHEMA,
    METRICS_SCHEMA,
    add_charsets,
    document_row,
    ledger_row,
    metrics_batch,
    metrics_path,
    metrics_row,
)
from tasks.curate.page import NOTHING_TAKEN_DOWN, Examined, Examiner
from tasks.curate.pages import Pages, open_pages
from tasks.curate.retract import RetractShard, retract_shard
from tasks.curate.sources import WarcSource, list_warcs, split_warcs
from tasks.meter import advance
from tasks.shards import ExecutorConfig, Progress, Shard, ShardRecord, combine, map_shards, part_of

logger = logging.getLogger(__name__)

BAD_RULES = (
    Rule.TORN_MEMBER,
    Rule.UNDECODABLE,
    Rule.MOJIBAKE,
    Rule.EXTRACTION_FAILED,
    Rule.EXTRACTION_TIMEOUT,
    Rule.EXTRACTION_MEMORY,
)
CHARSET_RULES = (Rule.UNDECODABLE, Rule.MOJIBAKE)  # full rows, although before the language decision
_ROWS_PER_BATCH = 256


@dataclass(frozen=True)
class WarcShard:
    """One WARC file to curate, or what a shard is to read of it; the argument of `curate_warc`."""

    source: WarcSource
    config: CurateConfig
    out: str
    tombstones: Tombstones = NOTHING_TAKEN_DOWN


def curate(
    config: CurateConfig,
    *,
    out: str,
    executor: ExecutorConfig,
    progress: Progress | None = None,
    tombstones: Tombstones = NOTHING_TAKEN_DOWN,
    earlier: str | None = None,
    curated: Mapping[str, str] | None = None,
) -> Outcome:
    """Curate all WARC files of a run into the artifact at `out`.

    Args:
        tombstones: what may not be kept.
        earlier: a complete artifact that differs only in having fewer tombstones (`tasks.curate.retract`); its shards
            are taken over without what is taken down, and no WARC file is read.
        curated: crawl -> a complete artifact whose shards of it are taken over (`tasks.curate.reuse`).

    Returns:
        Counts: records (= kept + dropped), documents, characters, kept, dropped, dropped_<rule>,
        torn_members, other_records, lines_removed and characters_removed (over kept documents). Details:
        documents by charset.

    Raises:
        FileNotFoundError, ValueError: a source, the extractor or the language model is not usable.
        ValueError: no document was kept, or `max_bad_record_ratio` was exceeded.
        ShardFailedError: a WARC could not be processed.
    """
    with Examiner(config):
        pass  # a missing model or word list should fail here, not in each shard
    sources = split_warcs(list_warcs(config.sources, config.commoncrawl), config)
    taken = {source.key: origin for source in sources if (origin := earlier or _curated_in(curated or {}, source))}
    if taken:
        logger.info("taking %d of %d shards over from earlier artifacts", len(taken), len(sources))
    to_take = [Shard(key, RetractShard(key, origin, out, tombstones)) for key, origin in taken.items()]
    to_read = [source for source in sources if source.key not in taken]
    if config.commoncrawl.mode == "index":
        to_read = locate_records(to_read, config.commoncrawl, out, executor)
    shards = [Shard(source.key, WarcShard(source, config, out, tombstones)) for source in to_read]
    records = []
    if to_take:
        watch = part_of(progress, 0, len(sources))
        records += map_shards(retract_shard, to_take, out=out, executor=executor, progress=watch)
    if shards:
        watch = part_of(progress, len(to_take), len(sources))
        records += map_shards(curate_warc, shards, out=out, executor=executor, progress=watch)
    forget_records(out)
    outcome = combine(records)
    outcome.details["charsets"] = add_charsets(record.details["charsets"] for record in records)
    _check(outcome.counts, config, len({source.uri for source in sources}))
    return outcome


def _curated_in(curated: Mapping[str, str], source: WarcSource) -> str | None:
    """The artifact that has a source's shard already."""
    return curated.get(source.crawl) if source.identity is not None else None


def curate_warc(shard: WarcShard) -> ShardRecord:
    """Curate one shard: write its documents, metrics and ledger, count what became of its records."""
    run = _ShardRun(shard)
    with open_pages(shard.source, shard.config) as pages, Examiner(shard.config, shard.tombstones) as examiner:
        batches = run.batches(pages, examiner)
        documents = write_documents(shard.out, f"documents/{shard.source.key}.parquet", batches, DOCUMENTS_SCHEMA)
    return run.finish(documents, pages.num_other_records)


class _ShardRun:
    """What one shard gathers: ledger rows and metrics as pages pass, documents in batches."""

    def __init__(self, shard: WarcShard) -> None:
        self.shard = shard
        self.compact: list[tuple[int, Rule]] = []
        self.full: list[LedgerRow] = []
        self.measured: list[tuple[Any, ...]] = []
        self.charsets: dict[str, Counter[str]] = {}
        self.num_characters = 0

    def batches(self, pages: Pages, examiner: Examiner) -> Iterator[pa.RecordBatch]:
        """The kept documents of a WARC."""
        rows: list[dict[str, Any]] = []
        for page in pages:
            examined = examiner(page)
            advance(pages.fraction, records=1)
            if examined.charset is not None:
                self._count_charset(examined, examined.charset)
            if examined.language_score is None and examined.decision.rule not in CHARSET_RULES:
                self.compact.append((page.offset, examined.decision.rule))
                continue
            id = document_id(self.shard.source.name, page.offset)
            self.full.append(ledger_row(id, examined))
            if examined.metrics is None:
                continue
            self.measured.append(metrics_row(id, examined, examined.metrics))
            if examined.decision.keep:
                advance(pages.fraction, documents=1)
                self.num_characters += len(examined.text)
                rows.append(document_row(id, self.shard.source, examined, examined.metrics))
            if len(rows) == _ROWS_PER_BATCH:
                yield pa.RecordBatch.from_pylist(rows, DOCUMENTS_SCHEMA)
                rows = []
        if rows:
            yield pa.RecordBatch.from_pylist(rows, DOCUMENTS_SCHEMA)

    def finish(self, documents: FileEntry, num_other_records: int) -> ShardRecord:
        """Write metrics and ledger, and add up."""
        shard, key = self.shard, self.shard.source.key
        measured = [metrics_batch(self.measured)] if self.measured else []
        files = [
            documents,
            write_compact(shard.out, compact_path(key), self.compact),
            write_full(shard.out, full_path(key), self.full),
            write_parquet(shard.out, metrics_path(key), measured, METRICS_SCHEMA),
        ]
        rules = Counter([rule for _, rule in self.compact] + [row.rule for row in self.full])
        kept = [row for row in self.full if row.rule == Rule.KEPT]
        counts = {
            "records": rules.total(),
            "documents": len(kept),
            "characters": self.num_characters,
            "kept": len(kept),
            "dropped": rules.total() - len(kept),
            "other_records": num_other_records,
            "torn_members": rules[Rule.TORN_MEMBER],
            "lines_removed": sum(row.lines_removed for row in kept),
            "characters_removed": sum(row.characters_removed for row in kept),
        }
        counts |= {f"dropped_{rule.label}": rules[rule] for rule in sorted(rules) if rule != Rule.KEPT}
        return ShardRecord(key, files, counts, {"charsets": add_charsets([self.charsets])})

    def _count_charset(self, examined: Examined, charset: str) -> None:
        counted = self.charsets.setdefault(charset, Counter())
        counted["pages"] += 1
        counted["lossy"] += examined.num_replaced > 0
        counted["mojibake"] += examined.decision.rule == Rule.MOJIBAKE
        counted["undecodable"] += examined.decision.rule == Rule.UNDECODABLE
        counted["kept"] += examined.decision.keep


def _check(counts: dict[str, int], config: CurateConfig, num_warcs: int) -> None:
    dropped = {name.removeprefix("dropped_"): n for name, n in counts.items() if name.startswith("dropped_")}
    by_rule = ", ".join(f"{name} {count:,}" for name, count in sorted(dropped.items(), key=lambda item: -item[1]))
    num_records = counts.get("records", 0)
    num_bad = sum(dropped.get(rule.label, 0) for rule in BAD_RULES)
    if num_bad > config.max_bad_record_ratio * num_records:
        raise ValueError(
            f"curate: {num_bad:,} of {num_records:,} records are torn or unreadable, more than "
            f"max_bad_record_ratio {config.max_bad_record_ratio:g} ({by_rule}); fetch the "
            "WARC files again, or raise it"
        )
    if not counts.get("documents"):
        raise ValueError(
            f"curate: no document kept of {num_records:,} records in {num_warcs} WARC files "
            f"({by_rule or 'all empty'}); is there Japanese in curate.sources?"
        )

"""The `curate` stage: Common Crawl WARC files to Japanese documents.

In: WARC files. Out, for each WARC: `documents/<shard>.parquet` (`storage/documents.py`, with the quality
metrics as columns) and its two ledger files (`storage/ledger.py`), in which every response record and every
torn stretch has exactly one row.

Each page goes through the steps in the order of their cost: size and type, the rapid pre-check on raw bytes,
the charset decision, main-text extraction, the language decision with the Japanese-line step, the quality
rules. The first step that refuses it is its row in the ledger. What would be kept is held against the root's
tombstones last (`storage/tombstones.py`). The recipe is Swallow Corpus v1's (Okazaki et
al., COLM 2024); what is ours is said in `config.py`.

    outcome = curate(CurateConfig(sources=["a.warc.gz"]), out="runs/curate/x-0123", executor=ExecutorConfig())
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from storage.artifact import FileEntry, Outcome
from storage.documents import document_id, document_schema, write_documents
from storage.ledger import LedgerRow, Rule, compact_path, full_path, write_compact, write_full
from storage.tombstones import Tombstones
from storage.uri import localized
from tasks.curate.charset import Decoded, decode
from tasks.curate.config import CurateConfig
from tasks.curate.extract import (
    ExtractionFailedError,
    ExtractionTimeoutError,
    Extractor,
    require_extractor,
    tidy,
)
from tasks.curate.language import LanguageJudge
from tasks.curate.metrics import Metrics, measure, metric_fields
from tasks.curate.precheck import looks_japanese
from tasks.curate.retract import RetractShard, retract_shard
from tasks.curate.rules import Decision, decide
from tasks.curate.warc import WarcPage, WarcReader, WarcSource, list_warcs
from tasks.meter import advance
from tasks.shards import ExecutorConfig, Progress, Shard, ShardRecord, combine, map_shards

logger = logging.getLogger(__name__)

STAGE = "curate"
NOTHING_TAKEN_DOWN = Tombstones()
SCHEMA = document_schema(metric_fields())
BAD_RULES = (Rule.TORN_MEMBER, Rule.UNDECODABLE, Rule.EXTRACTION_FAILED, Rule.EXTRACTION_TIMEOUT)

_HTML_TYPES = ("", "text/html", "application/xhtml+xml")
_MAYBE_HTML_TYPES = ("text/xml", "application/xml", "application/octet-stream")
_HTML_START = re.compile(rb"<html|<!doctype html", re.IGNORECASE)
_ROWS_PER_BATCH = 256


@dataclass(frozen=True)
class WarcShard:
    """One WARC file to curate; the argument of `curate_warc`."""

    source: WarcSource
    config: CurateConfig
    out: str
    tombstones: Tombstones = NOTHING_TAKEN_DOWN


@dataclass(frozen=True, slots=True)
class _Document:
    """A page that reached the language decision."""

    page: WarcPage
    charset: str
    text: str
    language_score: float
    lines_removed: int
    characters_removed: int
    decision: Decision
    metrics: Metrics | None


def curate(
    config: CurateConfig,
    *,
    out: str,
    executor: ExecutorConfig,
    progress: Progress | None = None,
    tombstones: Tombstones = NOTHING_TAKEN_DOWN,
    earlier: str | None = None,
) -> Outcome:
    """Curate all WARC files of a run into the artifact at `out`.

    Args:
        tombstones: what may not be kept.
        earlier: a complete artifact that differs only in having fewer tombstones (`tasks.curate.retract`); its shards
            are taken over without what is taken down, and no WARC file is read.

    Returns:
        Counts: records (= kept + dropped), documents, characters, kept, dropped, dropped_<rule>,
        torn_members, other_records, lines_removed and characters_removed (over kept documents). Details:
        documents by charset.

    Raises:
        FileNotFoundError, ValueError: a source, the extractor or the language model is not usable.
        ValueError: no document was kept, or `max_bad_record_ratio` was exceeded.
        ShardFailedError: a WARC could not be processed.
    """
    require_extractor(config.extractor)
    LanguageJudge(config.language, config.japanese_lines)  # a missing model should fail here, not in each shard
    warcs = list_warcs(config.sources)
    if earlier is not None:
        logger.info("taking pages out of %s instead of reading %d WARC files", earlier, len(warcs))
        taken_over = [Shard(warc.key, RetractShard(warc.key, earlier, out, tombstones)) for warc in warcs]
        records = map_shards(retract_shard, taken_over, out=out, executor=executor, progress=progress)
    else:
        shards = [Shard(warc.key, WarcShard(warc, config, out, tombstones)) for warc in warcs]
        records = map_shards(curate_warc, shards, out=out, executor=executor, progress=progress)
    outcome = combine(records)
    charsets: Counter[str] = Counter()
    for record in records:
        charsets.update(record.details["charsets"])
    outcome.details["charsets"] = dict(sorted(charsets.items(), key=lambda item: (-item[1], item[0])))
    _check(outcome.counts, config, len(warcs))
    return outcome


def curate_warc(shard: WarcShard) -> ShardRecord:
    """Curate one WARC file: write its documents and ledger, count what became of its records."""
    run = _ShardRun(shard)
    with (
        localized(shard.source.uri) as path,
        Extractor(shard.config.extractor, shard.config.max_page_seconds) as extractor,
    ):
        reader = WarcReader(path, shard.config.max_page_bytes)
        batches = run.batches(reader, extractor)
        key = shard.source.key
        documents = write_documents(shard.out, f"documents/{key}.parquet", batches, SCHEMA)
    return run.finish(documents, reader.num_other_records)


class _ShardRun:
    """What one shard gathers: ledger rows as pages pass, documents in batches."""

    def __init__(self, shard: WarcShard) -> None:
        self.shard = shard
        self.judge = LanguageJudge(shard.config.language, shard.config.japanese_lines)
        self.compact: list[tuple[int, Rule]] = []
        self.full: list[LedgerRow] = []
        self.charsets: Counter[str] = Counter()
        self.num_characters = 0

    def batches(self, reader: WarcReader, extractor: Extractor) -> Iterator[pa.RecordBatch]:
        """The kept documents of a WARC."""
        rows: list[dict[str, Any]] = []
        for page in reader:
            examined = self._examine(page, extractor)
            done = page.offset / reader.num_bytes
            advance(done, records=1)
            if isinstance(examined, Rule):
                self.compact.append((page.offset, examined))
                continue
            id = document_id(self.shard.source.name, page.offset)
            self.full.append(_ledger_row(id, examined))
            if examined.metrics is not None and examined.decision.keep:
                advance(done, documents=1)
                self.charsets[examined.charset] += 1
                self.num_characters += len(examined.text)
                rows.append(_document_row(id, self.shard.source, examined, examined.metrics))
            if len(rows) == _ROWS_PER_BATCH:
                yield pa.RecordBatch.from_pylist(rows, SCHEMA)
                rows = []
        if rows:
            yield pa.RecordBatch.from_pylist(rows, SCHEMA)

    def finish(self, documents: FileEntry, num_other_records: int) -> ShardRecord:
        """Write the ledger and add up."""
        shard, key = self.shard, self.shard.source.key
        files = [
            documents,
            write_compact(shard.out, compact_path(key), self.compact),
            write_full(shard.out, full_path(key), self.full),
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
        return ShardRecord(key, files, counts, {"charsets": dict(sorted(self.charsets.items()))})

    def _examine(self, page: WarcPage, extractor: Extractor) -> Rule | _Document:
        """Take a page through the steps: the rule that refused it early, else all about it."""
        decoded = page.problem if page.problem is not None else _read_text(page)
        if isinstance(decoded, Rule):
            return decoded
        try:
            is_plain = page.content_type == "text/plain"
            text = tidy(decoded.text) if is_plain else extractor.extract(decoded.text)
        except ExtractionTimeoutError as error:
            logger.warning("%s at %d: %s", self.shard.source.name, page.offset, error)
            return Rule.EXTRACTION_TIMEOUT
        except ExtractionFailedError as error:
            logger.warning("%s at %d: %s", self.shard.source.name, page.offset, error)
            return Rule.EXTRACTION_FAILED
        if not text.strip():
            return Rule.EMPTY_TEXT
        judged = self.judge(text)
        metrics = measure(judged.text) if judged.is_japanese else None
        if metrics is None:
            decision = Decision(False, Rule.NOT_JAPANESE, judged.score, self.shard.config.language.min_score)
        else:
            decision = decide(metrics, self.shard.config.quality)
            if decision.keep and self.shard.tombstones.matches(page.url):
                decision = Decision(False, Rule.TAKEDOWN)
        return _Document(
            page,
            decoded.charset,
            judged.text,
            judged.score,
            judged.lines_removed,
            judged.characters_removed,
            decision,
            metrics,
        )


def _read_text(page: WarcPage) -> Rule | Decoded:
    """Type, pre-check and charset: the decoded page, or why not."""
    is_text = page.content_type in _HTML_TYPES or page.content_type == "text/plain"
    if not is_text and not (page.content_type in _MAYBE_HTML_TYPES and _HTML_START.search(page.body, 0, 1024)):
        return Rule.NOT_HTML
    if not looks_japanese(page.body):
        return Rule.NO_JAPANESE_BYTES
    return decode(page.body, page.http_charset) or Rule.UNDECODABLE


def _ledger_row(id: bytes, document: _Document) -> LedgerRow:
    return LedgerRow(
        id,
        document.page.url,
        STAGE,
        document.decision.rule,
        document.decision.value,
        document.decision.threshold,
        lines_removed=document.lines_removed,
        characters_removed=document.characters_removed,
        offset=document.page.offset,
    )


def _document_row(id: bytes, source: WarcSource, document: _Document, metrics: Metrics) -> dict[str, Any]:
    return {
        "id": id,
        "url": document.page.url,
        "host": _host(document.page.url),
        "crawl": source.crawl,
        "warc": source.name,
        "offset": document.page.offset,
        "fetched_at": document.page.fetched_at,
        "charset": document.charset,
        "language_score": document.language_score,
        "text": document.text,
        "num_characters": len(document.text),
        "lines_removed": document.lines_removed,
        "characters_removed": document.characters_removed,
        **{name: getattr(metrics, name) for name in Metrics.__dataclass_fields__},
    }


def _host(url: str | None) -> str | None:
    try:
        return urlsplit(url).hostname if url else None
    except ValueError:  # such as a broken IPv6 address
        return None


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

"""The report's samples: a few documents that were kept, a few that each rule dropped, and pairs of copies.

In: the ledgers and documents of curate and deduplicate. Out: JSON-like facts. Which ones is decided by hashes alone: a
document's id is the hash of where it was found, so the smallest ids are a fair draw, and the same one every time. Only
`MAX_SHARDS` shards are looked into, those whose names have the smallest hashes, so the cost does not grow with the
crawl. A dropped page's text is in no artifact: it is shown by its address, or, where it was refused before parsing, by
the place in its WARC file.

    drawn = draw(made)
    facts = samples(drawn, shards, census_of(shards, wanted=drawn.survivors).places)
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.corpus import CorpusShard, read_corpus
from storage.documents import document_id, read_documents
from storage.ledger import COMPACT_SCHEMA, Rule, compact_path, full_path
from storage.uri import join
from tasks.report.artifacts import RunArtifacts

MAX_SHARDS = 32
PER_RULE = 3
NUM_KEPT = 4
EXCERPT_CHARACTERS = 160
_MEASURED = ["id", "url", "rule", "value", "threshold"]
_DECIDED = [*_MEASURED, "survivor_id"]
_COPIES = (Rule.SAME_URL, Rule.EXACT_DUPLICATE, Rule.NEAR_DUPLICATE)
_SHOWN = ["id", "url", "charset", "language_score", "num_characters", "text"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Drawn:
    """The rows that were drawn, by rule, and how many shards of how many they are from."""

    dropped: dict[Rule, list[Row]]
    copies: dict[Rule, list[Row]]
    shards: int
    of_shards: int

    @property
    def survivors(self) -> set[bytes]:
        """Ids of the documents that stand for the copies."""
        return {row["survivor_id"] for rows in self.copies.values() for row in rows if row["survivor_id"]}


def draw(made: RunArtifacts) -> Drawn:
    """Choose among what both stages dropped."""
    shards = _shards(made, "curate")
    chosen = shards[:MAX_SHARDS]
    refused = (row for shard in chosen for row in _refused(made, shard))
    measured = (row for shard in chosen for row in _ledger_rows(made, "curate", shard, _MEASURED))
    copies = _shards(made, "deduplicate")[:MAX_SHARDS]
    decided = (row for shard in copies for row in _ledger_rows(made, "deduplicate", shard, _DECIDED))
    dropped = {**_smallest_by_rule(refused), **_smallest_by_rule(measured), **_smallest_by_rule(decided)}
    copied = {rule: dropped.pop(rule) for rule in _COPIES if rule in dropped}
    return Drawn(dropped, copied, len(chosen), len(shards))


def samples(drawn: Drawn, corpus: Sequence[CorpusShard], places: Mapping[bytes, str]) -> dict[str, Any]:
    """What the page shows of them.

    Args:
        corpus: its shards (`storage.corpus.corpus_shards`).
        places: the file of each survivor (`census.Census.places`).
    """
    survivors = {
        row["id"]: row for uri in sorted(set(places.values())) for row in _documents(uri, places, ["id", "url", "text"])
    }
    return {
        "shards": drawn.shards,
        "of_shards": drawn.of_shards,
        "dropped": [
            {"rule": rule.label, "examples": [_example(row) for row in drawn.dropped[rule]]}
            for rule in sorted(drawn.dropped)
        ],
        "copies": [
            {"rule": rule.label, **_pair(row, survivors.get(row["survivor_id"]))}
            for rule in sorted(drawn.copies)
            for row in drawn.copies[rule]
        ],
        "kept": [
            {**{name: row[name] for name in _SHOWN if name not in ("id", "text")}, "excerpt": excerpt(row["text"])}
            for row in _kept(corpus)
        ],
    }


def excerpt(text: str | None) -> str | None:
    """The beginning of a text on one line."""
    if text is None:
        return None
    line = " ".join(text[: 2 * EXCERPT_CHARACTERS].split())
    return line if len(line) <= EXCERPT_CHARACTERS else line[:EXCERPT_CHARACTERS].rstrip() + "…"


def _shards(made: RunArtifacts, stage: str) -> list[str]:
    """Names of a stage's shards, by the hash of the name: those that have a full ledger."""
    paths = [path.removeprefix("ledger/").removesuffix(".parquet") for path in made.paths(stage, "ledger/")]
    return sorted((path for path in paths if not path.endswith(".compact")), key=_hash_of)


def _hash_of(shard: str) -> bytes:
    return document_id("shard", shard)


def _refused(made: RunArtifacts, shard: str) -> Iterator[Row]:
    """Up to `PER_RULE` records of a shard for each rule that refused them before their language was judged."""
    batches = list(read_documents(join(made.uris["curate"], compact_path(shard)), COMPACT_SCHEMA.names))
    if not batches:
        return
    columns = zip(*([column.to_numpy() for column in batch.columns] for batch in batches), strict=True)
    offsets, rules = (np.concatenate(column) for column in columns)
    for number in np.unique(rules):
        rule = Rule(int(number))
        candidates = offsets[rules == number]
        # From a hashed one on in equal steps: no hash for each record of a crawl, and none twice.
        start = int.from_bytes(document_id(shard, rule.label)[:8], "big")
        step = max(1, len(candidates) // PER_RULE)
        for turn in range(min(PER_RULE, len(candidates))):
            offset = int(candidates[(start + turn * step) % len(candidates)])
            yield {"id": document_id(shard, offset), "rule": rule, "place": f"{shard}, byte {offset:,}"}


def _ledger_rows(made: RunArtifacts, stage: str, shard: str, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a shard's full ledger, without those of kept documents and of pages that were taken down."""
    for batch in read_documents(join(made.uris[stage], full_path(shard)), columns):
        hidden = pc.is_in(batch.column("rule"), value_set=pa.array([Rule.KEPT, Rule.TAKEDOWN], pa.uint8()))
        dropped = batch.filter(pc.invert(hidden))
        yield from ({**row, "rule": Rule(row["rule"])} for row in dropped.to_pylist())


def _smallest_by_rule(rows: Iterable[Row]) -> dict[Rule, list[Row]]:
    """The `PER_RULE` rows of each rule with the smallest ids."""
    found: dict[Rule, list[Row]] = {}
    for row in rows:
        rule_rows = found.setdefault(row["rule"], [])
        rule_rows.append(row)
        if len(rule_rows) > 100 * PER_RULE:
            found[row["rule"]] = heapq.nsmallest(PER_RULE, rule_rows, key=itemgetter("id"))
    return {rule: heapq.nsmallest(PER_RULE, rows, key=itemgetter("id")) for rule, rows in found.items()}


def _kept(corpus: Sequence[CorpusShard]) -> list[Row]:
    """`NUM_KEPT` documents of the corpus with the smallest ids."""
    keys = set(sorted({shard.key for shard in corpus}, key=_hash_of)[:MAX_SHARDS])
    ids = {
        id_: shard.uri
        for shard in corpus
        if shard.key in keys
        for batch in read_corpus(shard, ["id"])
        for id_ in batch.column("id").to_pylist()
    }
    chosen = {id_: ids[id_] for id_ in heapq.nsmallest(NUM_KEPT, ids)}
    found = [row for uri in sorted(set(chosen.values())) for row in _documents(uri, chosen, _SHOWN)]
    return sorted(found, key=itemgetter("id"))


def _documents(uri: str, ids: Mapping[bytes, str], columns: Sequence[str]) -> Iterator[Row]:
    """The documents of a file that have one of these ids."""
    for batch in read_documents(uri, columns):
        marks = [id_ in ids for id_ in batch.column("id").to_pylist()]
        if any(marks):
            yield from batch.filter(pa.array(marks)).to_pylist()


def _example(row: Row) -> dict[str, Any]:
    return {name: row.get(name) for name in ("url", "place", "value", "threshold")}


def _pair(row: Row, survivor: Row | None) -> dict[str, Any]:
    """A dropped copy beside what is kept of its cluster."""
    kept = survivor or {}
    return {"url": row["url"], "survivor_url": kept.get("url"), "excerpt": excerpt(kept.get("text"))}

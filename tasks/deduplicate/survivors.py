"""Writing what deduplication keeps: one shard's survivors, refined, and what became of each of its documents.

In: a shard of documents, the decisions over all of them, boilerplate lines. Out: `documents/<shard>.parquet` with the
survivors, `ledger/<shard>.parquet` with a row for every document, and `refine/<shard>.parquet` with a row for every
survivor that `tasks.refine` changed, dropped or found items of benchmarks in: what was cut, replaced and masked, and
the items as `benchmark/id`. The texts that were there before are not kept: curate's documents have them.

    record = write_shard(WriteShard("a", "runs/curate/x-0123/documents/a.parquet", out, 0, RefineConfig()))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from storage.documents import count_documents, document_schema, read_documents, write_documents, write_parquet
from storage.ledger import LedgerRow, Rule, full_path, write_full
from storage.uri import join, read_bytes, write_bytes
from tasks.deduplicate.cluster import Decisions
from tasks.meter import advance
from tasks.refine.config import RefineConfig
from tasks.refine.contamination import Hit
from tasks.refine.refine import COUNTS, Refined, Refiner
from tasks.shards import ShardRecord

STAGE = "deduplicate"
REFINE_SCHEMA = pa.schema(
    [
        pa.field("id", pa.binary(16), nullable=False),
        pa.field("rule", pa.uint8(), nullable=False),
        pa.field("blocked_by", pa.string()),
        *(pa.field(name, pa.int64(), nullable=False) for name in COUNTS),
        pa.field("benchmarks", pa.list_(pa.string())),
        pa.field("items", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class WriteShard:
    """One shard to write: its documents are rows `first` and on of the decisions under `out`.

    `boilerplate` are the files of boilerplate lines, relative to `out`.
    """

    key: str
    documents: str
    out: str
    first: int
    refine: RefineConfig
    boilerplate: tuple[str, ...] = ()


def write_shard(shard: WriteShard) -> ShardRecord:
    """Write one shard's survivors and ledger rows.

    Returns:
        counts `kept`, `characters`, `dropped_<rule>` for what refinement dropped, and its COUNTS; details
        `refined`: of each of COUNTS, how many documents it is of; `contamination`: the tally by benchmark.
    """
    run = _ShardRun(shard)
    schema = next((batch.schema for batch in read_documents(shard.documents)), document_schema())
    documents = write_documents(shard.out, f"documents/{shard.key}.parquet", run.survivors(), schema)
    ledger = write_full(shard.out, full_path(shard.key), run.ledger)
    batches = [pa.RecordBatch.from_pylist(run.refined, REFINE_SCHEMA)]
    refined = write_parquet(shard.out, f"refine/{shard.key}.parquet", batches, REFINE_SCHEMA)
    touched = Counter(name for row in run.refined for name in COUNTS if row[name])
    details: dict[str, Any] = {"refined": dict(sorted(touched.items()))}
    if run.refiner.contamination:
        details["contamination"] = run.refiner.contamination.tally(run.hits)
    return ShardRecord(f"write-{shard.key}", [documents, ledger, refined], dict(run.counts), details)


class _ShardRun:
    """What one shard gathers as its documents pass."""

    def __init__(self, shard: WriteShard) -> None:
        self.shard = shard
        self.refiner = _refiner(shard.refine, shard.out, shard.boilerplate)
        self.ledger: list[LedgerRow] = []
        self.refined: list[dict[str, Any]] = []
        self.hits: list[Sequence[Hit]] = []  # of each document with any
        self.counts = Counter({"kept": 0, "characters": 0})

    def survivors(self) -> Iterator[pa.RecordBatch]:
        """The documents that are kept, refined."""
        decisions, ids = read_decisions(self.shard.out)
        kept = decisions.kept
        first, total = self.shard.first, count_documents(self.shard.documents)
        for batch in read_documents(self.shard.documents):
            here = kept[first : first + batch.num_rows]
            refined = self._refine(batch.filter(pa.array(here)))
            fates = iter(refined)
            for row, url in enumerate(batch.column("url").to_pylist(), first):
                drop = next(fates) if kept[row] else None
                self.ledger.append(_fate(row, url, decisions, ids, drop))
            first += batch.num_rows
            left = _left(batch.filter(pa.array(here)), refined)
            self.counts["kept"] += left.num_rows
            self.counts["characters"] += sum(left.column("num_characters").to_pylist())
            advance((first - self.shard.first) / total, kept=left.num_rows)
            yield left

    def _refine(self, batch: pa.RecordBatch) -> list[Refined]:
        """What becomes of each row of a batch of survivors."""
        rows = batch.select(["id", "host", "url", "text"]).to_pylist()
        found = [self.refiner.refine(row) for row in rows]
        for row, refined in zip(rows, found, strict=True):
            if refined.rule is not None:
                self.counts[f"dropped_{refined.rule.label}"] += 1
            if refined.rule is not None or refined.counts or refined.hits:
                self.refined.append(_refine_row(row["id"], refined))
                self.counts.update(refined.counts)
            if refined.hits:
                self.hits.append(refined.hits)
        return found


def _refine_row(id: bytes, refined: Refined) -> dict[str, Any]:
    """A row of REFINE_SCHEMA."""
    return {
        "id": id,
        "rule": Rule.KEPT if refined.rule is None else refined.rule,
        "blocked_by": refined.blocked_by,
        **{name: refined.counts.get(name, 0) for name in COUNTS},
        "benchmarks": list(dict.fromkeys(hit.benchmark for hit in refined.hits)),
        "items": [f"{hit.benchmark}/{hit.item}" for hit in refined.hits],
    }


def _left(batch: pa.RecordBatch, refined: list[Refined]) -> pa.RecordBatch:
    """The rows that refinement keeps, with their new texts."""
    texts = pa.array([one.text for one in refined], pa.string())
    lengths = pa.array([len(one.text) for one in refined], pa.int64())
    names = batch.schema.names
    batch = batch.set_column(names.index("text"), batch.schema.field("text"), texts)
    batch = batch.set_column(names.index("num_characters"), batch.schema.field("num_characters"), lengths)
    return batch.filter(pa.array([one.rule is None for one in refined], pa.bool_()))


def _fate(row: int, url: str | None, decisions: Decisions, ids: pa.Array, refined: Refined | None) -> LedgerRow:
    survivor, twin, id = int(decisions.survivor[row]), int(decisions.twin[row]), ids[row].as_py()
    if refined is None:
        rule = Rule.EXACT_DUPLICATE if decisions.exact[row] else Rule.NEAR_DUPLICATE
        return LedgerRow(id, url, STAGE, rule, twin_id=ids[twin].as_py(), survivor_id=ids[survivor].as_py())
    if refined.rule is None:
        return LedgerRow(id, url, STAGE, Rule.KEPT)
    return LedgerRow(id, url, STAGE, refined.rule, refined.value, refined.threshold)


@lru_cache(maxsize=1)
def _refiner(config: RefineConfig, out: str, boilerplate: tuple[str, ...]) -> Refiner:
    """A worker writes many shards; the lists are read for the first."""
    batches = (batch for path in boilerplate for batch in read_documents(join(out, path), ["key"]))
    keys = [np.empty(0, np.uint64), *(batch.column("key").to_numpy() for batch in batches)]
    return Refiner(config, np.concatenate(keys))


def write_decisions(out: str, decisions: Decisions, ids: pa.Array) -> None:
    """Leave the decisions where `read_decisions` finds them."""
    columns = [pa.array(decisions.survivor), pa.array(decisions.twin), pa.array(decisions.exact), ids]
    batch = pa.RecordBatch.from_arrays(columns, names=["survivor", "twin", "exact", "id"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    write_bytes(_decisions_uri(out), sink.getvalue().to_pybytes())


def read_decisions(out: str) -> tuple[Decisions, pa.Array]:
    """The decisions over all documents and their ids, binary(16) (documents,)."""
    batch = pa.ipc.open_file(pa.BufferReader(read_bytes(_decisions_uri(out)))).get_batch(0)
    survivor, twin, exact, ids = batch.columns
    return Decisions(survivor.to_numpy(), twin.to_numpy(), exact.to_numpy(zero_copy_only=False)), ids


def _decisions_uri(out: str) -> str:
    return join(out, "_decisions.arrow")

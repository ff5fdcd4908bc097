"""Writing what deduplication keeps: one shard's survivors, refined, and what became of each of its documents.

In: a shard of documents, its fates (`tasks.deduplicate.fates`), boilerplate lines. Out: `documents/<shard>.parquet`
with the survivors, `ledger/<shard>.parquet` with a row for every document, and `refine/<shard>.parquet` with a row for
every survivor that `tasks.refine` changed, dropped or found items of benchmarks in: what was cut, replaced and masked,
the characters that are left, and the items as `benchmark/id`. The texts that were there before are not kept: curate's
documents have them.

Documents stay columns from file to file; only those that refinement has to look at become Python strings, which is
none of them where it is switched off.

Memory: a row group of documents (12 MB at 2,000 characters) a few times over, and 50 bytes x documents of the shard.

    record = write_shard(WriteShard("a", "runs/curate/x-0123/documents/a.parquet", out, RefineConfig(), 0.8))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.artifact import FileEntry
from storage.documents import document_schema, read_documents, write_documents, write_parquet
from storage.ledger import Rule
from tasks.deduplicate.fates import Fates, read_fates, read_returning, write_ledger
from tasks.meter import advance
from tasks.refine.config import RefineConfig
from tasks.refine.contamination import Contamination, ItemName
from tasks.refine.refine import COUNTS, DROPPING, Refined, Refiner
from tasks.shards import ShardRecord

BATCH_ROWS = 512
REFINE_SCHEMA = pa.schema(
    [
        pa.field("id", pa.binary(16), nullable=False),
        pa.field("rule", pa.uint8(), nullable=False),
        pa.field("blocked_by", pa.string()),
        pa.field("num_characters", pa.int64(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in COUNTS),
        pa.field("benchmarks", pa.list_(pa.string())),
        pa.field("items", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class WriteShard:
    """One shard to write.

    Attributes:
        documents: URI of the shard's documents before deduplication.
        min_jaccard: the threshold of verified duplicates.
        boilerplate: URIs of the files of boilerplate lines.
        returning: only documents that return are written: what else is kept lies in an earlier generation.
    """

    key: str
    documents: str
    out: str
    refine: RefineConfig
    min_jaccard: float
    boilerplate: tuple[str, ...] = ()
    returning: bool = False

    def fates(self) -> Fates:
        """What was decided on its documents."""
        return read_fates(self.out, self.key, self.min_jaccard)

    def to_write(self, fates: Fates) -> np.ndarray:
        """Which documents are refined and written, bool (documents,)."""
        return read_returning(self.out, self.key, len(fates.rule)) if self.returning else fates.kept


@dataclass
class Written:
    """What was written of a shard: files, `refined` (REFINE_SCHEMA), and the characters of the documents."""

    files: list[FileEntry] = field(default_factory=list)
    refined: pa.Table = field(default_factory=REFINE_SCHEMA.empty_table)
    characters: int = 0


def write_shard(shard: WriteShard) -> ShardRecord:
    """Write one shard's survivors and ledger rows; the record is `record_of`'s."""
    fates = shard.fates()
    written = write_survivors(shard, fates)
    written.files.append(write_ledger(shard.out, shard.key, read_documents(shard.documents, ["id", "url"]), fates))
    return record_of(shard, fates, written)


def write_survivors(shard: WriteShard, fates: Fates) -> Written:
    """Refine and write a shard's documents; the fates of those that refinement drops are changed."""
    run = _Run(shard, fates)
    batches = read_documents(shard.documents, batch_rows=BATCH_ROWS)
    first = next(batches, pa.RecordBatch.from_pylist([], document_schema()))
    survivors = run.survivors(chain([first], batches))
    documents = write_documents(shard.out, f"documents/{shard.key}.parquet", survivors, first.schema)
    table = pa.Table.from_pylist(run.refined, REFINE_SCHEMA)
    refined = write_parquet(shard.out, f"refine/{shard.key}.parquet", table.to_batches(), REFINE_SCHEMA)
    pa.default_memory_pool().release_unused()
    return Written([documents, refined], table, run.characters)


def record_of(shard: WriteShard, fates: Fates, written: Written) -> ShardRecord:
    """What is counted of a shard.

    Returns:
        counts `kept`, `characters`, `dropped_<rule>` for what refinement dropped, and its COUNTS; details
        `refined`: of each of COUNTS, how many documents it is of; `contamination`: the tally by benchmark.
    """
    rules = np.bincount(fates.rule, minlength=256)
    counts = {"kept": int(rules[Rule.KEPT]), "characters": written.characters}
    counts |= {f"dropped_{rule.label}": int(rules[rule]) for rule in DROPPING}
    counts |= {name: pc.sum(written.refined[name]).as_py() or 0 for name in COUNTS}
    touched = {name: pc.sum(pc.greater(written.refined[name], 0)).as_py() or 0 for name in COUNTS}
    details: dict[str, Any] = {"refined": touched}
    if contamination := _refiner(shard.refine, shard.boilerplate).contamination:
        details["contamination"] = _tally(written.refined, contamination)
    return ShardRecord(f"write-{shard.key}", written.files, counts, details)


class _Run:
    """What one shard gathers as its documents pass."""

    def __init__(self, shard: WriteShard, fates: Fates) -> None:
        self.shard = shard
        self.fates = fates
        self.refiner = _refiner(shard.refine, shard.boilerplate)
        self.refined: list[dict[str, Any]] = []
        self.characters = 0

    def survivors(self, documents: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Those of the shard's documents that are written, refined."""
        chosen = self.shard.to_write(self.fates)
        first, total = 0, max(1, len(chosen))
        for batch in documents:
            here = chosen[first : first + batch.num_rows]
            left = self._refine(batch.filter(pa.array(here)), first + np.flatnonzero(here))
            first += batch.num_rows
            self.characters += pc.sum(left.column("num_characters")).as_py() or 0
            advance(first / total, kept=left.num_rows)
            yield left

    def _refine(self, batch: pa.RecordBatch, rows: np.ndarray) -> pa.RecordBatch:
        """What is left of a batch of survivors, which are `rows` of the shard."""
        places = np.arange(batch.num_rows) if self.refiner.is_active else _blank(batch.column("text"))
        if not len(places):
            return batch
        looked_at = batch.take(pa.array(places)).select(["id", "host", "url", "text"])
        found = [self.refiner.refine(row) for row in looked_at.to_pylist()]
        for row, id, refined in zip(rows[places].tolist(), looked_at.column("id").to_pylist(), found, strict=True):
            if refined.rule is not None or refined.counts or refined.hits:
                self.refined.append(_refine_row(id, refined))
            if refined.rule is not None:
                self._drop(row, refined)
        if self.refiner.is_active:
            batch = _with_texts(batch, [refined.text for refined in found])
        return batch.filter(pa.array(self.fates.kept[rows]))

    def _drop(self, row: int, refined: Refined) -> None:
        self.fates.rule[row] = refined.rule
        self.fates.value[row] = np.nan if refined.value is None else refined.value
        self.fates.threshold[row] = np.nan if refined.threshold is None else refined.threshold


def _blank(texts: pa.StringArray) -> np.ndarray:
    """Rows without anything but white space; of nearly all texts only the first characters are looked at."""
    starts = pc.utf8_slice_codeunits(texts, 0, 4).to_pylist()
    blank = [row for row, start in enumerate(starts) if not start.strip() and not texts[row].as_py().strip()]
    return np.array(blank, dtype=np.int64)


def _refine_row(id: bytes, refined: Refined) -> dict[str, Any]:
    """A row of REFINE_SCHEMA."""
    return {
        "id": id,
        "rule": Rule.KEPT if refined.rule is None else refined.rule,
        "blocked_by": refined.blocked_by,
        "num_characters": len(refined.text),
        **{name: refined.counts.get(name, 0) for name in COUNTS},
        "benchmarks": list(dict.fromkeys(hit.benchmark for hit in refined.hits)),
        "items": [f"{hit.benchmark}/{hit.item}" for hit in refined.hits],
    }


def _tally(refined: pa.Table, contamination: Contamination) -> dict[str, Any]:
    """The items of benchmarks that rows of REFINE_SCHEMA name, by benchmark."""
    found = refined.select(["benchmarks", "items"]).filter(pc.greater(pc.list_value_length(refined["items"]), 0))
    return contamination.tally([_items(row["benchmarks"], row["items"]) for row in found.to_pylist()])


def _items(benchmarks: list[str], names: list[str]) -> list[ItemName]:
    """The items that a row of REFINE_SCHEMA names, as `benchmark/id`."""
    items = []
    for name in names:
        benchmark = max((one for one in benchmarks if name.startswith(f"{one}/")), key=len)
        items.append(ItemName(benchmark, name.removeprefix(f"{benchmark}/")))
    return items


def _with_texts(batch: pa.RecordBatch, texts: list[str]) -> pa.RecordBatch:
    """The rows with new texts, and their lengths."""
    for name, column in (("text", pa.array(texts, pa.string())), ("num_characters", pa.array(map(len, texts)))):
        place = batch.schema.get_field_index(name)
        batch = batch.set_column(place, batch.schema.field(place), column)
    return batch


@lru_cache(maxsize=1)
def _refiner(config: RefineConfig, boilerplate: tuple[str, ...]) -> Refiner:
    """A worker writes many shards; the lists are read for the first."""
    batches = (batch for uri in boilerplate for batch in read_documents(uri, ["key"]))
    keys = [np.empty(0, np.uint64), *(batch.column("key").to_numpy() for batch in batches)]
    return Refiner(config, np.unique(np.concatenate(keys)))

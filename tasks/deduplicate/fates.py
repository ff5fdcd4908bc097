"""What became of each document of one shard, between the decision and the writing.

The decision is made over all documents; whoever writes a shard reads that shard's part of it only. The process that
decides leaves one small Arrow file a shard, `_work/fates/<key>.arrow` (rule, value, twin and survivor of every row),
and the shards of an earlier corpus get `_work/returning/<key>.bin` beside it: which of their documents, dropped
until now, are kept again. The writer adds what refinement dropped and turns all of it into ledger rows by columns.

Memory: of the process that decides, 82 bytes x documents of one shard; of a writer 50 bytes x documents of its shard.

    write_fates(out, shards, decisions)
    fates = read_fates(out, "CC-MAIN-00000", min_jaccard=0.8)
    write_ledger(out, "CC-MAIN-00000", read_documents(uri, ["id", "url"]), fates)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from storage.artifact import FileEntry, new_file
from storage.documents import write_parquet
from storage.ledger import FULL_SCHEMA, ROWS_PER_GROUP, Rule, full_path
from storage.uri import join, read_bytes, write_bytes
from tasks.deduplicate.decide import Decisions
from tasks.deduplicate.index import IndexShard

STAGE = "deduplicate"
WORK = "_work"  # everything below it is removed once the shards are written
_ID = pa.binary(16)


@dataclass
class Fates:
    """What becomes of the documents of a shard; the writer changes the rows that refinement drops.

    Attributes:
        rule: `Rule`, uint8 (documents,).
        value, threshold: float64 (documents,), NaN where nothing was measured.
        twin_id, survivor_id: binary(16) (documents,), null where the document is no copy.
    """

    rule: np.ndarray
    value: np.ndarray
    threshold: np.ndarray
    twin_id: pa.Array
    survivor_id: pa.Array

    @property
    def kept(self) -> np.ndarray:
        return self.rule == Rule.KEPT


def write_fates(out: str, shards: Sequence[IndexShard], decisions: Decisions) -> None:
    """Leave each shard's part of the decisions where `read_fates` finds it."""
    for shard in shards:
        rows = slice(shard.first, shard.first + shard.documents)
        dropped = ~decisions.kept[rows]
        columns = {
            "rule": pa.array(decisions.rule[rows]),
            "value": pa.array(decisions.value[rows]),
            "twin_id": _ids(decisions.ids, decisions.twin[rows], dropped),
            "survivor_id": _ids(decisions.ids, decisions.survivor[rows], dropped),
        }
        batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        write_bytes(join(out, WORK, "fates", f"{shard.key}.arrow"), sink.getvalue().to_pybytes())


def _ids(ids: np.ndarray, rows: np.ndarray, present: np.ndarray) -> pa.Array:
    """The ids, uint8 (documents, 16), of some rows as binary(16); null where not `present`."""
    data = ids[np.where(present, rows, 0)]
    bitmap = np.packbits(present, bitorder="little")
    return pa.FixedSizeBinaryArray.from_buffers(_ID, len(rows), [pa.py_buffer(bitmap), pa.py_buffer(data)])


def read_fates(out: str, key: str, min_jaccard: float) -> Fates:
    """The fates of one shard as decided.

    Args:
        min_jaccard: the threshold of duplicates whose similarity was verified, which is their value.
    """
    reader = pa.ipc.open_file(pa.BufferReader(read_bytes(join(out, WORK, "fates", f"{key}.arrow"))))
    rule, value, twin_id, survivor_id = reader.get_batch(0).columns
    values = value.to_numpy().copy()
    return Fates(
        rule=rule.to_numpy().copy(),
        value=values,
        threshold=np.where(np.isnan(values), np.nan, min_jaccard),
        twin_id=twin_id,
        survivor_id=survivor_id,
    )


def write_returning(out: str, key: str, returning: np.ndarray) -> FileEntry:
    """Say which documents of an earlier corpus's shard are to be written again, bool (documents,)."""
    path = _returning_path(key)
    with new_file(out, path) as file:
        file.write(np.packbits(returning).tobytes())
    return FileEntry.of(path, file)


def read_returning(out: str, key: str, num_documents: int) -> np.ndarray:
    """What `write_returning` has written, bool (documents,)."""
    bits = np.frombuffer(read_bytes(join(out, _returning_path(key))), np.uint8)
    return np.unpackbits(bits, count=num_documents).astype(bool)


def _returning_path(key: str) -> str:
    return f"{WORK}/returning/{key}.bin"


def write_ledger(out: str, key: str, identities: Iterable[pa.RecordBatch], fates: Fates) -> FileEntry:
    """Write a shard's ledger, a row for every document.

    Args:
        identities: `id` and `url` of the shard's documents, in batches of any size: the file's bytes are the same.
    """
    batches = _ledger_batches(_regrouped(identities, ROWS_PER_GROUP), fates)
    return write_parquet(out, full_path(key), batches, FULL_SCHEMA, ROWS_PER_GROUP)


def _ledger_batches(identities: Iterable[pa.RecordBatch], fates: Fates) -> Iterator[pa.RecordBatch]:
    first = 0
    for batch in identities:
        rows = slice(first, first + batch.num_rows)
        known = {
            "id": batch.column("id"),
            "url": batch.column("url"),
            "stage": pa.repeat(pa.scalar(STAGE), batch.num_rows),
            "rule": pa.array(fates.rule[rows]),
            "value": pa.array(fates.value[rows], from_pandas=True),  # NaN is null
            "threshold": pa.array(fates.threshold[rows], from_pandas=True),
            "twin_id": fates.twin_id[rows],
            "survivor_id": fates.survivor_id[rows],
        }
        yield pa.RecordBatch.from_arrays(
            [known[field.name] if field.name in known else _empty(field, batch.num_rows) for field in FULL_SCHEMA],
            schema=FULL_SCHEMA,
        )
        first += batch.num_rows
    assert first == len(fates.rule), f"{len(fates.rule)} documents were decided on, {first} are there"


def _empty(field: pa.Field, length: int) -> pa.Array:
    """A column that says nothing of a document in this stage: null, or 0 where there is no null."""
    return pa.nulls(length, field.type) if field.nullable else pa.repeat(pa.scalar(0, field.type), length)


def _regrouped(batches: Iterable[pa.RecordBatch], num_rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of `num_rows`, the last of the rest: pages of a Parquet file follow its batches."""
    waiting: list[pa.RecordBatch] = []
    num_waiting = 0
    for batch in batches:
        while num_waiting + batch.num_rows >= num_rows:
            fitting = num_rows - num_waiting
            yield _joined([*waiting, batch.slice(0, fitting)])
            batch, waiting, num_waiting = batch.slice(fitting), [], 0
        if batch.num_rows:
            waiting.append(batch)
            num_waiting += batch.num_rows
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]

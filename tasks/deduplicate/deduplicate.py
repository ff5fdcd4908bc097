"""Deduplicate documents: sign every shard, decide over all, write the survivors and everyone's fate.

In: document shards (Parquet). Out: `signatures/<shard>.parquet` (id, crawl, characters, exact digest, band hashes),
`documents/<shard>.parquet` with the survivors as they came, and `ledger/<shard>.parquet` with a row for every
document: kept, or dropped with the twin it is a copy of and the survivor that stands for both. Signing and writing
are mapped over shards; only the decision (`tasks.deduplicate.cluster`) sees all documents, as numbers.

Method: Swallow's (MinHash over character 5-grams, any shared bucket), with clusters and a stated survivor; see
Broder 1997 for MinHash and Leskovec et al., Mining of Massive Datasets, section 3.4, for banding.

    outcome = deduplicate(["runs/curate/x-0123/documents/a.parquet"], DeduplicateConfig(), out=..., executor=...)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from storage.artifact import Outcome
from storage.documents import count_documents, document_schema, read_documents, write_documents, write_parquet
from storage.ledger import LedgerRow, Rule, full_path, write_full
from storage.uri import join, read_bytes, write_bytes
from tasks.deduplicate.cluster import Decisions, decide, survivor_rank
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.signatures import SCHEME, Signer, exact_digest
from tasks.meter import advance
from tasks.shards import ExecutorConfig, Progress, Shard, ShardRecord, combine, map_shards, part_of

STAGE = "deduplicate"


@dataclass(frozen=True)
class SignShard:
    """One shard to sign."""

    key: str
    documents: str
    out: str
    ngram: int
    bands: int
    rows: int


@dataclass(frozen=True)
class WriteShard:
    """One shard to write: its documents are rows `first` and on of the decisions under `out`."""

    key: str
    documents: str
    out: str
    first: int


def deduplicate(
    documents: Sequence[str],
    config: DeduplicateConfig,
    *,
    out: str,
    executor: ExecutorConfig,
    progress: Progress | None = None,
) -> Outcome:
    """Keep one document of every cluster of copies.

    Args:
        documents: URIs of document shards; file names are unique and name the shards.

    Returns:
        counts `documents` (read), `kept`, `dropped`, `exact_duplicates`, `near_duplicates`, `clusters` (with two or
        more documents), `characters` (kept); documents = kept + dropped.

    Raises:
        ValueError: there are no documents, or two have the same id.
    """
    keys = [uri.rsplit("/", 1)[-1].removesuffix(".parquet") for uri in documents]
    sign = [
        Shard(f"sign-{key}", SignShard(key, uri, out, config.ngram, config.bands, config.rows))
        for key, uri in zip(keys, documents, strict=True)
    ]
    steps = 2 * len(documents)  # each shard is signed, and written when all are decided
    signed = map_shards(sign_shard, sign, out=out, executor=executor, progress=part_of(progress, 0, steps))
    firsts = np.cumsum([0] + [record.counts["documents"] for record in signed])
    if firsts[-1] == 0:
        raise ValueError(f"there are no documents in the {len(documents)} shards to deduplicate")
    decisions, ids = _decide(signed, config, out)
    write_bytes(_decisions_uri(out), _pack(decisions, ids))
    write = [
        Shard(f"write-{key}", WriteShard(key, uri, out, int(first)))
        for key, uri, first in zip(keys, documents, firsts[:-1], strict=True)
    ]
    progress = part_of(progress, len(documents), steps)
    written = map_shards(write_shard, write, out=out, executor=executor, progress=progress)
    outcome = combine([*signed, *written])
    sizes = np.unique(decisions.survivor, return_counts=True)[1]
    outcome.counts = {
        "documents": int(firsts[-1]),
        "kept": int(decisions.kept.sum()),
        "dropped": int((~decisions.kept).sum()),
        "exact_duplicates": int(decisions.exact.sum()),
        "near_duplicates": int((~decisions.kept & ~decisions.exact).sum()),
        "clusters": int((sizes > 1).sum()),
        "characters": outcome.counts["characters"],
    }
    largest, how_many = np.unique(sizes, return_counts=True)
    outcome.details = {
        "scheme": SCHEME,
        "cluster_sizes": {str(size): int(count) for size, count in zip(largest, how_many, strict=True)},
    }
    return outcome


def sign_shard(shard: SignShard) -> ShardRecord:
    """Compute the signatures of one shard; counts `documents`."""
    signer = Signer(ngram=shard.ngram, bands=shard.bands, rows=shard.rows)
    schema = _signature_schema(shard.bands)
    count, total = 0, count_documents(shard.documents)

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal count
        for batch in read_documents(shard.documents, ["id", "crawl", "num_characters", "text"]):
            texts = batch.column("text").to_pylist()
            hashes = np.concatenate([signer.bands_of(text) for text in texts]) if texts else np.empty(0, np.uint64)
            count += batch.num_rows
            advance(count / total, documents=batch.num_rows)
            yield pa.RecordBatch.from_arrays(
                [
                    batch.column("id"),
                    batch.column("crawl"),
                    batch.column("num_characters"),
                    pa.array([exact_digest(text) for text in texts], pa.binary(16)),
                    pa.FixedSizeListArray.from_arrays(pa.array(hashes, pa.uint64()), shard.bands),
                ],
                schema=schema,
            )

    entry = write_parquet(shard.out, f"signatures/{shard.key}.parquet", batches(), schema)
    return ShardRecord(f"sign-{shard.key}", [entry], {"documents": count})


def write_shard(shard: WriteShard) -> ShardRecord:
    """Write one shard's survivors and ledger rows; counts `kept` and `characters`."""
    decisions, ids = _unpack(read_bytes(_decisions_uri(shard.out)))
    kept = decisions.kept
    rows: list[LedgerRow] = []
    counts = {"kept": 0, "characters": 0}
    schema = document_schema()

    def survivors() -> Iterator[pa.RecordBatch]:
        first, total = shard.first, count_documents(shard.documents)
        for batch in read_documents(shard.documents):
            span = range(first, first + batch.num_rows)
            rows.extend(
                _fate(row, url, decisions, ids) for row, url in zip(span, batch.column("url").to_pylist(), strict=True)
            )
            chosen = batch.filter(pa.array(kept[first : first + batch.num_rows]))
            counts["kept"] += chosen.num_rows
            counts["characters"] += sum(chosen.column("num_characters").to_pylist())
            first += batch.num_rows
            advance((first - shard.first) / total, kept=chosen.num_rows)
            yield chosen

    for batch in read_documents(shard.documents):
        schema = batch.schema
        break
    documents = write_documents(shard.out, f"documents/{shard.key}.parquet", survivors(), schema)
    ledger = write_full(shard.out, full_path(shard.key), rows)
    return ShardRecord(f"write-{shard.key}", [documents, ledger], counts)


def _fate(row: int, url: str | None, decisions: Decisions, ids: list[bytes]) -> LedgerRow:
    survivor, twin = int(decisions.survivor[row]), int(decisions.twin[row])
    if survivor == row:
        return LedgerRow(ids[row], url, STAGE, Rule.KEPT)
    rule = Rule.EXACT_DUPLICATE if decisions.exact[row] else Rule.NEAR_DUPLICATE
    return LedgerRow(ids[row], url, STAGE, rule, twin_id=ids[twin], survivor_id=ids[survivor])


def _decide(signed: Sequence[ShardRecord], config: DeduplicateConfig, out: str) -> tuple[Decisions, list[bytes]]:
    """Read all signatures and decide."""
    batches = [batch for record in signed for batch in read_documents(join(out, record.files[0].path))]
    table = pa.Table.from_batches(batches)
    ids: list[bytes] = table.column("id").to_pylist()
    if len(set(ids)) != len(ids):
        raise ValueError("two documents have the same id: the same WARC file was read twice")
    exact = np.frombuffer(b"".join(table.column("exact").to_pylist()), dtype=np.uint64).reshape(-1, 2)
    groups = np.unique(exact, axis=0, return_inverse=True)[1].reshape(-1)
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in table.column("bands").chunks])
    rank = survivor_rank(
        [crawl or "unknown" for crawl in table.column("crawl").to_pylist()],
        table.column("num_characters").to_numpy(),
        ids,
    )
    return decide(groups, flat.reshape(-1, config.bands), rank), ids


def _signature_schema(bands: int) -> pa.Schema:
    return pa.schema(
        [
            pa.field("id", pa.binary(16), nullable=False),
            pa.field("crawl", pa.string()),
            pa.field("num_characters", pa.int64(), nullable=False),
            pa.field("exact", pa.binary(16), nullable=False),
            pa.field("bands", pa.list_(pa.uint64(), bands), nullable=False),
        ],
        metadata={"scheme": SCHEME},
    )


def _decisions_uri(out: str) -> str:
    return join(out, "_decisions.arrow")


def _pack(decisions: Decisions, ids: list[bytes]) -> bytes:
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array(decisions.survivor),
            pa.array(decisions.twin),
            pa.array(decisions.exact),
            pa.array(ids, pa.binary(16)),
        ],
        names=["survivor", "twin", "exact", "id"],
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def _unpack(data: bytes) -> tuple[Decisions, list[bytes]]:
    table = pa.ipc.open_file(pa.BufferReader(data)).read_all()
    decisions = Decisions(
        survivor=table.column("survivor").to_numpy(),
        twin=table.column("twin").to_numpy(),
        exact=table.column("exact").to_numpy(),
    )
    return decisions, table.column("id").to_pylist()

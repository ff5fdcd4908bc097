"""Deduplicate documents: sign every shard, decide over all, write the survivors, refined, and everyone's fate.

In: document shards (Parquet). Out: `signatures/<shard>.parquet` (id, crawl, host, characters, exact digest, band
hashes); `boilerplate/<range>.parquet` with the lines that the pages of a host share (`tasks.deduplicate.host_lines`);
and what `tasks.deduplicate.survivors` writes: the survivors' documents, refined as `tasks.refine` says, and a ledger
row for every document: kept, dropped with the twin it is a copy of and the survivor that stands for both, or dropped
as it was refined. Signing, counting lines and writing are mapped over shards; only the decision
(`tasks.deduplicate.cluster`) sees all documents, as numbers.

Method: Swallow's (MinHash over character 5-grams, any shared bucket), with clusters and a stated survivor; see
Broder 1997 for MinHash and Leskovec et al., Mining of Massive Datasets, section 3.4, for banding. Hosts are filtered
and texts modified after it, as the Swallow Corpus paper orders them.

    outcome = deduplicate(uris, DeduplicateConfig(), RefineConfig(), out=..., executor=...)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from storage.artifact import Outcome
from storage.documents import count_documents, read_documents, write_parquet
from storage.uri import join
from tasks.deduplicate.cluster import Decisions, decide, survivor_rank
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.host_lines import find_boilerplate, forget_counts
from tasks.deduplicate.signatures import SCHEME, Signer, exact_digest
from tasks.deduplicate.survivors import WriteShard, write_decisions, write_shard
from tasks.meter import advance
from tasks.refine.boilerplate import host_key
from tasks.refine.config import RefineConfig
from tasks.refine.contamination import merge_tallies
from tasks.refine.refine import COUNTS, DROPPING, Refiner
from tasks.shards import ExecutorConfig, Progress, Shard, ShardRecord, combine, map_shards, part_of

REFINE_DEFAULTS = RefineConfig()


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
class Decided:
    """What is decided over all documents, and the key of each one's host (`host_key`), uint64 (documents,)."""

    decisions: Decisions
    ids: pa.Array
    hosts: np.ndarray


def deduplicate(
    documents: Sequence[str],
    config: DeduplicateConfig,
    refine: RefineConfig = REFINE_DEFAULTS,
    *,
    out: str,
    executor: ExecutorConfig,
    progress: Progress | None = None,
) -> Outcome:
    """Keep one document of every cluster of copies, and refine what is kept.

    Args:
        documents: URIs of document shards; file names are unique and name the shards.

    Returns:
        counts `documents` (read), `kept`, `dropped`, `exact_duplicates`, `near_duplicates`, `dropped_<rule>` for each
        rule of refinement, `clusters` (with two or more documents), `characters` (kept), `boilerplate_found` (distinct
        lines), and what refinement cut, replaced and masked; documents = kept + dropped. Details: `refined`, of how
        many documents it did each, and `contamination`, the table by benchmark.

    Raises:
        FileNotFoundError, ValueError: a list or benchmark that `refine` names is missing or unreadable.
        ValueError: there are no documents, or two have the same id.
    """
    Refiner(refine)  # a missing list should fail here, not after all is signed
    counts_lines = refine.boilerplate.enabled
    steps = (3 if counts_lines else 2) * len(documents)
    keys = [uri.rsplit("/", 1)[-1].removesuffix(".parquet") for uri in documents]
    sign = [
        Shard(f"sign-{key}", SignShard(key, uri, out, config.ngram, config.bands, config.rows))
        for key, uri in zip(keys, documents, strict=True)
    ]
    signed = map_shards(sign_shard, sign, out=out, executor=executor, progress=part_of(progress, 0, steps))
    firsts = np.cumsum([0] + [record.counts["documents"] for record in signed])
    if firsts[-1] == 0:
        raise ValueError(f"there are no documents in the {len(documents)} shards to deduplicate")
    decided = _decide(signed, config, out)
    decisions = decided.decisions
    write_decisions(out, decisions, decided.ids)
    shards = [
        WriteShard(key, uri, out, int(first), refine)
        for key, uri, first in zip(keys, documents, firsts[:-1], strict=True)
    ]
    found: list[ShardRecord] = []
    if counts_lines:
        counting = part_of(progress, len(documents), steps)
        found = find_boilerplate(shards, decided.hosts[decisions.kept], out=out, executor=executor, progress=counting)
    lines = tuple(file.path for record in found for file in record.files)
    write = [Shard(f"write-{shard.key}", replace(shard, boilerplate=lines)) for shard in shards]
    writing = part_of(progress, steps - len(documents), steps)
    written = map_shards(write_shard, write, out=out, executor=executor, progress=writing)
    forget_counts(out)
    return _outcome(decisions, [*signed, *found, *written])


def _outcome(decisions: Decisions, records: Sequence[ShardRecord]) -> Outcome:
    """Files, counts and details of all shards."""
    outcome = combine(records)
    totals = Counter(outcome.counts)
    sizes = np.unique(decisions.survivor, return_counts=True)[1]
    num_documents = len(decisions.survivor)
    outcome.counts = {
        "documents": num_documents,
        "kept": totals["kept"],
        "dropped": num_documents - totals["kept"],
        "exact_duplicates": int(decisions.exact.sum()),
        "near_duplicates": int((~decisions.kept & ~decisions.exact).sum()),
        **{f"dropped_{rule.label}": totals[f"dropped_{rule.label}"] for rule in DROPPING},
        "clusters": int((sizes > 1).sum()),
        "characters": totals["characters"],
        **{name: totals[name] for name in ("boilerplate_found", *COUNTS)},
    }
    largest, how_many = np.unique(sizes, return_counts=True)
    touched: Counter[str] = Counter()
    for record in records:
        touched.update(record.details.get("refined", {}))
    tallies = [record.details["contamination"] for record in records if "contamination" in record.details]
    outcome.details = {
        "scheme": SCHEME,
        "cluster_sizes": {str(size): int(count) for size, count in zip(largest, how_many, strict=True)},
        "refined": {name: touched[name] for name in COUNTS},
        "contamination": merge_tallies(tallies),
    }
    return outcome


def sign_shard(shard: SignShard) -> ShardRecord:
    """Compute the signatures of one shard; counts `documents`."""
    signer = Signer(ngram=shard.ngram, bands=shard.bands, rows=shard.rows)
    schema = _signature_schema(shard.bands)
    count, total = 0, count_documents(shard.documents)

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal count
        for batch in read_documents(shard.documents, ["id", "crawl", "host", "num_characters", "text"]):
            texts = batch.column("text").to_pylist()
            hashes = np.concatenate([signer.bands_of(text) for text in texts]) if texts else np.empty(0, np.uint64)
            count += batch.num_rows
            advance(count / total, documents=batch.num_rows)
            yield pa.RecordBatch.from_arrays(
                [
                    batch.column("id"),
                    batch.column("crawl"),
                    pa.array([host_key(host) for host in batch.column("host").to_pylist()], pa.uint64()),
                    batch.column("num_characters"),
                    pa.array([exact_digest(text) for text in texts], pa.binary(16)),
                    pa.FixedSizeListArray.from_arrays(pa.array(hashes, pa.uint64()), shard.bands),
                ],
                schema=schema,
            )

    entry = write_parquet(shard.out, f"signatures/{shard.key}.parquet", batches(), schema)
    return ShardRecord(f"sign-{shard.key}", [entry], {"documents": count})


def _decide(signed: Sequence[ShardRecord], config: DeduplicateConfig, out: str) -> Decided:
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
    decisions = decide(groups, flat.reshape(-1, config.bands), rank)
    return Decided(decisions, pa.array(ids, pa.binary(16)), table.column("host").to_numpy())


def _signature_schema(bands: int) -> pa.Schema:
    return pa.schema(
        [
            pa.field("id", pa.binary(16), nullable=False),
            pa.field("crawl", pa.string()),
            pa.field("host", pa.uint64(), nullable=False),
            pa.field("num_characters", pa.int64(), nullable=False),
            pa.field("exact", pa.binary(16), nullable=False),
            pa.field("bands", pa.list_(pa.uint64(), bands), nullable=False),
        ],
        metadata={"scheme": SCHEME},
    )

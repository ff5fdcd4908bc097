"""A corpus of planted duplicates, as document shards, and what deduplication made of it.

Of all documents 5 % are exact copies and 20 % near-duplicates of others (`tasks.deduplicate.planted`), each of an
original of its own, with similarities spread evenly over 0.70 to 0.99; a hash decides where each lies. OUT gets
`documents/*.parquet` as curation writes them and `pairs/*.parquet`: of every copy `original` and `copy`, the places of
both in the corpus (rows of all shards, one after another), and their exact Jaccard similarity.

    python -m benchmarks.planted_corpus OUT --documents 100000 --workers 2

`judge` says how many of the pairs were found, and how many of the dropped documents are copies.

A million documents take 2 GB of disk. A shard is a function of its number and the corpus's size and seed: written
again, or by more workers, it is the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.documents import document_id, document_schema, write_documents, write_parquet
from tasks.deduplicate.jaccard import jaccards_of_texts
from tasks.deduplicate.planted import edited, planted_hash, planted_texts
from tasks.shards import ExecutorConfig, Shard, ShardRecord, map_shards

NGRAM = 5
EXACT_SHARE, EDITED_SHARE = 0.05, 0.20
LOWEST, HIGHEST = 0.70, 0.99
MIN_JACCARD = 0.8  # from which a document counts as a copy of another
ROWS_AT_A_TIME = 256
PAIRS_SCHEMA = pa.schema([("original", pa.int64()), ("copy", pa.int64()), ("jaccard", pa.float64())])

_CRAWLS = ("CC-MAIN-2022-05", "CC-MAIN-2023-06", "CC-MAIN-2023-50", "CC-MAIN-2024-10")
_CRAWLED = np.array(["2022-01-16", "2023-01-26", "2023-11-28", "2024-02-20"], "datetime64[ms]")
_FORTNIGHT_MS = 14 * 24 * 3600 * 1000
_DOCUMENTS_PER_HOST = 50


@dataclass(frozen=True)
class PlantedShard:
    """One shard of a corpus of `documents`: those from place `first` up to `last`."""

    key: str
    out: str
    documents: int
    seed: int
    first: int
    last: int


@dataclass(frozen=True)
class Pairs:
    """Places of originals and copies, int64 (pairs,), and their exact similarity, float64 (pairs,)."""

    originals: np.ndarray
    copies: np.ndarray
    jaccards: np.ndarray


@dataclass(frozen=True)
class Quality:
    """`recall_90`, `recall_80`: of the pairs with at least this similarity, those of which one document is dropped.

    `precision`: of the documents dropped, those that have a partner of MIN_JACCARD or more; None where none is.
    """

    documents: int
    kept: int
    recall_90: float | None
    recall_80: float | None
    precision: float | None


def write_corpus(
    out: Path, num_documents: int, *, seed: int = 0, documents_per_shard: int | None = None, workers: int = 1
) -> list[str]:
    """Write a corpus; the paths of its document shards, in order: at least 8, of 20,000 documents at most."""
    documents_per_shard = documents_per_shard or min(20_000, -(-num_documents // 8))
    shards = []
    for first in range(0, num_documents, documents_per_shard):
        key = f"planted-{first // documents_per_shard:05}"
        last = min(first + documents_per_shard, num_documents)
        shards.append(Shard(key, PlantedShard(key, str(out), num_documents, seed, first, last)))
    records = map_shards(write_shard, shards, out=str(out), executor=ExecutorConfig(workers=workers))
    return [str(out / record.files[0].path) for record in records]


def read_pairs(out: Path) -> Pairs:
    """The planted pairs of a corpus."""
    table = pa.concat_tables([pq.read_table(path) for path in sorted((out / "pairs").glob("*.parquet"))])
    return Pairs(*(table.column(name).to_numpy() for name in PAIRS_SCHEMA.names))


def read_oracle(folder: Path, out: Path) -> tuple[list[str], Pairs]:
    """`oracle_dedup_2k_*` as a document shard below `out`, and all its pairs of 0.8 or more, found by brute force."""
    rows = _json_lines(folder / "oracle_dedup_2k_docs.jsonl.gz")
    texts = pa.array([row["text"] for row in rows], pa.string())
    nothing = np.zeros(len(rows), np.int64)
    known: dict[str, Any] = {
        "id": [document_id("oracle", row["id"]) for row in rows],
        "url": [row["url"] for row in rows],
        "text": texts,
        "num_characters": pc.utf8_length(texts).cast(pa.int64()),
        "lines_removed": nothing,
        "characters_removed": nothing,
    }
    schema = document_schema()
    columns = {field.name: known.get(field.name, pa.nulls(len(rows), field.type)) for field in schema}
    write_documents(str(out), "documents/oracle.parquet", pa.table(columns, schema=schema))
    pairs = _json_lines(folder / "oracle_dedup_2k_0.8.jsonl.gz")
    places = {row["id"]: place for place, row in enumerate(rows)}
    originals, copies = (np.array([places[pair[side]] for pair in pairs]) for side in "ab")
    return [str(out / "documents" / "oracle.parquet")], Pairs(
        originals, copies, np.array([pair["jaccard"] for pair in pairs])
    )


def judge(kept: np.ndarray, pairs: Pairs) -> Quality:
    """What keeping these documents, bool (documents,), does to the pairs.

    Args:
        pairs: all with a similarity of MIN_JACCARD or more are among them.
    """
    is_found = ~(kept[pairs.originals] & kept[pairs.copies])
    has_partner = np.zeros(len(kept), bool)
    for side in (pairs.originals, pairs.copies):
        has_partner[side[pairs.jaccards >= MIN_JACCARD]] = True
    return Quality(
        documents=len(kept),
        kept=int(kept.sum()),
        recall_90=_mean(is_found[pairs.jaccards >= 0.9]),
        recall_80=_mean(is_found[pairs.jaccards >= 0.8]),
        precision=_mean(has_partner[~kept]),
    )


def write_shard(shard: PlantedShard) -> ShardRecord:
    """Write the documents and pairs of one shard; counts `documents`."""
    exact, near = int(shard.documents * EXACT_SHARE), int(shard.documents * EDITED_SHARE)
    num_originals = shard.documents - exact - near
    # Item i is text i; behind the originals come the exact copies and the edited ones of texts 0, 1, 2...
    items = np.argsort(planted_hash(shard.seed, np.arange(shard.documents)), kind="stable")
    place_of = np.empty(shard.documents, np.int64)
    place_of[items] = np.arange(shard.documents)
    pairs = []

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(shard.first, shard.last, ROWS_AT_A_TIME):
            places = np.arange(first, min(first + ROWS_AT_A_TIME, shard.last))
            item = items[places]
            is_copy, is_edited = item >= num_originals, item >= num_originals + exact
            number = np.where(is_copy, item - num_originals, item)
            texts, jaccards = _texts(number, is_edited, shard.seed)
            originals = place_of[number[is_copy]]
            pairs.append(pa.record_batch([originals, places[is_copy], jaccards[is_copy]], schema=PAIRS_SCHEMA))
            yield _rows(places, texts, shard)

    documents = write_documents(shard.out, f"documents/{shard.key}.parquet", batches(), document_schema())
    truth = write_parquet(shard.out, f"pairs/{shard.key}.parquet", pairs, PAIRS_SCHEMA)
    return ShardRecord(shard.key, [documents, truth], {"documents": shard.last - shard.first})


def _texts(numbers: np.ndarray, is_edited: np.ndarray, seed: int) -> tuple[pa.StringArray, np.ndarray]:
    """These texts, edited where wanted, and their similarity to what they were."""
    originals = planted_texts(numbers, seed)
    texts, jaccards = originals.to_arrow(), np.ones(len(numbers))
    chosen = np.flatnonzero(is_edited)
    if len(chosen):
        keys = planted_hash(seed + 1, numbers[chosen])
        wanted = LOWEST + (HIGHEST - LOWEST) * ((keys >> np.uint64(11)) * 2.0**-53)
        copies = edited(planted_texts(numbers[chosen], seed), wanted, NGRAM, keys).to_arrow()
        jaccards[chosen] = jaccards_of_texts(texts.take(pa.array(chosen)), copies, NGRAM)
        order = np.arange(len(numbers))
        order[chosen] = len(numbers) + np.arange(len(chosen))
        texts = pa.concat_arrays([texts, copies]).take(pa.array(order))
    return texts, jaccards


def _rows(places: np.ndarray, texts: pa.StringArray, shard: PlantedShard) -> pa.RecordBatch:
    """Documents of these texts at these places."""
    chance = planted_hash(shard.seed + 2, places)
    crawl = (chance % np.uint64(len(_CRAWLS))).astype(np.int64)
    num_hosts = np.uint64(1 + shard.documents // _DOCUMENTS_PER_HOST)
    hosts = [f"site{host}.example.jp" for host in (chance >> np.uint64(8)) % num_hosts]
    fetched_at = _CRAWLED[crawl] + ((chance >> np.uint64(16)) % np.uint64(_FORTNIGHT_MS)).astype("timedelta64[ms]")
    ids = np.stack([chance, places.astype(np.uint64)], axis=1)
    number = len(places)
    columns = {
        "id": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), number, [None, pa.py_buffer(ids)]),
        "url": [f"https://{host}/{place}" for host, place in zip(hosts, places, strict=True)],
        "host": hosts,
        "crawl": [_CRAWLS[which] for which in crawl],
        "warc": pa.nulls(number, pa.string()),
        "offset": places.astype(np.uint64),
        "fetched_at": pa.array(fetched_at, pa.timestamp("ms", tz="UTC")),
        "charset": ["utf-8"] * number,
        "language_score": np.ones(number),
        "text": texts,
        "num_characters": pc.utf8_length(texts).cast(pa.int64()),
        "lines_removed": np.zeros(number, np.int64),
        "characters_removed": np.zeros(number, np.int64),
    }
    return pa.RecordBatch.from_pydict(columns, schema=document_schema())


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _json_lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args(arguments)
    shards = write_corpus(options.out, options.documents, seed=options.seed, workers=options.workers)
    print(f"{options.documents:,} documents in {len(shards)} shards below {options.out}/documents")


if __name__ == "__main__":
    main()

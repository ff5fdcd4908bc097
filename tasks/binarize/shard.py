"""One shard of documents to one part: tokens, and a table that says what each document is.

In: a shard of the run's corpus, or a JSONL or Parquet file from elsewhere. Out, below `_parts/`: `<key>.bin`
and `<key>.idx` with every document that holds text, in reading order, and `<key>.parquet` with a row for
each: id, hash of the text, tokens, UTF-8 bytes, split hash, and the text itself where it is held out.
Parts know nothing of one another; what is kept of them is decided when they are merged
(`tasks.binarize.merge`).

    record = binarize_shard(BinarizeShard(key="corpus.00000", ...))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import pyarrow as pa
import xxhash

from storage.corpus import CorpusShard, corpus_texts, count_corpus
from storage.documents import ROWS_PER_GROUP, read_source, read_source_with_urls, write_parquet
from storage.held_out import split_hash, validation_threshold
from storage.tokens import TokenWriter, token_dtype
from storage.tombstones import Tombstones
from tasks.meter import advance
from tasks.shards import ShardRecord
from tokenizer.encoder import Encoder, load_encoder

PARTS = "_parts"
NOTHING_TAKEN_DOWN = Tombstones()
PART_SCHEMA = pa.schema(
    [
        ("id", pa.binary(16)),
        ("text_hash", pa.binary(16)),
        ("num_tokens", pa.int32()),
        ("num_bytes", pa.int64()),
        ("split_hash", pa.uint64()),
        ("text", pa.string()),
    ]
)


@dataclass(frozen=True)
class BinarizeShard:
    """What a worker needs to know of one shard.

    Attributes:
        documents: a shard of the run's corpus, or the URI of a JSONL or Parquet file from elsewhere.
        source: name of the source, from which ids of documents from elsewhere are made.
        tokenizer: folder or URI of the tokenizer.
        tombstones: what is left out of a file from elsewhere; the corpus was curated under them.
    """

    key: str
    out: str
    documents: CorpusShard | str
    source: str
    tokenizer: str
    validation_ratio: float
    tombstones: Tombstones = NOTHING_TAKEN_DOWN

    @property
    def uri(self) -> str:
        """Of the file of documents."""
        return self.documents if isinstance(self.documents, str) else self.documents.uri


def part_path(key: str) -> str:
    """Where a part lies in the artifact, without its suffixes."""
    return f"{PARTS}/{key}"


def binarize_shard(shard: BinarizeShard) -> ShardRecord:
    """Tokenise one shard; counts `documents_read`, `documents_empty` and `documents_taken_down`."""
    encoder = _encoder(shard.tokenizer)
    counts = {"documents_read": 0, "documents_empty": 0, "documents_taken_down": 0}
    prefix = part_path(shard.key)
    with TokenWriter(shard.out, prefix, token_dtype(encoder.vocab_size)) as tokens:
        rows = _tokenised(shard, encoder, tokens, counts)
        table = write_parquet(shard.out, f"{prefix}.parquet", _batches(rows), PART_SCHEMA)
    return ShardRecord(shard.key, [*tokens.entries, table], counts, {"vocab_size": encoder.vocab_size})


def _tokenised(
    shard: BinarizeShard, encoder: Encoder, tokens: TokenWriter, counts: dict[str, int]
) -> Iterator[dict[str, Any]]:
    """A row for each document with text, whose tokens go to `tokens` on the way."""
    total = None if isinstance(shard.documents, str) else count_corpus(shard.documents)
    held_out_below = validation_threshold(shard.validation_ratio)
    for document_id, url, text in _documents(shard):
        counts["documents_read"] += 1
        advance(counts["documents_read"] / total if total else 0.0, documents_read=1)
        if not text.strip():
            counts["documents_empty"] += 1
            continue
        if shard.tombstones.matches(url):
            counts["documents_taken_down"] += 1
            continue
        encoded = _utf8(text, document_id, shard.uri)
        ids = encoder.document(text)
        tokens.add_document(ids)
        position = split_hash(document_id)
        yield {
            "id": document_id,
            "text_hash": xxhash.xxh3_128_digest(encoded),
            "num_tokens": len(ids),
            "num_bytes": len(encoded),
            "split_hash": position,
            "text": text if position < held_out_below else None,
        }


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    while some := list(islice(rows, ROWS_PER_GROUP)):
        yield pa.RecordBatch.from_pylist(some, PART_SCHEMA)


@lru_cache(maxsize=1)
def _encoder(tokenizer: str) -> Encoder:
    """The encoder of a tokenizer folder; loaded once per process, whatever number of shards it takes."""
    return load_encoder(tokenizer)


def _documents(shard: BinarizeShard) -> Iterator[tuple[bytes, str | None, str]]:
    """(id, url, text); the url only where tombstones may ask for it."""
    if not isinstance(shard.documents, str):
        return ((id, None, text) for id, text in corpus_texts(shard.documents))
    if shard.tombstones:
        return read_source_with_urls([shard.documents], shard.source)
    return ((id, None, text) for id, text in read_source([shard.documents], shard.source))


def _utf8(text: str, document_id: bytes, uri: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{uri}: document {document_id.hex()} is not valid Unicode at character {error.start} "
            f"({error.reason}): repair or remove it"
        ) from error

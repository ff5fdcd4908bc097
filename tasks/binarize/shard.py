"""One shard of documents to one part: tokens, and a table that says what each document is.

In: a shard of the run's corpus, or a file from elsewhere (`storage.sources`). Out, below `_parts/`: `<key>.bin`
and `<key>.idx` with every document that holds text, in reading order, and `<key>.parquet` with a row for
each: id, hash of the text, tokens, UTF-8 bytes, split hash, the place it was read from (number of the file in its
source, row of the file), and the text itself where it is held out. Parts know nothing of one another; what is kept of
them is decided when they are merged (`tasks.binarize.merge`).

Documents pass in batches of at most `BATCH_BYTES` of text, or of one document where that is longer. Memory does not
grow with the shard: it is what the encoder's tables and the libraries take (250 MiB), what is being read (a row group
of Parquet, or some lines), and about seven bytes for each byte of the longest document, or of `BATCH_BYTES` (200 MiB
for a document of 30 MB).

    record = binarize_shard(BinarizeShard(key="corpus.00000", ...))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from storage.corpus import CorpusShard, count_corpus, read_corpus_rows
from storage.documents import write_parquet
from storage.held_out import split_hash, validation_threshold
from storage.sources import AUTO, SourceLayout, Tally, read_batches
from storage.stretches import Stretch
from storage.tokens import TokenWriter, token_dtype
from storage.tombstones import Tombstones
from tasks.meter import advance
from tasks.shards import ShardRecord
from tokenizer.encoder import Encoder, load_encoder

PARTS = "_parts"
BATCH_BYTES = 1 << 20  # of text: with its tokens about what a second-level cache holds
NOTHING_TAKEN_DOWN = Tombstones()
PART_SCHEMA = pa.schema(
    [
        ("id", pa.binary(16)),
        ("text_hash", pa.binary(16)),
        ("num_tokens", pa.int32()),
        ("num_bytes", pa.int64()),
        ("split_hash", pa.uint64()),
        ("file", pa.int32()),
        ("row", pa.int64()),
        ("text", pa.string()),
    ]
)
_READ_ROWS = 128  # of the corpus: a megabyte of web pages, which stays in the cache until it is encoded


@dataclass(frozen=True)
class BinarizeShard:
    """What a worker needs to know of one shard.

    Attributes:
        documents: a shard of the run's corpus, or the URI of a file from elsewhere.
        file: its number among the source's files, from 0.
        layout: how a file from elsewhere is read.
        stretch: the part of a file from elsewhere that the shard is, None for all of it.
        source: name of the source, from which ids of documents from elsewhere are made.
        tokenizer: folder or URI of the tokenizer.
        tombstones: what is left out of a file from elsewhere; the corpus was curated under them.
    """

    key: str
    out: str
    documents: CorpusShard | str
    file: int
    source: str
    tokenizer: str
    validation_ratio: float
    layout: SourceLayout = AUTO
    stretch: Stretch | None = None
    tombstones: Tombstones = NOTHING_TAKEN_DOWN

    @property
    def uri(self) -> str:
        """Of the file of documents."""
        return self.documents if isinstance(self.documents, str) else self.documents.uri


def part_path(key: str) -> str:
    """Where a part lies in the artifact, without its suffixes."""
    return f"{PARTS}/{key}"


def binarize_shard(shard: BinarizeShard) -> ShardRecord:
    """Tokenise one shard.

    Returns:
        counts `documents_read`, and of these `_empty` and `_taken_down`; besides, records of a file from elsewhere that
        are no documents of the source: `documents_not_chosen`, `documents_unreadable` (`storage.sources.Tally`).
    """
    encoder = _encoder(shard.tokenizer)
    tally = Tally()
    counts = Counter(documents_read=0, documents_empty=0, documents_taken_down=0)
    prefix = part_path(shard.key)
    with TokenWriter(shard.out, prefix, token_dtype(encoder.vocab_size)) as tokens:
        rows = (_tokenised(batch, shard, encoder, tokens) for batch in _with_text(shard, tally, counts))
        table = write_parquet(shard.out, f"{prefix}.parquet", rows, PART_SCHEMA)
    counts.update(documents_not_chosen=tally.not_chosen, documents_unreadable=tally.unreadable)
    return ShardRecord(shard.key, [*tokens.entries, table], dict(counts), {"vocab_size": encoder.vocab_size})


def _with_text(shard: BinarizeShard, tally: Tally, counts: Counter[str]) -> Iterator[pa.RecordBatch]:
    """The shard's documents but those without text and those taken down, which are counted."""
    total = None if isinstance(shard.documents, str) else count_corpus(shard.documents)
    for read in _documents(shard, tally):
        for batch in _bounded(read):
            _check_utf8(batch, shard.uri)
            counts["documents_read"] += batch.num_rows
            text = batch.column("text")
            empty = pc.or_(pc.equal(pc.binary_length(text), 0), pc.utf8_is_space(text))
            dropped = empty.to_numpy(zero_copy_only=False)
            counts["documents_empty"] += int(dropped.sum())
            if shard.tombstones:
                urls = batch.column("url").to_pylist()
                taken_down = ~dropped & np.fromiter(map(shard.tombstones.matches, urls), bool, len(urls))
                counts["documents_taken_down"] += int(taken_down.sum())
                dropped = dropped | taken_down
            yield batch.filter(pa.array(~dropped)) if dropped.any() else batch
            advance(counts["documents_read"] / total if total else 0.0, documents_read=batch.num_rows)


def _tokenised(batch: pa.RecordBatch, shard: BinarizeShard, encoder: Encoder, tokens: TokenWriter) -> pa.RecordBatch:
    """The part's rows of some documents, whose tokens go to `tokens`."""
    ids, text = batch.column("id"), batch.column("text")
    encoded = encoder.documents(text)
    tokens.add_many(encoded.ids, encoded.bounds)
    positions = np.fromiter(map(split_hash, ids.to_pylist()), np.uint64, len(ids))
    held_out = positions < np.uint64(validation_threshold(shard.validation_ratio))
    return pa.record_batch(
        [
            ids,
            _text_hashes(text),
            pa.array(np.diff(encoded.bounds), pa.int32()),
            pc.cast(pc.binary_length(text), pa.int64()),
            pa.array(positions),
            pa.array(np.full(len(ids), shard.file, np.int32)),
            batch.column("row"),
            pc.if_else(pa.array(held_out), text, pa.scalar(None, pa.string())),
        ],
        schema=PART_SCHEMA,
    )


def _bounded(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in pieces of at most `BATCH_BYTES` of text, or of one document."""
    bounds = _bounds(batch.column("text"))
    first = 0
    while first < batch.num_rows:
        end = int(np.searchsorted(bounds, bounds[first] + BATCH_BYTES, side="right")) - 1
        end = max(end, first + 1)
        yield batch.slice(first, end - first)
        first = end


def _bounds(text: pa.StringArray) -> np.ndarray:
    """(texts + 1,): text i is bytes bounds[i] to bounds[i + 1] of the array's last buffer."""
    return np.frombuffer(text.buffers()[1], np.int32)[text.offset : text.offset + len(text) + 1].astype(np.int64)


def _text_hashes(text: pa.StringArray) -> pa.Array:
    """xxh3-128 of the UTF-8 of each text. For web pages the loop takes 2 % of the time of their encoding."""
    octets = memoryview(text.buffers()[2] or b"")
    digests = b"".join(xxhash.xxh3_128_digest(octets[first:end]) for first, end in pairwise(_bounds(text).tolist()))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(text), [None, pa.py_buffer(digests)])


def _check_utf8(batch: pa.RecordBatch, uri: str) -> None:
    """Arrow takes what a Parquet file calls a string on trust."""
    text = batch.column("text")
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        octets = memoryview(text.buffers()[2])
        for id, (first, end) in zip(batch.column("id").to_pylist(), pairwise(_bounds(text).tolist()), strict=True):
            try:
                str(octets[first:end], "utf-8")
            except UnicodeDecodeError as error:
                what = f"document {id.hex()} is not UTF-8 at byte {error.start} ({error.reason})"
                raise ValueError(f"{uri}: {what}: repair or remove it") from error
        raise


@lru_cache(maxsize=1)
def _encoder(tokenizer: str) -> Encoder:
    """The encoder of a tokenizer folder; loaded once per process, whatever number of shards it takes."""
    return load_encoder(tokenizer)


def _documents(shard: BinarizeShard, tally: Tally) -> Iterator[pa.RecordBatch]:
    """Batches with `id`, `text` and `row`; `url` too where tombstones may ask for it."""
    if isinstance(shard.documents, str):
        with_urls = bool(shard.tombstones)
        place = (shard.documents, shard.source, shard.layout)
        yield from read_batches(*place, tally=tally, with_urls=with_urls, stretch=shard.stretch)
        return
    for batch, rows in read_corpus_rows(shard.documents, ["id", "text"], _READ_ROWS):
        yield batch.append_column("row", pa.array(rows, pa.int64()))

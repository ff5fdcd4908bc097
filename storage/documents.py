"""Documents on disk: Parquet, zstd, in reading order.

A document is one row: who it is (`id`), where it came from (`url`, `host`, `crawl`, `warc`, `offset`,
`fetched_at`, `charset`), what it says (`text`) and what was measured on it (`language_score`, the quality
metrics, what the Japanese-line step took away). Rows are never changed in place: later stages add decisions
beside them.

The bytes of a file depend only on its rows: row groups are cut at exact row counts however the batches
arrive, and nothing of time or host is written (the Parquet library's version is).

Text of other origin (English web text, Wikipedia dumps) comes in through `storage.sources`.

    entry = write_documents("runs/curate/x-0123", "documents/CC-MAIN-00000.parquet", batches, schema)
    for id, text in read_texts("runs/curate/x-0123/documents/CC-MAIN-00000.parquet"): ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from storage.artifact import FileEntry, new_file
from storage.uri import filesystem

ROWS_PER_GROUP = 2048  # about 12 MB of text at the 2,000 characters of a typical page
_ROWS_TO_TAKE_FROM = 256  # at a time: few of them are wanted

ORIGIN_FIELDS = (
    pa.field("id", pa.binary(16), nullable=False),
    pa.field("url", pa.string()),
    pa.field("host", pa.string()),
    pa.field("crawl", pa.string()),
    pa.field("warc", pa.string()),
    pa.field("offset", pa.uint64()),
    pa.field("fetched_at", pa.timestamp("ms", tz="UTC")),
    pa.field("charset", pa.string()),
    pa.field("language_score", pa.float64()),
    pa.field("text", pa.string(), nullable=False),
    pa.field("num_characters", pa.int64(), nullable=False),
    pa.field("lines_removed", pa.int64(), nullable=False),
    pa.field("characters_removed", pa.int64(), nullable=False),
)


def document_schema(metrics: Sequence[pa.Field] = ()) -> pa.Schema:
    """The columns every document has, then one column per quality metric."""
    return pa.schema([*ORIGIN_FIELDS, *metrics])


def document_id(source: str, key: str | int) -> bytes:
    """16 bytes that name a document: xxh3-128 of (WARC name, offset), or of (source, id in the source)."""
    return xxhash.xxh3_128_digest(f"{source}\0{key}".encode())


def write_documents(
    artifact: str,
    path: str,
    documents: pa.Table | Iterable[pa.RecordBatch],
    schema: pa.Schema | None = None,
) -> FileEntry:
    """Write one Parquet file of documents, streaming.

    Args:
        schema: of the file; may be left out for a table, needed for batches, which can be none at all.
    """
    if isinstance(documents, pa.Table):
        schema = schema or documents.schema
        documents = documents.to_batches()
    if schema is None:
        raise ValueError(f"{path}: batches need the schema of the file; pass document_schema(...)")
    return write_parquet(artifact, path, documents, schema)


def write_parquet(
    artifact: str,
    path: str,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    rows_per_group: int = ROWS_PER_GROUP,
) -> FileEntry:
    """Write batches as one zstd Parquet file in row groups of `rows_per_group` rows, the last of the rest."""
    with new_file(artifact, path) as file:
        sink = pa.PythonFile(file, mode="w")
        with pq.ParquetWriter(sink, schema, compression="zstd", version="2.6") as writer:
            waiting: list[pa.RecordBatch] = []
            num_waiting = 0
            for batch in batches:
                while num_waiting + batch.num_rows >= rows_per_group:
                    fitting = rows_per_group - num_waiting
                    _write_group(writer, [*waiting, batch.slice(0, fitting)], schema)
                    batch, waiting, num_waiting = batch.slice(fitting), [], 0
                if batch.num_rows:
                    waiting.append(batch)
                    num_waiting += batch.num_rows
            if waiting:
                _write_group(writer, waiting, schema)
    return FileEntry.of(path, file)


def read_documents(
    uri: str, columns: Sequence[str] | None = None, batch_rows: int = ROWS_PER_GROUP
) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file in reading order, at most a row group in memory.

    Args:
        columns: the columns wanted, all when left out.
        batch_rows: rows of a batch. Texts in batches that fit into the processor's cache (512 rows, 3 MB) are read in
            two thirds of the time.

    Raises:
        FileNotFoundError: nothing at `uri`.
        ValueError: not a Parquet file, or a column is missing; the message names the file.
    """
    with _open_parquet(uri) as parquet:
        missing = [name for name in columns or () if name not in parquet.schema_arrow.names]
        if missing:
            raise ValueError(
                f"{uri}: no column {', '.join(missing)}; there are {', '.join(parquet.schema_arrow.names)}"
            )
        wanted = None if columns is None else list(columns)
        yield from parquet.iter_batches(batch_size=batch_rows, columns=wanted, use_threads=False)


def take_documents(uri: str, rows: np.ndarray, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Some rows of a Parquet file, in order; row groups without any of them are not read.

    Args:
        rows: their numbers in the file, int64, ascending.

    Raises:
        FileNotFoundError, ValueError: as `read_documents`.
    """
    with _open_parquet(uri) as parquet:
        first = 0
        for group in range(parquet.num_row_groups):
            num_rows = parquet.metadata.row_group(group).num_rows
            if np.searchsorted(rows, first) < np.searchsorted(rows, first + num_rows):
                start = first
                for batch in parquet.iter_batches(_ROWS_TO_TAKE_FROM, [group], list(columns), use_threads=False):
                    wanted = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + batch.num_rows)]
                    if len(wanted):
                        yield batch.take(pa.array(wanted - start))
                    start += batch.num_rows
            first += num_rows


def count_documents(uri: str) -> int:
    """How many rows a Parquet file has, from its footer.

    Raises:
        FileNotFoundError, ValueError: as `read_documents`.
    """
    with _open_parquet(uri) as parquet:
        return parquet.metadata.num_rows


def read_texts(uri: str) -> Iterator[tuple[bytes, str]]:
    """(id, text) of every document in reading order."""
    for batch in read_documents(uri, ["id", "text"]):
        yield from zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True)


def _write_group(writer: pq.ParquetWriter, batches: list[pa.RecordBatch], schema: pa.Schema) -> None:
    table = pa.Table.from_batches(batches, schema)
    writer.write_table(table, row_group_size=max(1, table.num_rows))


@contextmanager
def _open_parquet(uri: str) -> Iterator[pq.ParquetFile]:
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file:
        try:
            parquet = pq.ParquetFile(file, pre_buffer=False)  # which would keep all it has read
        except pa.ArrowInvalid as error:
            raise ValueError(f"{uri}: not a readable Parquet file ({error})") from error
        yield parquet

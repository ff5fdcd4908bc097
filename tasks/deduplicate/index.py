"""The index of a shard: what signing leaves of its documents, and all that deciding over them reads.

In: a document shard (Parquet). Out, below an artifact:

- `index/<key>.parquet`, a row for each document in the shard's order (`ROWS`); the schema's metadata say how it was
  signed;
- `index/<key>.bands`, little endian: a header (`_HEADER`), then for every band 257 int64 bounds, the hashes (uint64)
  ordered by their first (top) byte, and the documents' rows in the shard (uint32) beside them. Hashes that start with
  byte t are those from bounds[t] to bounds[t + 1], so any range of one band is three contiguous reads.

Of one document it takes about 60 bytes of rows and 12 x bands. Memory of signing: (8 x bands + 120) bytes x documents
of the shard, written at its end, three row groups of texts (40 MB at 2,000 characters a document), and 210 MiB for the
process, of which numba and LLVM are 130.

    record = sign_shard(SignShard("a", "runs/curate/x-0123/documents/a.parquet", out, config))
    hashes, rows = read_band(IndexShard("a", out, first=0, documents=20_000), band=0, first_byte=0, last_byte=16)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from storage.artifact import FileEntry, new_file
from storage.documents import count_documents, read_documents
from storage.tombstones import page_of
from storage.uri import filesystem, is_local, join, local_path, read_bytes, size
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.signatures import SCHEME, Signer
from tasks.meter import advance
from tasks.refine.boilerplate import host_key
from tasks.shards import ShardRecord

ROWS = pa.schema(
    [
        pa.field("id", pa.binary(16), nullable=False),
        pa.field("crawl", pa.string()),
        pa.field("host", pa.uint64(), nullable=False),  # `tasks.refine.boilerplate.host_key`
        pa.field("url", pa.uint64(), nullable=False),  # xxh3-64, 0 where there is none
        pa.field("page", pa.uint64(), nullable=False),  # xxh3-64 of `storage.tombstones.page_of`; 0 if not asked for
        pa.field("fetched_at", pa.int64()),  # ms since 1970
        pa.field("num_characters", pa.int64(), nullable=False),
        pa.field("quality", pa.float64()),  # `quality_score` of the documents
        pa.field("exact", pa.binary(16), nullable=False),  # xxh3-128 of the text without white space
    ]
)
MAX_DOCUMENTS = 1 << 32  # of a shard: its rows are uint32
ROWS_AT_A_TIME = 512  # documents: 3 MB of text at 2,000 characters, which stay in a third-level cache
_ROWS_PER_GROUP = 1 << 16
_NEEDED = ("id", "url", "host", "crawl", "text", "num_characters")
_OPTIONAL = ("fetched_at", "quality_score")
_MAGIC = b"hibari bands 1\n"
_HEADER = np.dtype(
    [("magic", "S16"), ("scheme", "S80"), ("ngram", "<i8"), ("bands", "<i8"), ("rows", "<i8"), ("documents", "<i8")]
)
_BOUND, _HASH, _ROW = np.dtype("<i8"), np.dtype("<u8"), np.dtype("<u4")
_NUM_BOUNDS = 257
_REPEATING = ["crawl", "host", "fetched_at"]  # columns that a dictionary makes smaller; the others are hashes
_MAKE_AGAIN = "sign the documents again (`hibari run RUNFILE --force deduplicate`)"


@dataclass(frozen=True)
class SignShard:
    """One shard of documents to sign, and the artifact that its index goes to."""

    key: str
    documents: str
    out: str
    config: DeduplicateConfig


@dataclass(frozen=True)
class IndexShard:
    """The index of one shard below `artifact`; its documents are rows `first` and on of all documents."""

    key: str
    artifact: str
    first: int
    documents: int


def rows_path(key: str) -> str:
    """Where the index has a shard's rows, relative to the artifact."""
    return f"index/{key}.parquet"


def bands_path(key: str) -> str:
    """Where the index has a shard's band hashes, relative to the artifact."""
    return f"index/{key}.bands"


def sign_shard(shard: SignShard) -> ShardRecord:
    """Sign one shard's documents and write its index; counts `documents`.

    Raises:
        FileNotFoundError, ValueError: the documents are missing, damaged, lack a column or a text, or are too many.
    """
    total = count_documents(shard.documents)
    if total > MAX_DOCUMENTS:
        raise ValueError(f"{shard.documents}: {total} documents, {MAX_DOCUMENTS} fit in a shard; split the file")
    config = shard.config
    signer = Signer(config.ngram, config.bands, config.rows, kind=config.signatures)
    hashes = np.empty((config.bands, total), _HASH)
    batches: list[pa.RecordBatch] = []
    first = 0
    for documents in read_documents(shard.documents, _columns(shard.documents), ROWS_AT_A_TIME):
        try:
            signed = signer.sign(documents.column("text"))
        except ValueError as error:
            raise ValueError(f"{shard.documents}, after document {first}: {error}") from error
        last = first + documents.num_rows
        hashes[:, first:last] = signed.bands.T
        batches.append(_rows(documents, signed.exact, config.urls))
        first = last
        advance(first / max(1, total), documents=documents.num_rows)
    files = [write_rows(shard, batches), write_bands(shard, hashes)]
    pa.default_memory_pool().release_unused()
    return ShardRecord(f"sign-{shard.key}", files, {"documents": total})


def read_rows(shard: IndexShard, columns: Sequence[str]) -> pa.Table:
    """Columns of ROWS of every document, in the shard's order.

    Raises:
        FileNotFoundError, ValueError: there is no such index, or it is damaged or has other documents.
    """
    uri = join(shard.artifact, rows_path(shard.key))
    table = pa.Table.from_batches(read_documents(uri, columns), pa.schema([ROWS.field(name) for name in columns]))
    if table.num_rows != shard.documents:
        raise ValueError(f"{uri}: {table.num_rows} rows, expected {shard.documents}; {_MAKE_AGAIN}")
    return table


def read_band(shard: IndexShard, band: int, first_byte: int = 0, last_byte: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of one band that start with bytes `first_byte` up to, not including, `last_byte`.

    Returns:
        uint64 (found,), ordered by their first byte only, and uint32 (found,): the documents' rows in the shard,
        ascending where the first byte is the same.

    Raises:
        FileNotFoundError, ValueError: there is no such index, or it is damaged.
    """
    uri = join(shard.artifact, bands_path(shard.key))
    start = _HEADER.itemsize + band * _band_size(shard.documents)
    bounds = _read(uri, start, _NUM_BOUNDS, _BOUND)
    if bounds[0] != 0 or bounds[-1] != shard.documents or (np.diff(bounds) < 0).any():
        raise ValueError(f"{uri}: band {band} is damaged, or not of {shard.documents} documents; {_MAKE_AGAIN}")
    first, last = int(bounds[first_byte]), int(bounds[last_byte])
    start += bounds.nbytes
    hashes = _read(uri, start + _HASH.itemsize * first, last - first, _HASH)
    start += _HASH.itemsize * shard.documents
    return hashes, _read(uri, start + _ROW.itemsize * first, last - first, _ROW)


def read_bands(shard: IndexShard, hashes: np.ndarray) -> None:
    """Fill uint64 (bands, documents) with all hashes of a shard, by row, in one read."""
    each = (shard.documents,)
    section = np.dtype([("bounds", _BOUND, (_NUM_BOUNDS,)), ("hashes", _HASH, each), ("rows", _ROW, each)])
    data = read_bytes(join(shard.artifact, bands_path(shard.key)))
    sections = np.frombuffer(data, section, len(hashes), offset=_HEADER.itemsize)
    np.put_along_axis(hashes, sections["rows"].astype(np.int64), sections["hashes"], axis=1)


def check_index(shard: IndexShard, config: DeduplicateConfig) -> None:
    """Make sure that an index can be decided over together with others of this configuration.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it was signed in another way (the message says what differs), has other documents, or is damaged.
    """
    uri = join(shard.artifact, bands_path(shard.key))
    header = _read(uri, 0, 1, _HEADER)[0]
    if header["magic"] != _MAGIC:
        raise ValueError(f"{uri}: not the bands of an index; {_MAKE_AGAIN}")
    got = {"scheme": header["scheme"].decode(), **{name: str(header[name]) for name in ("ngram", "bands", "rows")}}
    _compare(uri, got, config)
    size_expected = _HEADER.itemsize + config.bands * _band_size(shard.documents)
    if header["documents"] != shard.documents or size(uri) != size_expected:
        raise ValueError(
            f"{uri}: {header['documents']} documents in {size(uri)} bytes, expected {shard.documents} in "
            f"{size_expected}; {_MAKE_AGAIN}"
        )
    uri = join(shard.artifact, rows_path(shard.key))
    if count_documents(uri) != shard.documents:
        raise ValueError(f"{uri}: {count_documents(uri)} rows, expected {shard.documents}; {_MAKE_AGAIN}")
    metadata = {name.decode(): value.decode() for name, value in (_schema(uri).metadata or {}).items()}
    _compare(uri, metadata, config)


def _compare(uri: str, got: Mapping[str, str], config: DeduplicateConfig) -> None:
    """Raise ValueError unless an index was signed as this configuration does."""
    wanted = _described(config)
    if not config.urls:
        del wanted["pages"]  # may be there; nobody asks
    differing = [
        f"{name} {got[name]}, this run {value}" for name, value in wanted.items() if got.get(name, value) != value
    ]
    if differing:
        raise ValueError(f"{uri} was signed with {'; '.join(differing)}; {_MAKE_AGAIN}")


def _described(config: DeduplicateConfig) -> dict[str, str]:
    """What two indexes must have in common; metadata of the rows."""
    numbers = {name: str(getattr(config, name)) for name in ("ngram", "bands", "rows")}
    return {"scheme": SCHEME, **numbers, "pages": "yes" if config.urls else "no"}


def _rows(documents: pa.RecordBatch, exact: np.ndarray, urls: bool) -> pa.RecordBatch:
    """ROWS of a batch of documents."""
    names = documents.schema.names
    addresses = documents.column("url")
    pages = [page_of(url) if url else None for url in addresses.to_pylist()] if urls else [None] * len(addresses)
    times = documents.column("fetched_at") if "fetched_at" in names else pa.nulls(len(addresses), pa.timestamp("ms"))
    quality = documents.column("quality_score") if "quality_score" in names else pa.nulls(len(addresses))
    columns = {
        "id": documents.column("id"),
        "crawl": documents.column("crawl"),
        "host": pa.array(_host_keys(documents.column("host"))),
        "url": pa.array(_hashed(addresses)),
        "page": pa.array(_hashed(pa.array(pages, pa.string()))),
        "fetched_at": times.cast(pa.timestamp("ms", times.type.tz), safe=False).cast(pa.int64()),
        "num_characters": documents.column("num_characters"),
        "quality": quality.cast(pa.float64()),
        "exact": pa.Array.from_buffers(ROWS.field("exact").type, len(exact), [None, pa.py_buffer(exact)]),
    }
    return pa.RecordBatch.from_arrays([columns[field.name] for field in ROWS], schema=ROWS)


def _hashed(texts: pa.Array) -> np.ndarray:
    """xxh3-64 of each text's UTF-8, uint64 (texts,); 0 where there is none."""
    values = texts.cast(pa.binary()).to_pylist()
    return np.array([xxhash.xxh3_64_intdigest(value) if value else 0 for value in values], np.uint64)


def _host_keys(hosts: pa.Array) -> np.ndarray:
    """`host_key` of each host, uint64 (hosts,), computed once for each that differs."""
    encoded = hosts.dictionary_encode()
    keys = np.array([*map(host_key, encoded.dictionary.to_pylist()), host_key(None)], np.uint64)
    return keys[encoded.indices.fill_null(len(keys) - 1).to_numpy()]


def write_rows(shard: SignShard, batches: list[pa.RecordBatch]) -> FileEntry:
    """Write batches of ROWS, with what they were signed with."""
    table = pa.Table.from_batches(batches, ROWS.with_metadata(_described(shard.config)))
    path = rows_path(shard.key)
    with (
        new_file(shard.out, path) as file,
        pq.ParquetWriter(
            pa.PythonFile(file, mode="w"), table.schema, compression="zstd", version="2.6", use_dictionary=_REPEATING
        ) as writer,
    ):
        writer.write_table(table, row_group_size=_ROWS_PER_GROUP)
    return FileEntry.of(path, file)


def write_bands(shard: SignShard, hashes: np.ndarray) -> FileEntry:
    """Write uint64 (bands, documents), each band ordered by the top byte of its hashes."""
    config, path = shard.config, bands_path(shard.key)
    header = (_MAGIC, SCHEME.encode(), config.ngram, config.bands, config.rows, hashes.shape[1])
    with new_file(shard.out, path) as file:
        file.write(np.array([header], _HEADER))
        for band in hashes:
            first_bytes = (band >> np.uint64(56)).astype(np.uint8)
            order = np.argsort(first_bytes, kind="stable")
            bounds = np.zeros(_NUM_BOUNDS, _BOUND)
            np.cumsum(np.bincount(first_bytes, minlength=_NUM_BOUNDS - 1), out=bounds[1:])
            file.write(bounds)
            file.write(band[order])
            file.write(order.astype(_ROW))
    return FileEntry.of(path, file)


def _band_size(documents: int) -> int:
    return _NUM_BOUNDS * _BOUND.itemsize + documents * (_HASH.itemsize + _ROW.itemsize)


def _read(uri: str, start: int, count: int, dtype: np.dtype) -> np.ndarray:
    """So many numbers from byte `start` on."""
    if not count:
        return np.empty(0, dtype)
    if is_local(uri):
        found = np.fromfile(local_path(uri), dtype, count, offset=start)
    else:
        fs, path = filesystem(uri)
        data = fs.cat_file(path, start=start, end=start + count * dtype.itemsize)
        found = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
    if len(found) != count:
        raise ValueError(f"{uri}: ends before byte {start + count * dtype.itemsize}; {_MAKE_AGAIN}")
    return found


def _columns(documents: str) -> list[str]:
    """What to read of a document shard."""
    return [*_NEEDED, *(name for name in _OPTIONAL if name in _schema(documents).names)]


def _schema(uri: str) -> pa.Schema:
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file:
        return pq.read_schema(file)

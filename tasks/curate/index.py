"""Which records of a crawl are worth fetching, from its columnar index.

In: the crawl's index, some 300 Parquet files of a row per record, sorted by URL. Out: below the artifact,
`_index/<crawl>/records-<n>.parquet`, each with the records of `WARCS_PER_FILE` WARC files in the order of their bytes:
(warc, offset, length). They are a stage's notes, not part of what it makes, and are removed when all is read.

Two steps, each mapped over shards. `find_records` reads six columns of one index file and keeps the records whose
`content_languages` hold a wanted language, with a wanted MIME type and status 200. A row group whose statistics say
that it holds no such record is not read, nor are the places of records in one that turns out to hold none.
`group_records` brings the records of the same WARC files together. A crawl has about 74 million Japanese records
(CC-MAIN-2023-50): neither step has more than one index file's, or one group's, in memory.

    sources = locate_records(list_warcs(config.sources, config.commoncrawl), config.commoncrawl, out, executor)
    offsets, lengths = read_records(sources[0])
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.documents import write_parquet
from storage.uri import filesystem, is_local, join, local_path, read_bytes, remove, write_bytes
from tasks.curate.commoncrawl import crawl_base, list_crawl
from tasks.curate.config import CommonCrawlConfig
from tasks.curate.remote import RemoteFile
from tasks.curate.sources import WarcSource
from tasks.meter import advance
from tasks.shards import ExecutorConfig, Progress, Shard, ShardRecord, map_shards, part_of

logger = logging.getLogger(__name__)

FOLDER = "_index"
WARCS_PER_FILE = 1024
ROWS_PER_GROUP = 16_384
SCHEMA = pa.schema([("warc", pa.int32()), ("offset", pa.int64()), ("length", pa.int64())])

_ORDER = [("warc", "ascending"), ("offset", "ascending"), ("length", "ascending")]
_FILTERS = ["fetch_status", "content_mime_detected", "content_languages"]
_PLACES = ["warc_filename", "warc_record_offset", "warc_record_length"]


@dataclass(frozen=True)
class IndexShard:
    """One index file to look through; `names` is a text file of the WARC files' names, in their order."""

    key: str
    uri: str
    names: str
    out: str
    path: str
    config: CommonCrawlConfig


@dataclass(frozen=True)
class GroupShard:
    """`WARCS_PER_FILE` WARC files from number `first` on whose records, in the files `found`, belong together."""

    key: str
    first: int
    found: tuple[str, ...]
    out: str
    path: str


def locate_records(
    sources: Sequence[WarcSource],
    config: CommonCrawlConfig,
    out: str,
    executor: ExecutorConfig,
    progress: Progress | None = None,
) -> list[WarcSource]:
    """Say of every WARC file of a crawl where the list of its wanted records is, having made that list.

    Args:
        sources: those of no crawl are left as they are.
        out: the artifact that the lists go below.
        progress: told of index files and groups.

    Raises:
        FileNotFoundError, ValueError: a crawl without an index.
        ShardFailedError: an index file cannot be read.
    """
    for crawl in dict.fromkeys(source.crawl for source in sources if source.number is not None):
        names = [source.name for source in sources if source.crawl == crawl and source.number is not None]
        _make_lists(crawl, names, config, out, executor, progress)
    return [
        source if source.number is None else replace(source, records=join(out, _list_path(source.crawl, source.number)))
        for source in sources
    ]


def forget_records(out: str) -> None:
    """Remove the lists, which only reading needed: about 1 GB for a whole crawl."""
    remove(join(out, FOLDER))


def _make_lists(
    crawl: str,
    names: Sequence[str],
    config: CommonCrawlConfig,
    out: str,
    executor: ExecutorConfig,
    progress: Progress | None,
) -> None:
    names_uri = join(out, FOLDER, crawl, "names.txt")
    write_bytes(names_uri, "\n".join(names).encode())
    base, files = crawl_base(config), list_crawl(crawl, "index", config)
    firsts = range(0, len(names), WARCS_PER_FILE)
    finding = []
    for number, path in enumerate(files):
        key, found_path = f"index.{crawl}.{number:05}", f"{FOLDER}/{crawl}/found-{number:05}.parquet"
        finding.append(Shard(key, IndexShard(key, f"{base}/{path}", names_uri, out, found_path, config)))
    logger.info("looking through the %d index files of %s for records in %d WARC files", len(files), crawl, len(names))
    watch = part_of(progress, 0, len(files) + len(firsts))
    records = map_shards(find_records, finding, out=out, executor=executor, progress=watch)
    found = tuple(join(out, record.files[0].path) for record in records)
    grouping = []
    for first in firsts:
        key = f"records.{crawl}.{first:05}"
        grouping.append(Shard(key, GroupShard(key, first, found, out, _list_path(crawl, first))))
    watch = part_of(progress, len(files), len(files) + len(firsts))
    map_shards(group_records, grouping, out=out, executor=executor, progress=watch)


def _list_path(crawl: str, number: int) -> str:
    return f"{FOLDER}/{crawl}/records-{number // WARCS_PER_FILE:05}.parquet"


def find_records(shard: IndexShard) -> ShardRecord:
    """Write the wanted records of one index file, in order of WARC file and offset.

    Raises:
        ValueError: not an index file.
    """
    numbers = {name: number for number, name in enumerate(read_bytes(shard.names).decode().split("\n"))}
    tables = [SCHEMA.empty_table()]
    with _open_index(shard.uri, shard.config) as parquet:
        num_rows = parquet.metadata.num_rows
        for group in range(parquet.num_row_groups):
            advance(group / parquet.num_row_groups)
            if not _may_hold(parquet.metadata.row_group(group), shard.config):
                continue
            is_wanted = _is_wanted(parquet.read_row_group(group, columns=_FILTERS, use_threads=False), shard.config)
            if pc.any(is_wanted).as_py():
                places = parquet.read_row_group(group, columns=_PLACES, use_threads=False)
                tables.append(_numbered(places.filter(is_wanted), numbers))
    found = pa.concat_tables(tables).sort_by(_ORDER)
    entry = write_parquet(shard.out, shard.path, found.to_batches(), SCHEMA, ROWS_PER_GROUP)
    return ShardRecord(shard.key, [entry], {"index_rows": num_rows, "wanted": found.num_rows})


def group_records(shard: GroupShard) -> ShardRecord:
    """Write the wanted records of a group of WARC files, in order of WARC file and offset, each once."""
    wanted = [("warc", ">=", shard.first), ("warc", "<", shard.first + WARCS_PER_FILE)]
    tables = [SCHEMA.empty_table()]
    for number, uri in enumerate(shard.found):
        advance(number / len(shard.found))
        tables.append(_read_some(uri, wanted))
    grouped = pa.concat_tables(tables).group_by(SCHEMA.names).aggregate([]).select(SCHEMA.names).sort_by(_ORDER)
    entry = write_parquet(shard.out, shard.path, grouped.to_batches(), SCHEMA, ROWS_PER_GROUP)
    return ShardRecord(shard.key, [entry], {"located": grouped.num_rows})


def read_records(source: WarcSource) -> tuple[list[int], list[int]]:
    """Offsets and lengths, in bytes, of the wanted records of a WARC file, in order."""
    assert source.records is not None
    assert source.number is not None
    found = _read_some(source.records, [("warc", "==", source.number)])
    return found.column("offset").to_pylist(), found.column("length").to_pylist()


def _is_wanted(rows: pa.Table, config: CommonCrawlConfig) -> pa.ChunkedArray:
    """(rows,) bool; false where a column says nothing."""
    pattern = rf"(^|,)({'|'.join(config.languages)})(,|$)"
    is_wanted = pc.match_substring_regex(rows.column("content_languages"), pattern)
    is_wanted = pc.and_(is_wanted, pc.is_in(rows.column("content_mime_detected"), pa.array(config.mime)))
    return pc.fill_null(pc.and_(is_wanted, pc.equal(rows.column("fetch_status"), 200)), False)


def _may_hold(group: Any, config: CommonCrawlConfig) -> bool:
    """Whether a row group may hold a wanted record, as far as its statistics tell."""
    columns = {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}
    bounds = {name: columns[name].statistics for name in _FILTERS}
    status, mime, languages = (found if found and found.has_min_max else None for found in bounds.values())
    # The languages of a record are one string: the bounds of several say nothing of what is within them.
    return not (
        (status and not status.min <= 200 <= status.max)
        or (mime and not any(mime.min <= wanted <= mime.max for wanted in config.mime))
        or (languages and languages.min == languages.max and not {*languages.min.split(",")} & {*config.languages})
    )


def _numbered(places: pa.Table, numbers: dict[str, int]) -> pa.Table:
    """Rows of SCHEMA for the records that are in one of the run's WARC files."""
    names = places.column("warc_filename").combine_chunks()  # read as a dictionary: each name once
    known = [numbers.get(name.rsplit("/", 1)[-1]) for name in names.dictionary.to_pylist()]
    warc = pa.array(known, pa.int32()).take(names.indices)
    columns = [warc, places.column("warc_record_offset"), places.column("warc_record_length")]
    table = pa.table(columns, names=SCHEMA.names).cast(SCHEMA)
    return table.filter(pc.is_valid(table.column("warc")))


def _read_some(uri: str, wanted: list[tuple[str, str, int]]) -> pa.Table:
    """Rows of a file of ours that fit; only the row groups that may hold some are read."""
    fs, path = filesystem(uri)
    return pq.read_table(path, filesystem=fs, filters=wanted, partitioning=None, use_threads=False)


@contextmanager
def _open_index(uri: str, config: CommonCrawlConfig) -> Iterator[pq.ParquetFile]:
    source = str(local_path(uri)) if is_local(uri) else _RangeFile(RemoteFile(uri, config))
    try:
        with pq.ParquetFile(source, pre_buffer=True, read_dictionary=_PLACES[:1]) as parquet:
            if missing := sorted({*_FILTERS, *_PLACES} - set(parquet.schema_arrow.names)):
                raise ValueError(f"{uri}: no column {', '.join(missing)}; expected an index file of Common Crawl")
            yield parquet
    except (pa.ArrowInvalid, KeyError) as error:  # KeyError: without the column read as a dictionary
        raise ValueError(f"{uri} is no index file of Common Crawl: {error}") from error


class _RangeFile(io.RawIOBase):
    """A remote file that Parquet's reader can seek in; each read is a request for that range."""

    def __init__(self, remote: RemoteFile) -> None:
        self._remote = remote
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._remote.learn_size()}[whence]
        self._position = start + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        data = self._remote.read(self._position, None if size < 0 else self._position + size)
        self._position += len(data)
        return data

"""Finding one page in a crawl's ledgers: by its id, or by its URL.

URLs are compared as takedowns compare them (`storage.tombstones.page_of`): http and https, escapes and fragments make
no difference. Records refused before the language decision have no URL in the ledger; where no other record has it,
the headers of theirs are read in the WARC files.

    for record in find_url(opened, "https://www.example.jp/").records:
        print(record.shard, record.offset, record.rule)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from flows.inspection.run import Made, OpenedRun, over_shards
from storage.corpus import read_corpus
from storage.documents import document_id, read_documents
from storage.ledger import FULL_SCHEMA, LedgerRow, Rule, compact_path, full_path, read_compact
from storage.tombstones import page_of
from storage.uri import is_local
from tasks.curate.headers import heads_at
from tasks.curate.pages import open_pages
from tasks.curate.sources import WarcSource
from tasks.curate.warc import read_member

ID_BYTES = 16
LEDGERS, WARCS = "ledgers", "WARC files"  # what is gone through
EARLY = "Records refused before the language decision have no URL in the ledger and were not searched; --scan does so."


@dataclass(frozen=True)
class Record:
    """A WARC record in curate's ledger; `row` is None where the record was refused before the language decision."""

    shard: str
    offset: int
    rule: Rule
    id: bytes
    url: str | None = None
    row: LedgerRow | None = None


@dataclass(frozen=True)
class Search:
    """What was found, and a sentence about where was not looked (empty where everywhere was)."""

    records: Sequence[Record]
    remark: str = ""


def find_id(run: OpenedRun, id: bytes) -> list[Record]:
    """The record with this id; none where the crawl has no such one."""
    wanted = pa.array([id], pa.binary(ID_BYTES))

    def look(shard: str) -> list[Record]:
        return [_record(shard, row) for row in rows_where(run.curate, shard, "id", wanted)]

    def look_at_refused(shard: str) -> list[Record]:
        source = run.source(shard)
        return [
            Record(shard, offset, rule, id)
            for offset, rule in (compact_rows(run, shard) if source else ())
            if source and document_id(source.name, offset) == id
        ]

    return _all(run, look, LEDGERS) or _all(run, look_at_refused, LEDGERS)


def find_url(run: OpenedRun, url: str, *, scan: bool = False) -> Search:
    """Every record of this URL.

    Args:
        scan: read the headers of records without a URL in the ledger even where others have been found, and fetch
            WARC files that are not on this machine for it.
    """
    unread: list[str] = []

    def look(shard: str) -> list[Record]:
        return [_record(shard, row) for row in _rows_of(run.curate, shard, url)]

    def look_at_headers(shard: str) -> list[Record]:
        source = run.source(shard)
        try:
            if source is not None and (scan or is_local(source.uri)):
                return list(_with_url(run, shard, source, url))
        except OSError:  # gone since the run
            pass
        unread.append(shard)  # the answer says so
        return []

    found = _all(run, look, LEDGERS)
    if found and not scan:
        return Search(found, EARLY)
    found += _all(run, look_at_headers, WARCS)
    found.sort(key=lambda record: (record.shard, record.offset))
    return Search(found, _remark(run, unread))


def _all(run: OpenedRun, look: Any, what: str) -> list[Record]:
    return [record for records in over_shards(run.curate.shards, look, what) for record in records]


def _remark(run: OpenedRun, unread: Sequence[str]) -> str:
    if not unread:
        return ""
    remote = sum(not is_local(source.uri) for shard in unread if (source := run.source(shard)))
    where = "are not on this machine; --scan fetches them" if remote else "cannot be read any more"
    shards = f"{len(unread):,} of {len(run.curate.shards):,} shards"
    return f"Records refused before the language decision were not searched in {shards}: their WARC files {where}."


def rows_where(made: Made, shard: str, column: str, wanted: pa.Array) -> Iterator[LedgerRow]:
    """The full rows of a shard whose column has one of the values."""
    uri = made.file(full_path(shard))
    for batch in read_documents(uri, FULL_SCHEMA.names) if uri else ():
        marks = pc.is_in(batch.column(column), value_set=wanted)
        if pc.any(marks).as_py():
            yield from _ledger_rows(batch.filter(marks))


def locate(made: Made, ids: Collection[bytes]) -> dict[bytes, tuple[str, LedgerRow]]:
    """Where documents are: id -> shard and row, of those that the stage's ledger has."""
    wanted = pa.array(sorted(ids), pa.binary(ID_BYTES))

    def look(shard: str) -> dict[bytes, tuple[str, LedgerRow]]:
        return {row.id: (shard, row) for row in rows_where(made, shard, "id", wanted)}

    found: dict[bytes, tuple[str, LedgerRow]] = {}
    for part in over_shards(made.shards, look, LEDGERS) if ids else ():
        found |= part
    return found


def rows_by_id(made: Made, path: str, ids: Collection[bytes]) -> dict[bytes, dict[str, Any]]:
    """Whole rows of one of a stage's files that has an id in each; none of a file that is not there."""
    uri = made.file(path)
    return _with_ids(read_documents(uri) if uri else (), ids)


def documents(made: Made, shard: str, ids: Collection[bytes]) -> dict[bytes, dict[str, Any]]:
    """Documents of a shard, of those that the stage has kept."""
    return _with_ids((batch for file in made.files.get(shard, ()) for batch in read_corpus(file)), ids)


def _with_ids(batches: Iterable[pa.RecordBatch], ids: Collection[bytes]) -> dict[bytes, dict[str, Any]]:
    wanted = pa.array(sorted(ids), pa.binary(ID_BYTES))
    found: dict[bytes, dict[str, Any]] = {}
    for batch in batches:
        marks = pc.is_in(batch.column("id"), value_set=wanted)
        if pc.any(marks).as_py():
            found |= {row["id"]: row for row in batch.filter(marks).to_pylist()}
    return found


def compact_rows(run: OpenedRun, shard: str) -> Iterator[tuple[int, Rule]]:
    """(offset, rule) of a shard's records that were refused before the language decision."""
    uri = run.curate.file(compact_path(shard))
    return read_compact(uri) if uri else iter(())


def _rows_of(made: Made, shard: str, url: str) -> Iterator[LedgerRow]:
    """The full rows of a shard that have this URL, in any of its spellings."""
    uri, page, hosts = made.file(full_path(shard)), page_of(url), _hosts(url)
    for batch in read_documents(uri, FULL_SCHEMA.names) if uri else ():
        urls = batch.column("url")
        marks = pc.equal(urls, url)
        for host in hosts:
            marks = pc.or_kleene(marks, pc.match_substring(urls, host, ignore_case=True))
        if pc.any(marks).as_py():
            rows = _ledger_rows(batch.filter(marks))
            yield from (row for row in rows if _is_same(row.url, url, page))


def _hosts(url: str) -> list[str]:
    """How the host may be written in other spellings of a URL: as here, and in punycode."""
    page = page_of(url)
    found = [urlsplit(spelling).hostname for spelling in (url.strip(), page)] if page else []
    return list(dict.fromkeys(host for host in found if host))


def _is_same(found: str | None, url: str, page: str | None) -> bool:
    return found is not None and (found == url or (page is not None and page_of(found) == page))


def _with_url(run: OpenedRun, shard: str, source: WarcSource, url: str) -> Iterator[Record]:
    """The records of a shard without a full row whose headers say this URL."""
    rules, page = dict(compact_rows(run, shard)), page_of(url)
    for offset, found in _urls(run, source, rules):
        if _is_same(found, url, page):
            yield Record(shard, offset, rules[offset], document_id(source.name, offset), found)


def _urls(run: OpenedRun, source: WarcSource, rules: Mapping[int, Rule]) -> Iterator[tuple[int, str | None]]:
    """(offset, URL) of records: by their headers alone, or out of a whole file that is fetched as curate does."""
    settings = run.config.curate
    if not is_local(source.uri):
        with open_pages(source, settings) as pages:
            yield from ((page.offset, page.url) for page in pages if page.offset in rules)
        return
    for offset, head in heads_at(source.uri, sorted(rules)):
        if head.url is None and rules[offset] != Rule.TORN_MEMBER:  # not the first record of its gzip member
            yield offset, read_member(source.uri, offset, settings.max_page_bytes).url
        else:
            yield offset, head.url


def _ledger_rows(batch: pa.RecordBatch) -> Iterator[LedgerRow]:
    for row in batch.to_pylist():
        yield LedgerRow(**{**row, "rule": Rule(row["rule"])})


def _record(shard: str, row: LedgerRow) -> Record:
    assert row.offset is not None, "every row of curate's ledger has an offset"
    return Record(shard, row.offset, row.rule, row.id, row.url, row)

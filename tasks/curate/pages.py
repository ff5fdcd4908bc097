"""The pages of a source, wherever its bytes are.

A WARC file on this machine is read where it lies. Of another, what is needed comes into the cache first: all of it, the
part that its shard reads, or the ranges of the records that the crawl's index names (`index.py`), near ones in one
request. Offsets are those in the WARC either way, so a page has one identity however it was got.

    with open_pages(source, config) as pages:
        for page in pages:
            print(page.offset, pages.fraction)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from storage.ledger import Rule
from storage.uri import is_local, local_path
from tasks.curate.config import CurateConfig
from tasks.curate.fetch import fetched, fetched_span
from tasks.curate.index import read_records
from tasks.curate.members import next_record
from tasks.curate.remote import RemoteFile
from tasks.curate.sources import WarcSource
from tasks.curate.warc import WarcPage, WarcReader
from tasks.meter import advance

FETCHING = 0.5  # of a shard's progress, where its bytes are fetched first


@dataclass(frozen=True)
class Stretch:
    """Bytes `first` to before `last` of a WARC, of which the local file holds the byte `base` first.

    `base` may be negative: the local file begins with other stretches. `offsets` are those of the records that are
    wanted, None for all.
    """

    first: int
    last: int
    base: int = 0
    offsets: tuple[int, ...] | None = None


class Pages:
    """The pages of a source, once; `fraction` (0 to 1) of it is done, including what had to be fetched."""

    def __init__(self, path: Path, stretches: Sequence[Stretch], max_page_bytes: int, fetched: float = 0.0) -> None:
        self.path = path
        self.stretches = stretches
        self.max_page_bytes = max_page_bytes
        self.fraction = fetched
        self.num_other_records = 0
        self._fetched = fetched
        self._num_bytes = max(1, sum(stretch.last - stretch.first for stretch in stretches))

    def __iter__(self) -> Iterator[WarcPage]:
        before = 0
        for stretch in self.stretches:
            reader = WarcReader(self.path, self.max_page_bytes, (stretch.first, stretch.last), stretch.base)
            for page in reader if stretch.offsets is None else _only(reader, stretch.offsets):
                read = before + page.offset - stretch.first
                self.fraction = self._fetched + (1 - self._fetched) * min(1.0, read / self._num_bytes)
                yield page
            self.num_other_records += reader.num_other_records
            before += stretch.last - stretch.first


@contextmanager
def open_pages(source: WarcSource, config: CurateConfig) -> Iterator[Pages]:
    """The pages of a source, for as long as the block lasts.

    Of a source whose records are named by an index there is one page for each, be it that it is torn.

    Raises:
        FileNotFoundError, PermissionError, ConnectionError, ValueError, SourceChangedError: it cannot be had
            (`tasks.curate.remote.RemoteFile`).
    """
    with _local(source, config) as (path, stretches):
        yield Pages(path, stretches, config.max_page_bytes, 0.0 if is_local(source.uri) else FETCHING)


@contextmanager
def _local(source: WarcSource, config: CurateConfig) -> Iterator[tuple[Path, list[Stretch]]]:
    """A file on this machine with all that a source's pages are in, and where in it."""
    index, number = source.part
    fetching, uri = config.commoncrawl, source.uri
    if is_local(uri):
        path = local_path(uri)
        if not path.exists():
            raise FileNotFoundError(f"nothing found at {uri}")
        if source.records is not None:
            yield path, [stretch for _, _, stretches in merge(*read_records(source), 0) for stretch in stretches]
        else:
            yield path, [_part(path.stat().st_size, index, number)]
    elif source.records is not None:
        merged = merge(*read_records(source), fetching.max_gap_bytes)
        with fetched(uri, [(first, last) for first, last, _ in merged], fetching, _watch) as path:
            yield path, list(_in_one_file(merged))
    elif number > 1:
        stretch = _part(RemoteFile(uri, fetching).learn_size(), index, number)
        with fetched_span(uri, stretch.first, stretch.last, fetching, next_record, _watch) as path:
            yield path, [Stretch(stretch.first, stretch.last, base=stretch.first)]
    else:
        with fetched(uri, [(0, None)], fetching, _watch) as path:
            yield path, [_part(path.stat().st_size, 0, 1)]


def _part(num_bytes: int, index: int, number: int) -> Stretch:
    """The `index`-th of `number` equal parts."""
    return Stretch(num_bytes * index // number, num_bytes * (index + 1) // number)


def merge(offsets: Sequence[int], lengths: Sequence[int], max_gap: int) -> list[tuple[int, int, list[Stretch]]]:
    """Records, in order, as few ranges: (first, last, the stretches of wanted records in it, without the gaps)."""
    ranges: list[tuple[int, int, list[Stretch]]] = []
    for stretch in _adjacent(offsets, lengths):
        if ranges and stretch.first - ranges[-1][1] <= max_gap:
            first, _, stretches = ranges.pop()
            stretches.append(stretch)
            ranges.append((first, stretch.last, stretches))
        else:
            ranges.append((stretch.first, stretch.last, [stretch]))
    return ranges


def _adjacent(offsets: Sequence[int], lengths: Sequence[int]) -> Iterator[Stretch]:
    """Records between which nothing lies, as one."""
    start = end = 0
    for index, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        if index and offset > end:
            yield Stretch(offsets[start], end, offsets=tuple(offsets[start:index]))
            start = index
        end = max(end, offset + length)
    if offsets:
        yield Stretch(offsets[start], end, offsets=tuple(offsets[start:]))


def _in_one_file(merged: Sequence[tuple[int, int, list[Stretch]]]) -> Iterator[Stretch]:
    """The stretches as they lie in a file of the ranges one after another."""
    place = 0
    for first, last, stretches in merged:
        for stretch in stretches:
            yield replace(stretch, base=first - place)
        place += last - first


def _only(pages: Iterable[WarcPage], offsets: Sequence[int]) -> Iterator[WarcPage]:
    """The pages at these offsets; a torn one where there is none."""
    missing = deque(offsets)
    for page in pages:
        while missing and missing[0] < page.offset:
            yield WarcPage(missing.popleft(), Rule.TORN_MEMBER)
        if missing and missing[0] == page.offset:
            missing.popleft()
            yield page
    for offset in missing:
        yield WarcPage(offset, Rule.TORN_MEMBER)


def _watch(fraction: float) -> None:
    advance(FETCHING * fraction)

"""Which documents are kept, and on which side: decided by hashes, in memory that does not grow with the documents.

In: for every source the tables of its parts in order, with `id`, `text_hash` and `split_hash`
(`tasks.binarize.shard.PART_SCHEMA`). Out: a fate for every document, and how many of those kept have the id of an
earlier one.

A document is dropped when an earlier one of its source has the same text, and when it would be trained on although
another source holds the same text out; so no text that is held out is ever trained on, whatever the ids of its copies
hash to.

Equal texts have equal hashes. So (hash of the text, place) of all documents are dealt into buckets by bits of the
hash, files of 24 bytes a document, and every bucket is decided alone; then the same by ids. In memory are one bucket,
about 100 bytes for each of its `BUCKET_ROWS` documents, and what waits to be written, 48 bytes for each of
`_WAITING_ROWS`: 50 MiB. Fates are one byte a document, mapped from a file. On disk meanwhile: 49 bytes a document.

    with select([tables_of_corpus, tables_of_english], validation_threshold(0.02)) as (corpus, english):
        corpus.count(Fate.TRAIN)
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import pyarrow as pa

from storage.documents import count_documents, read_documents

BUCKET_ROWS = 1 << 18
_MAX_BUCKETS = 4096
_WAITING_ROWS = 1 << 18
_COUNTED_ROWS = 1 << 20
_ENTRY = np.dtype([("low", "<u8"), ("high", "<u8"), ("place", "<i8")])


class Fate(IntEnum):
    """What becomes of a document that holds text."""

    TRAIN = 1
    VALIDATION = 2
    DUPLICATE = 3
    HELD_OUT_ELSEWHERE = 4


@dataclass(frozen=True)
class Selection:
    """What was decided about one source.

    Attributes:
        fates: (documents,) uint8 of `Fate`.
        shared_id: documents kept although an earlier one of the source has their id.
        lowest_split_hash: of all its documents, None where there is none.
    """

    fates: np.ndarray
    shared_id: int
    lowest_split_hash: int | None

    def count(self, fate: Fate) -> int:
        """How many documents have this fate."""
        pieces = range(0, len(self.fates), _COUNTED_ROWS)
        return sum(int(np.count_nonzero(self.fates[at : at + _COUNTED_ROWS] == fate)) for at in pieces)


@contextmanager
def select(
    sources: Sequence[Sequence[str]], threshold: int, bucket_rows: int = BUCKET_ROWS
) -> Iterator[list[Selection]]:
    """Decide about every document of every source; the selections hold while the block lasts.

    Args:
        sources: URIs of the tables of each source's parts, in order.
        threshold: documents whose split hash lies below are held out.
        bucket_rows: about so many documents are decided together, which makes no difference to what is decided.
    """
    ends = np.cumsum([sum(map(count_documents, tables)) for tables in sources], dtype=np.int64)
    num_buckets = 1
    while num_buckets * bucket_rows < ends[-1] and num_buckets < _MAX_BUCKETS:
        num_buckets *= 2
    with tempfile.TemporaryDirectory(prefix="hibari-select-") as folder:
        fates = _mapped_bytes(Path(folder) / "fates", int(ends[-1]))
        texts, ids = (_Buckets(Path(folder) / name, num_buckets) for name in ("texts", "ids"))
        lowest, place = [], 0
        for tables in sources:
            lowest.append(_deal(tables, place, threshold, fates, texts, ids))
            place = int(ends[len(lowest) - 1])
        for entries in texts.sorted():
            _decide(entries, ends, fates)
        shared = np.zeros(len(sources), np.int64)
        for entries in ids.sorted():
            kept = ~_first_of_source(entries, ends) & (fates[entries["place"]] != Fate.DUPLICATE)
            shared += np.bincount(_source_of(entries[kept], ends), minlength=len(sources))
        of_source = np.split(fates, ends[:-1])
        yield [Selection(*found) for found in zip(of_source, shared.tolist(), lowest, strict=True)]


def _deal(
    tables: Sequence[str], place: int, threshold: int, fates: np.ndarray, texts: _Buckets, ids: _Buckets
) -> int | None:
    """Put a source's documents, the first of them at `place`, into buckets and on the side of their ids.

    Returns:
        The lowest split hash.
    """
    lowest = None
    for table in tables:
        for batch in read_documents(table, ["id", "text_hash", "split_hash"]):
            end = place + batch.num_rows
            split_hashes = batch.column("split_hash").to_numpy()
            fates[place:end] = np.where(split_hashes < np.uint64(threshold), Fate.VALIDATION, Fate.TRAIN)
            texts.add(_halves(batch.column("text_hash")), place)
            ids.add(_halves(batch.column("id")), place)
            place = end
            if batch.num_rows:
                here = int(split_hashes.min())
                lowest = here if lowest is None else min(lowest, here)
    return lowest


def _decide(entries: np.ndarray, ends: np.ndarray, fates: np.ndarray) -> None:
    """Set the fate of documents that are dropped; `entries` by text, and those of a text by place."""
    places = entries["place"]
    kept = _first_of_source(entries, ends)
    held_out = kept & (fates[places] == Fate.VALIDATION)
    text = np.cumsum(_differs_from_previous(entries)) - 1
    text_held_out = np.zeros(len(entries), bool)
    text_held_out[text[held_out]] = True
    fates[places[~kept]] = Fate.DUPLICATE
    fates[places[kept & ~held_out & text_held_out[text]]] = Fate.HELD_OUT_ELSEWHERE


def _first_of_source(entries: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(n,) bool: no earlier document of its source has the same hash."""
    source = _source_of(entries, ends)
    first = _differs_from_previous(entries)
    first[1:] |= source[1:] != source[:-1]
    return first


def _differs_from_previous(entries: np.ndarray) -> np.ndarray:
    differs = np.ones(len(entries), bool)
    differs[1:] = (entries["low"][1:] != entries["low"][:-1]) | (entries["high"][1:] != entries["high"][:-1])
    return differs


def _source_of(entries: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.searchsorted(ends, entries["place"], side="right")


class _Buckets:
    """Hashes and places in files, one for each value of some bits of the hash."""

    def __init__(self, folder: Path, num_buckets: int) -> None:
        folder.mkdir()
        self._paths = [folder / str(number) for number in range(num_buckets)]
        self._waiting: list[np.ndarray] = []
        self._num_waiting = 0

    def add(self, halves: np.ndarray, place: int) -> None:
        """Add the hashes of the documents from `place` on, (n, 2) uint64; those before came before."""
        entries = np.empty(len(halves), _ENTRY)
        entries["low"], entries["high"] = halves[:, 0], halves[:, 1]
        entries["place"] = np.arange(place, place + len(halves))
        self._waiting.append(entries)
        self._num_waiting += len(entries)
        if self._num_waiting >= _WAITING_ROWS:
            self._write()

    def sorted(self) -> Iterator[np.ndarray]:
        """The entries of each bucket, by hash, equal ones by place."""
        self._write()
        for path in self._paths:
            if path.exists():
                entries = np.fromfile(path, _ENTRY)
                yield entries[np.lexsort((entries["high"], entries["low"]))]  # stable

    def _write(self) -> None:
        if not self._num_waiting:
            return
        entries = np.concatenate(self._waiting)
        self._waiting, self._num_waiting = [], 0
        bucket = entries["low"] & np.uint64(len(self._paths) - 1)
        order = np.argsort(bucket, kind="stable")
        borders = np.searchsorted(bucket[order], np.arange(len(self._paths) + 1))
        for path, first, end in zip(self._paths, borders[:-1], borders[1:], strict=True):
            if first < end:
                with open(path, "ab") as file:
                    entries[order[first:end]].tofile(file)


def _mapped_bytes(path: Path, number: int) -> np.ndarray:
    return np.memmap(path, np.uint8, "w+", shape=number) if number else np.empty(0, np.uint8)


def _halves(column: pa.Array) -> np.ndarray:
    """(n, 2) uint64 of a column of 16 bytes, without copying it."""
    return np.frombuffer(column.buffers()[1], "<u8").reshape(-1, 2)[column.offset : column.offset + len(column)]

"""The consumption ledger: which tokens of each source a run has been trained to predict, and how often.

In: the stored order of a mixture and how many of its samples were consumed. Out: ranges of tokens, exact to the
token, of each source's token file; and from them what is left to read. A mixture that continues another one reads
first, source by source, what lacks of the first epoch, then of the second, up to the furthest that any token has
come; then whole epochs. So no token is a target for the n-th time before every other of its source was one n - 1
times, whatever the weights, the budget, the packing and the sequence length were in between.

`consumption.json` beside the plan holds the phases of the run (the last one as it is planned) and, per source, its
token file; `consumed/<source>.npy` the ranges, (n, 3) int64: first token, one beyond the last, times; positions are
those in `.bin`. They say how things stand where the mixture begins, so a mixture can be continued when those before
it are gone.

Memory: 24 bytes a range, a few times that while ranges are made. A stretch of consumed samples makes one, and each
document in it one until neighbours are joined.

    ranges = consumed_ranges(order, taken, document_starts)
    pieces = next(epochs_left(ranges, document_starts))
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np

from storage.artifact import FileEntry, new_file
from storage.mixture_plan import relative_uri, resolve_uri
from storage.stored_order import StoredOrder
from storage.uri import join, read_bytes

LEDGER = "consumption.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class History:
    """What was read of one token file: `ranges` (n, 3) int64 (from, to, times), apart from one another and in order."""

    ranges: np.ndarray

    @cached_property
    def num_tokens(self) -> int:
        """Targets there have been: each token as often as it was one."""
        return int(((self.ranges[:, 1] - self.ranges[:, 0]) * self.ranges[:, 2]).sum())

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.ranges, "<i8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Continuation:
    """What a mixture continues.

    Attributes:
        digest: of the earlier mixture's order.
        samples: that were consumed of it, counted from the run's beginning.
        phase: number of orders that the run has had before.
        histories: source name -> what was read of its token file; none for a source that was not read yet.
    """

    digest: str
    samples: int
    phase: int
    histories: Mapping[str, History] = field(default_factory=dict)


@dataclass(frozen=True)
class ConsumedSource:
    """A source that was read, with the token file that its ranges are positions in; `tokens` and `rows` are URIs."""

    name: str
    tokens: str
    rows: str
    documents: int
    num_tokens: int
    bin_sha256: str
    idx_sha256: str
    history: History


@dataclass(frozen=True)
class Phase:
    """One order of the run, from one change of the mixture to the next.

    Attributes:
        mixture: its artifact's folder.
        first_sample, end_sample: what was read of it; of the last phase, what is to be.
        weights: by source, in tokens.
        tokens: by source, targets in this phase.
        epochs: by source, passes over its tokens at the end of the phase, since the run began.
    """

    mixture: str
    digest: str
    first_sample: int
    end_sample: int
    seq_len: int
    packing: str
    weights: dict[str, float]
    tokens: dict[str, int]
    epochs: dict[str, float]


@dataclass(frozen=True)
class Ledger:
    """`consumption.json`: all phases, and the sources as they stood when the last one began."""

    phases: list[Phase]
    sources: list[ConsumedSource]


def joined(starts: np.ndarray, stops: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Ranges that may overlap, added up: (n, 3) int64, apart, in order, no two neighbours with the same times."""
    at = np.concatenate((starts, stops)).astype(np.int64)
    change = np.concatenate((times, -times)).astype(np.int64)
    order = np.argsort(at, kind="stable")
    at, level = at[order], np.cumsum(change[order])
    last = np.append(at[1:] != at[:-1], True) if len(at) else np.empty(0, bool)
    at, level = at[last], level[last]
    differs = np.diff(level, prepend=0) != 0
    at, level = at[differs], level[differs]
    ranges = np.stack((at[:-1], at[1:], level[:-1]), axis=1) if len(at) else np.empty((0, 3), np.int64)
    return ranges[ranges[:, 2] > 0]


def consumed_ranges(order: StoredOrder, taken: int, document_starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that the first `taken` samples of a source's order have as targets.

    Args:
        document_starts: (documents + 1,) positions in `.bin`.

    Returns:
        Positions of the first token of each range, and one beyond the last; they may overlap.
    """
    read = np.zeros(len(order.shuffle) + 2, np.int8)
    read[order.shuffle[:taken].astype(np.int64) + 1] = 1
    edges = np.flatnonzero(np.diff(read))
    first, end = edges[::2], edges[1::2]  # runs of stretches that lie side by side
    if order.packed and order.pieces is not None:
        begin, until = order.borders[first].astype(np.int64), order.borders[end].astype(np.int64)
        place, _ = _expanded(begin, until)
        pieces = order.pieces[place].astype(np.int64)
        base = document_starts[pieces[:, 0]]
        return base + pieces[:, 1], base + pieces[:, 2]
    borders = order.borders[np.stack((first, end))].astype(np.int64)
    (begin, skipped), (until, tail) = borders[0].T, borders[1].T
    place, run = _expanded(begin, until + 1)
    starts, lengths = _place_starts(order, place, document_starts)
    # The first token of a stretch is read and not predicted; a border's document may be empty at the very beginning.
    from_ = np.where(place == begin[run], skipped[run] + 1, 0)
    if len(first) and first[0] == 0:
        from_[: np.argmax(lengths > 0) + 1] = 1
    to = np.where(place == until[run], tail[run] + 1, lengths)
    some = to > from_
    return (starts + from_)[some], (starts + to)[some]


def _place_starts(order: StoredOrder, places: np.ndarray, document_starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where in `.bin` each place begins, and how many tokens it has."""
    rows = order.rows[places]
    starts = document_starts[rows]
    if order.pieces is None:
        return starts, document_starts[rows + np.int64(1)] - starts
    pieces = order.pieces[places].astype(np.int64)
    return starts + pieces[:, 1], pieces[:, 2] - pieces[:, 1]


def _expanded(first: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All numbers of all ranges [first, end), and which range each comes from."""
    times = end - first
    whose = np.repeat(np.arange(len(first)), times)
    return first[whose] + np.arange(len(whose)) - np.repeat(np.cumsum(times) - times, times), whose


def epochs_left(ranges: np.ndarray, document_starts: np.ndarray) -> Iterator[np.ndarray]:
    """What to read of a token file, epoch after epoch, without end: first what lacks of those that were begun.

    Yields:
        (pieces, 3) int32: row, from, to; each with a token at least.
    """
    for times in range(1, int(ranges[:, 2].max(initial=0)) + 1):
        enough = ranges[ranges[:, 2] >= times]
        gaps = np.append(0, enough[:, 1]), np.append(enough[:, 0], document_starts[-1])
        if len(pieces := split_at_documents(*gaps, document_starts)):
            yield pieces
    whole = split_at_documents(document_starts[:1], document_starts[-1:], document_starts)
    while True:
        yield whole


def split_at_documents(starts: np.ndarray, stops: np.ndarray, document_starts: np.ndarray) -> np.ndarray:
    """Ranges of positions as pieces of documents, (pieces, 3) int32: row, from, to; empty ones left out."""
    first = np.searchsorted(document_starts, starts, side="right") - 1
    end = np.searchsorted(document_starts, stops, side="left")
    row, whose = _expanded(first, np.maximum(end, first))
    begins = document_starts[row]
    from_ = np.maximum(starts[whose], begins) - begins
    to = np.minimum(stops[whose], document_starts[row + 1]) - begins
    some = to > from_
    return np.stack((row[some], from_[some], to[some]), axis=1).astype(np.int32)


def write_ledger(out: str, ledger: Ledger) -> list[FileEntry]:
    """Store the ledger and the ranges of its sources."""
    files, sources = [], []
    for source in ledger.sources:
        path = f"consumed/{source.name}.npy"
        with new_file(out, path) as file:
            np.lib.format.write_array(file, source.history.ranges, allow_pickle=False)
        files.append(FileEntry.of(path, file))
        places = {"tokens": relative_uri(out, source.tokens), "rows": relative_uri(out, source.rows)}
        counts = {"consumed": source.history.num_tokens, "ranges": path}
        sources.append({key: value for key, value in vars(source).items() if key != "history"} | places | counts)
    content = {
        "schema_version": SCHEMA_VERSION,
        "phases": [asdict(phase) for phase in ledger.phases],
        "sources": sources,
    }
    with new_file(out, LEDGER) as file:
        file.write(json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")
    return [*files, FileEntry.of(LEDGER, file)]


def read_phases(mixture: str) -> list[Phase]:
    """The phases of a run up to a mixture, which is the last.

    Raises:
        FileNotFoundError: no ledger there: not a mixture, or one of an earlier version.
        ValueError: written by another schema version.
    """
    return [Phase(**fields) for fields in _content(mixture)["phases"]]


def read_ledger(mixture: str) -> Ledger:
    """All of a mixture's ledger; raises as `read_phases`."""
    sources = []
    for fields in _content(mixture)["sources"]:
        ranges = np.load(io.BytesIO(read_bytes(join(mixture, fields.pop("ranges")))), allow_pickle=False)
        del fields["consumed"]
        source = ConsumedSource(**fields, history=History(ranges))
        tokens, rows = resolve_uri(mixture, source.tokens), resolve_uri(mixture, source.rows)
        sources.append(replace(source, tokens=tokens, rows=rows))
    return Ledger(read_phases(mixture), sources)


def _content(mixture: str) -> dict:
    content = json.loads(read_bytes(join(mixture, LEDGER)))
    if content["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"{mixture}/{LEDGER}: schema {content['schema_version']}, expected {SCHEMA_VERSION}")
    return content

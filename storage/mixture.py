"""The mixture: the samples of a run, one after the other, as every rank reads them.

Sample i is the i-th that training reads; batching, the number of ranks and where a run resumes have no
part in it. Nothing is computed here: the mix stage stored the order (`storage.mixture_writer`), and a
reader maps the arrays and the token files. Training and validation have token files of their own, so no
index can lead from one to the other.

A sample is seq_len + 1 tokens, of which all but the first are targets, or all but the first and the padding at the end.
A mixture that continues another holds the run's samples from where it begins on, under their numbers in the run.

    mixture = Mixture.open("runs/mix/demo-0123")
    tokens, source = mixture[0].tokens, mixture.sources[mixture[0].source]
    ids = mixture.document_ids(mixture.trace(0))
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from storage.mixture_plan import PlannedSource, check_token_file, read_plan, resolve_uri
from storage.stored_order import ReadArray, StoredOrder, mapped_arrays
from storage.token_catalog import document_ids
from storage.tokens import TokenFile


@dataclass(frozen=True)
class Sample:
    """What training reads at once.

    Attributes:
        tokens: (seq_len + 1,) int64, the inputs and the last target.
        source: index of the source.
        starts: (n,) int32, positions in `tokens` at which a piece of a document begins, 0 first. Padding belongs to the
            last piece.
        padding: tokens at the end that are no targets.
    """

    tokens: np.ndarray
    source: int
    starts: np.ndarray
    padding: int = 0


@dataclass(frozen=True)
class Span:
    """`length` tokens from `offset` on of the document in row `row` of a token file."""

    row: int
    offset: int
    length: int


@dataclass(frozen=True)
class Trace:
    """Where a sample comes from: index of its source, and what it reads of which documents, in order."""

    source: int
    spans: tuple[Span, ...]


class Mixture:
    """One split of a mixture, open for reading; `mixture[i]` is the i-th sample of the run.

    Files that are not local are copied here for as long as the object is open.

    Attributes:
        plan: counts and places of the split.
        seq_len: tokens of a sample, without its last target.
        attention: `across` documents of a sample, or `within` each: reset at document boundaries.
        first_sample: 0, or where it continues another mixture; `num_samples` counts from the run's beginning.
        continues: digest of the mixture it continues, if it does.
        digest: of all that decides what is read when; a resumed run must find the same.
        sources: names; `languages`: of each source.
    """

    def __init__(self, uri: str, split: str) -> None:
        whole = read_plan(uri)
        if split not in whole.splits:
            raise ValueError(
                f"{uri} has no split {split!r}, only {sorted(whole.splits)}"
                + ("; set mix.validation_tokens above 0" if split == "validation" else "")
            )
        self.plan = whole.splits[split]
        self.seq_len = whole.seq_len
        self.packing, self.attention = whole.packing, whole.attention
        self.first_sample, self.continues = self.plan.first_sample, self.plan.continues
        self.digest = self.plan.digest
        self.sources = [source.name for source in self.plan.sources]
        self.languages = [source.language for source in self.plan.sources]
        self._uri = uri
        self._stack = ExitStack()
        try:
            array = self._stack.enter_context(mapped_arrays(uri, split))
            self._source, self._sample = array("source"), array("sample")
            self._readers = [self._reader(array, source) for source in self.plan.sources]
        except BaseException:
            self._stack.close()
            raise

    @classmethod
    def open(cls, uri: str, split: str = "train") -> Mixture:
        """Map a split, `train` or `validation`.

        Raises:
            FileNotFoundError: no mixture there, or the token files it refers to are gone.
            ValueError: no such split, or files that are not those of the plan.
        """
        return cls(uri, split)

    def _reader(self, array: ReadArray, source: PlannedSource) -> _SourceReader:
        prefix = resolve_uri(self._uri, source.tokens)
        tokens = self._stack.enter_context(TokenFile.open(prefix))
        check_token_file(prefix, tokens, source.documents, source.num_tokens)
        return _SourceReader(tokens, StoredOrder.load(array, source, self.packing))

    def close(self) -> None:
        """Remove local copies of remote files."""
        self._stack.close()

    def __enter__(self) -> Mixture:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def num_samples(self) -> int:
        return self.plan.num_samples

    def __len__(self) -> int:
        """Samples that can be read: those from `first_sample` on."""
        return self.num_samples - self.first_sample

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(self.first_sample, self.num_samples))

    def __getitem__(self, i: int) -> Sample:
        """The i-th sample of the run.

        Raises:
            IndexError: i is not in first_sample..num_samples - 1.
        """
        source, position = self._place(i)
        return self._readers[source].sample(position, self.seq_len, source)

    def num_targets(self, first: int, last: int) -> int:
        """Targets in the samples [first, last): all of their positions but padding.

        Raises:
            IndexError: one of them is not there.
        """
        if first < last:
            self._place(first), self._place(last - 1)
        if self.packing == "concatenate":
            return (last - first) * self.seq_len
        here = slice(first - self.first_sample, last - self.first_sample)
        sources, positions = self._source[here], self._sample[here]
        orders = (reader.order for reader in self._readers)
        return sum(
            int(order.targets[order.shuffle[positions[sources == number]]].sum(dtype=np.int64))
            for number, order in enumerate(orders)
            if order.targets is not None
        )

    def trace(self, i: int) -> Trace:
        """Which documents the i-th sample reads."""
        source, position = self._place(i)
        return Trace(source, tuple(self._readers[source].spans(position)))

    def document_ids(self, trace: Trace) -> list[bytes]:
        """The id of each span's document."""
        rows_uri = resolve_uri(self._uri, self.plan.sources[trace.source].rows)
        return document_ids(rows_uri, [span.row for span in trace.spans])

    def _place(self, i: int) -> tuple[int, int]:
        if not self.first_sample <= i < self.num_samples:
            begins = f" that begins at {self.first_sample}" if self.first_sample else ""
            raise IndexError(f"sample {i} of a mixture of {self.num_samples}{begins}")
        return int(self._source[i - self.first_sample]), int(self._sample[i - self.first_sample])


@dataclass(frozen=True)
class _SourceReader:
    """One source's token files with its order."""

    tokens: TokenFile
    order: StoredOrder

    def spans(self, position: int) -> list[Span]:
        parts = self.order.parts(int(self.order.shuffle[position]), lambda row: len(self.tokens.slice(row)))
        return [Span(row, start, stop - start) for row, start, stop in parts]

    def sample(self, position: int, seq_len: int, source: int) -> Sample:
        """The source's `position`-th sample; a packed one is filled up with the token that ends documents."""
        spans = self.spans(position)
        parts = [self.tokens.slice(span.row, span.offset, span.length) for span in spans]
        padding = 0
        if self.order.targets is not None:
            targets = int(self.order.targets[self.order.shuffle[position]])
            padding = seq_len - targets
            # Every document ends in the token that the tokenizer's policy ends documents with.
            end = self.tokens.tokens[-1:]
            if sum(map(len, parts)) == targets:  # else the first part brings the token before its first target
                parts = [end, *parts]
        starts = np.cumsum([0, *map(len, parts[:-1])], dtype=np.int32)
        if padding:
            parts.append(np.repeat(end, padding))
        tokens = np.concatenate(parts, dtype=np.int64)
        assert len(tokens) == seq_len + 1, f"sample of {len(tokens)} tokens, expected {seq_len + 1}"
        return Sample(tokens, source, starts, padding)

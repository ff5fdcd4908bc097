"""The mixture: the samples of a run, one after the other, as every rank reads them.

Sample i is the i-th that training reads; batching, the number of ranks and where a run resumes have no
part in it. Nothing is computed here: the mix stage stored the order (`storage.mixture_plan`), and a
reader maps the arrays and the token files. Training and validation have token files of their own, so no
index can lead from one to the other.

    mixture = Mixture.open("runs/mix/demo-0123")
    tokens, source = mixture[0].tokens, mixture.sources[mixture[0].source]
    ids = mixture.document_ids(mixture.trace(0))
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from storage.mixture_plan import PlannedSource, array_path, check_token_file, read_plan, resolve_uri
from storage.token_catalog import document_ids
from storage.tokens import TokenFile
from storage.uri import join, localized


@dataclass(frozen=True)
class Sample:
    """`tokens`: (seq_len + 1,) int64, the inputs and the last target; `source`: index of the source."""

    tokens: np.ndarray
    source: int


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
        self.digest = self.plan.digest
        self.sources = [source.name for source in self.plan.sources]
        self.languages = [source.language for source in self.plan.sources]
        self._uri = uri
        self._stack = ExitStack()
        try:
            self._source = self._array(array_path(split, "source"))
            self._sample = self._array(array_path(split, "sample"))
            self._readers = [self._reader(split, source) for source in self.plan.sources]
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

    def _array(self, path: str) -> np.ndarray:
        return np.load(self._stack.enter_context(localized(join(self._uri, path))), mmap_mode="r", allow_pickle=False)

    def _reader(self, split: str, source: PlannedSource) -> _SourceReader:
        prefix = resolve_uri(self._uri, source.tokens)
        tokens = self._stack.enter_context(TokenFile.open(prefix))
        check_token_file(prefix, tokens, source.documents, source.num_tokens)
        return _SourceReader(
            tokens,
            documents=self._array(array_path(split, f"{source.name}.documents")),
            samples=self._array(array_path(split, f"{source.name}.samples")),
            shuffle=self._array(array_path(split, f"{source.name}.shuffle")),
        )

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
        return self.plan.num_samples

    def __getitem__(self, i: int) -> Sample:
        """The i-th sample.

        Raises:
            IndexError: i is not in 0..num_samples - 1.
        """
        source, position = self._place(i)
        return Sample(self._readers[source].read(position, self.seq_len), source)

    def trace(self, i: int) -> Trace:
        """Which documents the i-th sample reads."""
        source, position = self._place(i)
        return Trace(source, tuple(self._readers[source].spans(position)))

    def document_ids(self, trace: Trace) -> list[bytes]:
        """The id of each span's document."""
        rows_uri = resolve_uri(self._uri, self.plan.sources[trace.source].rows)
        return document_ids(rows_uri, [span.row for span in trace.spans])

    def _place(self, i: int) -> tuple[int, int]:
        if not 0 <= i < self.num_samples:
            raise IndexError(f"sample {i} of a mixture of {self.num_samples}")
        return int(self._source[i]), int(self._sample[i])


@dataclass(frozen=True)
class _SourceReader:
    """One source's token files with the arrays of its order (`storage.sample_order.SourceOrder`)."""

    tokens: TokenFile
    documents: np.ndarray
    samples: np.ndarray
    shuffle: np.ndarray

    def spans(self, position: int) -> list[Span]:
        number = int(self.shuffle[position])
        first, offset = (int(value) for value in self.samples[number])
        last, end = (int(value) for value in self.samples[number + 1])
        spans = []
        for at in range(first, last + 1):
            row = int(self.documents[at])
            start = offset if at == first else 0
            stop = end + 1 if at == last else len(self.tokens.slice(row))
            if stop > start:
                spans.append(Span(row, start, stop - start))
        return spans

    def read(self, position: int, seq_len: int) -> np.ndarray:
        """(seq_len + 1,) int64."""
        parts = [self.tokens.slice(span.row, span.offset, span.length) for span in self.spans(position)]
        tokens = np.concatenate(parts, dtype=np.int64)
        assert len(tokens) == seq_len + 1, f"sample of {len(tokens)} tokens, expected {seq_len + 1}"
        return tokens

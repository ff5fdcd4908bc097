"""The inverted trace finds exactly what tracing every sample finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from storage.mixture import Mixture
from storage.mixture_trace import samples_reading
from tests.storage.test_mixture import SOURCES, documents, write_mixture
from tests.storage.token_sources import Source

# Documents of no token at all, of one, and longer than several samples; read for several epochs.
ODD = [
    Source("corpus", "ja", [[], *documents(1000, 7, longest=4), [], list(range(3000, 3050)), [7], []]),
    Source("web-en", "en", documents(20_000, 10)),
]


def by_tracing(uri: str, split: str, source: str, rows: set[int]) -> list[tuple[int, int, int]]:
    """(sample, row, tokens) of every span, sample by sample."""
    found = []
    with Mixture.open(uri, split) as mixture:
        for sample in range(mixture.first_sample, mixture.num_samples):
            trace = mixture.trace(sample)
            if mixture.sources[trace.source] == source:
                found += [(sample, span.row, span.length) for span in trace.spans if span.row in rows]
    return sorted(found)


@pytest.mark.parametrize("sources", [SOURCES, ODD], ids=["usual", "odd"])
@pytest.mark.parametrize("seed", range(4))
def test_every_read_of_every_set_of_rows_is_found(tmp_path: Path, sources: list[Source], seed: int) -> None:
    uri = write_mixture(str(tmp_path), sources, seed=seed, samples={"train": 150})
    for number, source in enumerate(sources):
        every = np.arange(len(source.train))
        for rows in (every, every[::3], every[:1], every[:0]):
            lengths = np.array([len(source.train[row]) for row in rows], np.int64)
            reads = samples_reading(uri, "train", source.name, rows, lengths)
            found = list(zip(reads.samples.tolist(), reads.rows.tolist(), reads.tokens.tolist(), strict=True))
            assert sorted(found) == by_tracing(uri, "train", sources[number].name, set(rows.tolist()))
            assert reads.samples.tolist() == sorted(reads.samples.tolist())


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    uri = write_mixture(str(tmp_path), samples={"train": 20})
    none = np.empty(0, np.int64)
    with pytest.raises(ValueError, match="no source 'notes' in split 'train'; there: corpus, web-en"):
        samples_reading(uri, "train", "notes", none, none)
    with pytest.raises(ValueError, match="no source 'corpus' in split 'validation'; there: none"):
        samples_reading(uri, "validation", "corpus", none, none)
    with pytest.raises(ValueError, match="rows up to 60 of source corpus, which has 60 documents"):
        samples_reading(uri, "train", "corpus", np.array([60]), np.array([3]))

"""The mixture as it was consumed: what training had read of each source at its last step.

In: the order of samples that mix stored, and how many samples train says it consumed. Out: JSON-like facts per source.
A plan can promise more than a run reads (it was stopped, or its steps do not use the whole order up), and a document
counts as read when any of its tokens were in a consumed sample. The order is read in chunks of its memory map; one byte
a document is held.

    consumed(made)["sources"][0]["tokens"], consumed(made)["sources"][0]["documents_read"]
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from storage.mixture_plan import PLAN, array_path, read_plan
from storage.uri import join, localized
from tasks.report.artifacts import RunArtifacts

SPLIT = "train"
_CHUNK = 1 << 18


@dataclass(frozen=True)
class _Order:
    """A source's order (`storage.sample_order.SourceOrder`) and which of its documents were read so far."""

    documents: np.ndarray
    samples: np.ndarray
    shuffle: np.ndarray
    read: np.ndarray

    def mark(self, positions: np.ndarray) -> None:
        """Note the documents that the samples at these positions of the source read."""
        numbers = self.shuffle[positions]
        first, last = self.samples[numbers, 0], self.samples[numbers + 1, 0]
        lengths = last - first + 1
        ends = np.cumsum(lengths)
        within = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
        self.read[self.documents[np.repeat(first, lengths) + within]] = True


def consumed(made: RunArtifacts) -> dict[str, Any]:
    """Samples consumed of all planned; per source weight asked, share read, tokens, epochs and documents read."""
    samples = made.count("train", "samples")
    if samples is None or not made.paths("mix", PLAN):
        return {"samples": None, "of_samples": None, "tokens": None, "sources": []}
    plan = read_plan(made.uris["mix"])
    split = plan.splits[SPLIT]
    samples = min(samples, split.num_samples)
    counts, documents = _read(made.uris["mix"], samples, {source.name: source.documents for source in split.sources})
    total = samples * plan.seq_len
    return {
        "samples": samples,
        "of_samples": split.num_samples,
        "tokens": total,
        "sources": [
            {
                "name": source.name,
                "language": source.language,
                "weight": source.weight,
                "tokens": (tokens := int(count) * plan.seq_len),
                "share": tokens / total if total else None,
                "epochs": tokens / source.num_tokens if source.num_tokens else None,
                "documents_read": read,
                "documents": source.documents,
            }
            for source, count, read in zip(split.sources, counts, documents, strict=True)
        ],
    }


def _read(mixture: str, num_samples: int, documents: dict[str, int]) -> tuple[np.ndarray, list[int]]:
    """Samples, and documents touched, of each source among the first `num_samples` of the order."""
    with ExitStack() as stack:

        def array(name: str) -> np.ndarray:
            path = stack.enter_context(localized(join(mixture, array_path(SPLIT, name))))
            return np.load(path, mmap_mode="r", allow_pickle=False)

        chosen, positions = array("source"), array("sample")
        orders = [
            _Order(array(f"{name}.documents"), array(f"{name}.samples"), array(f"{name}.shuffle"), np.zeros(held, bool))
            for name, held in documents.items()
        ]
        counts = np.zeros(len(orders), np.int64)
        for start in range(0, num_samples, _CHUNK):
            here = slice(start, min(start + _CHUNK, num_samples))
            for source, order in enumerate(orders):
                taken = positions[here][chosen[here] == source]
                counts[source] += len(taken)
                order.mark(taken)
        return counts, [int(order.read.sum()) for order in orders]

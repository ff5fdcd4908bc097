"""The mixture as it was consumed: what training had read of each source at its last step.

In: the order of samples that mix stored, its ledger, and how many samples train says it consumed. Out: JSON-like facts
per source, and the phases of a run whose mixture changed. A plan can promise more than a run reads (it was stopped, or
its steps do not use the whole order up), and a document counts as read when any of its tokens were in a consumed sample
or, where an earlier training was continued, targets of that. The order is read in chunks of its memory map; one byte a
document is held.

    consumed(made)["sources"][0]["tokens"], consumed(made)["sources"][0]["documents_read"]
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from storage.consumption import LEDGER, read_ledger, read_phases, split_at_documents
from storage.mixture_plan import PLAN, MixturePlan, read_plan, resolve_uri
from storage.stored_order import StoredOrder, mapped_arrays
from storage.tokens import TokenFile
from tasks.report.artifacts import RunArtifacts

SPLIT = "train"
_CHUNK = 1 << 18


@dataclass
class _Progress:
    """One source: its order, which of its documents were read so far, and how many targets."""

    order: StoredOrder
    read: np.ndarray
    targets: int = 0

    def consume(self, positions: np.ndarray, seq_len: int) -> None:
        """Note what the samples at these positions of the source read."""
        stretches = self.order.shuffle[positions]
        first, end = self.order.places(stretches)
        lengths = end - first
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        self.read[self.order.rows[np.repeat(first, lengths) + within]] = True
        if self.order.targets is None:
            self.targets += len(stretches) * seq_len
        else:
            self.targets += int(self.order.targets[stretches].sum(dtype=np.int64))


def consumed(made: RunArtifacts) -> dict[str, Any]:
    """Samples consumed of all planned; per source weight asked, share read, tokens, epochs and documents read.

    Samples, epochs and documents count from the run's beginning, also where its mixture changed; tokens and shares are
    those of the last mixture, and of `phases` each has its own.
    """
    samples = made.count("train", "samples")
    if samples is None or not made.paths("mix", PLAN):
        return {"samples": None, "of_samples": None, "tokens": None, "sources": [], "phases": []}
    mixture = made.uris["mix"]
    plan = read_plan(mixture)
    split = plan.splits[SPLIT]
    samples = min(samples, split.num_samples)
    progress = _progress(mixture, plan, samples)
    total = sum(source.targets for source in progress)
    return {
        "samples": samples,
        "of_samples": split.num_samples,
        "tokens": total,
        "phases": _phases(made, mixture),
        "sources": [
            {
                "name": source.name,
                "language": source.language,
                "weight": source.weight,
                "tokens": read.targets,
                "share": read.targets / total if total else None,
                "epochs": (source.consumed + read.targets) / source.num_tokens if source.num_tokens else None,
                "documents_read": int(read.read.sum()),
                "documents": source.documents,
            }
            for source, read in zip(split.sources, progress, strict=True)
        ],
    }


def _phases(made: RunArtifacts, mixture: str) -> list[dict[str, Any]]:
    """The phases of a run whose mixture changed; none of one that has a single mixture."""
    phases = read_phases(mixture) if made.paths("mix", LEDGER) else []
    return [asdict(phase) for phase in phases] if len(phases) > 1 else []


def _progress(mixture: str, plan: MixturePlan, num_samples: int) -> list[_Progress]:
    """What was read of each source up to sample `num_samples` of the run."""
    split = plan.splits[SPLIT]
    with mapped_arrays(mixture, SPLIT) as array:
        chosen, positions = array("source"), array("sample")
        progress = [
            _Progress(StoredOrder.load(array, source, plan.packing), np.zeros(source.documents, bool))
            for source in split.sources
        ]
        if split.continues is not None:
            _mark_earlier(mixture, plan, progress)
        for start in range(0, num_samples - split.first_sample, _CHUNK):
            here = slice(start, min(start + _CHUNK, num_samples - split.first_sample))
            for number, source in enumerate(progress):
                source.consume(positions[here][chosen[here] == number], plan.seq_len)
        return progress


def _mark_earlier(mixture: str, plan: MixturePlan, progress: list[_Progress]) -> None:
    """Mark the documents that were read before the mixture began."""
    earlier = {source.name: source.history.ranges for source in read_ledger(mixture).sources}
    for planned, source in zip(plan.splits[SPLIT].sources, progress, strict=True):
        if planned.consumed_sha256 is not None:
            ranges = earlier[planned.name]
            with TokenFile.open(resolve_uri(mixture, planned.tokens)) as tokens:
                pieces = split_at_documents(ranges[:, 0], ranges[:, 1], tokens.document_starts)
            source.read[pieces[:, 0]] = True

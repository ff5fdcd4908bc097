"""Which samples a rank trains on, from one integer: the samples consumed so far.

In: a mixture whose sample `i` is the i-th to be trained on. Out: micro-batches. A global batch is the next
`global_batch` samples (fewer while it grows, `trainer.batch_ramp`), whatever the layout: pass `m` takes the next
`micro_batch x dp` of them, and rank `r` the r-th run of `micro_batch` in there (Megatron-LM,
`training/datasets/data_samplers.py`). Nothing but the integer needs saving, and another number of ranks continues with
the same samples.

Packed samples may end in padding, whose positions are no targets. Where the mixture resets attention at document
boundaries, a batch also says which document each position belongs to.

    for batch in micro_batches(mixture, consumed_samples, config, mesh.place.dp, mesh.device):
        logits = model(batch.inputs, batch.documents)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from trainer.batch_ramp import samples_before, steps_for
from trainer.config import TrainConfig
from trainer.loss import NO_TARGET


class SampleOrder(Protocol):
    """What the trainer needs of a `storage.mixture.Mixture`."""

    @property
    def seq_len(self) -> int: ...
    @property
    def num_samples(self) -> int: ...
    @property
    def digest(self) -> str: ...
    @property
    def languages(self) -> list[str]: ...
    @property
    def attention(self) -> Literal["across", "within"]:
        """Whether a position sees the whole sample before it, or its own document alone."""

    @property
    def first_sample(self) -> int:
        """Where this order begins: 0, or the samples that the training it continues had used."""

    @property
    def continues(self) -> str | None:
        """Digest of the mixture of the training it continues; None where it begins a run."""

    def num_targets(self, first: int, last: int) -> int:
        """Positions of samples [first, last) that are targets: all but padding."""

    def __getitem__(self, index: int) -> Any:
        """A sample.

        `tokens` int64 (seq_len + 1,); `source`, an index into `sources`; `starts` int32, where in `tokens` the pieces
        of documents begin, 0 first; `padding`, how many tokens at the end are no targets.
        """


@dataclass(frozen=True)
class Batch:
    """One micro-batch.

    Attributes:
        inputs: int64 (batch, seq).
        targets: int64 (batch, seq), `NO_TARGET` on padding.
        sources: int64 (batch,), indices into the mixture's sources.
        documents: int64 (batch, seq), equal numbers for positions of one document; None where attention does not stop
            at document boundaries.
    """

    inputs: Tensor
    targets: Tensor
    sources: Tensor
    documents: Tensor | None = None


def sample_ids(consumed: int, config: TrainConfig, dp_rank: int, batch: int | None = None) -> list[list[int]]:
    """The samples of one rank in the next optimizer step, one list per micro-batch.

    Args:
        batch: sequences of the step (`trainer.batch_ramp.batch_of`); none given: `config.global_batch`.
    """
    per_pass = config.micro_batch * config.parallel.dp
    first = consumed + config.micro_batch * dp_rank
    passes = (batch or config.global_batch) // per_pass
    return [[first + m * per_pass + i for i in range(config.micro_batch)] for m in range(passes)]


def micro_batches(
    mixture: SampleOrder,
    consumed: int,
    config: TrainConfig,
    dp_rank: int,
    device: torch.device,
    batch: int | None = None,
) -> Iterator[Batch]:
    """The micro-batches of one rank in the next optimizer step, of `batch` sequences; see `sample_ids`."""
    for ids in sample_ids(consumed, config, dp_rank, batch):
        yield make_batch([mixture[i] for i in ids], mixture, device)


def make_batch(samples: Sequence[Any], mixture: SampleOrder, device: torch.device) -> Batch:
    """Samples of a mixture as one batch on the device."""
    tokens = torch.from_numpy(np.stack([sample.tokens for sample in samples]).astype(np.int64, copy=False))
    targets = tokens[:, 1:]
    if any(sample.padding for sample in samples):
        targets = targets.clone()
        for row, sample in enumerate(samples):
            targets[row, mixture.seq_len - sample.padding :] = NO_TARGET
    sources = torch.tensor([sample.source for sample in samples])
    documents = None
    if mixture.attention == "within":
        documents = torch.from_numpy(np.stack([document_numbers(s.starts, mixture.seq_len) for s in samples]))
    return Batch(
        _moved(tokens[:, :-1], device),
        _moved(targets, device),
        _moved(sources, device),
        None if documents is None else _moved(documents, device),
    )


def document_numbers(starts: np.ndarray, seq_len: int) -> np.ndarray:
    """(seq_len,) int64: which of the pieces that begin at `starts` each position is in, from 0."""
    return np.searchsorted(starts, np.arange(seq_len), side="right").astype(np.int64) - 1


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device; to CUDA through pinned memory, without waiting for the copy."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def mixture_problems(mixture: SampleOrder, config: TrainConfig, num_steps: int) -> list[str]:
    """What keeps this mixture from carrying the run; empty when it can."""
    found = []
    if mixture.seq_len != config.seq_len:
        found.append(
            f"the mixture has sequences of {mixture.seq_len} tokens, train.seq_len is {config.seq_len}; mix again"
        )
    needed = samples_before(num_steps + 1, config.batch_ramp, config.global_batch)
    if mixture.num_samples < needed:
        found.append(
            f"{num_steps} steps of {config.global_batch} sequences need {needed} samples, the mixture has "
            f"{mixture.num_samples}; raise mix.train_tokens, or train at most "
            f"{steps_for(mixture.num_samples, config.batch_ramp, config.global_batch)} steps"
        )
    return found

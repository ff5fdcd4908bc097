"""Which samples a rank trains on, from one integer: the samples consumed so far.

In: a mixture whose sample `i` is the i-th to be trained on. Out: micro-batches. A global batch is the next
`global_batch` samples, whatever the layout: pass `m` takes the next `micro_batch x dp` of them, and rank `r` the
r-th run of `micro_batch` in there (Megatron-LM, `training/datasets/data_samplers.py`). Nothing but the integer needs
saving, and another number of ranks continues with the same samples.

    for batch in micro_batches(mixture, consumed_samples, config, mesh):
        loss = model(batch.inputs)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from trainer.config import TrainConfig


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
    def __getitem__(self, index: int) -> Any:
        """A sample: `tokens` int64 (seq_len + 1,) and `source`, an index into `sources`."""


@dataclass(frozen=True)
class Batch:
    """One micro-batch: `inputs` and `targets` int64 (batch, seq), `sources` int64 (batch,)."""

    inputs: Tensor
    targets: Tensor
    sources: Tensor


def sample_ids(consumed: int, config: TrainConfig, dp_rank: int) -> list[list[int]]:
    """The samples of one rank in the next optimizer step, one list per micro-batch."""
    per_pass = config.micro_batch * config.parallel.dp
    first = consumed + config.micro_batch * dp_rank
    passes = config.global_batch // per_pass
    return [[first + m * per_pass + i for i in range(config.micro_batch)] for m in range(passes)]


def micro_batches(
    mixture: SampleOrder, consumed: int, config: TrainConfig, dp_rank: int, device: torch.device
) -> Iterator[Batch]:
    """The micro-batches of one rank in the next optimizer step."""
    for ids in sample_ids(consumed, config, dp_rank):
        samples = [mixture[i] for i in ids]
        tokens = torch.from_numpy(np.stack([sample.tokens for sample in samples]).astype(np.int64, copy=False))
        sources = torch.tensor([sample.source for sample in samples])
        if device.type == "cuda":
            tokens, sources = tokens.pin_memory(), sources.pin_memory()
        tokens, sources = tokens.to(device, non_blocking=True), sources.to(device, non_blocking=True)
        yield Batch(tokens[:, :-1], tokens[:, 1:], sources)


def mixture_problems(mixture: SampleOrder, config: TrainConfig, num_steps: int) -> list[str]:
    """What keeps this mixture from carrying the run; empty when it can."""
    found = []
    if mixture.seq_len != config.seq_len:
        found.append(
            f"the mixture has sequences of {mixture.seq_len} tokens, train.seq_len is {config.seq_len}; mix again"
        )
    needed = num_steps * config.global_batch
    if mixture.num_samples < needed:
        found.append(
            f"{num_steps} steps of {config.global_batch} sequences need {needed} samples, the mixture has "
            f"{mixture.num_samples}; raise mix.train_tokens, or train at most "
            f"{mixture.num_samples // config.global_batch} steps"
        )
    return found

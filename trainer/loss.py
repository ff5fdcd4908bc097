"""Cross entropy, in total and per source language.

In: logits (batch, seq, vocab) and the next tokens (batch, seq), `NO_TARGET` where there is nothing to predict. Out:
losses in nats per token, at least fp32. The gradient divides by the targets of the *global* batch before backward, so
that summing over micro-batches and data-parallel ranks gives the mean, whatever the layout and wherever padding lies.

    losses = token_losses(model(batch.inputs, batch.documents), batch.targets)
    (losses.sum() / mixture.num_targets(first, last)).backward()
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from trainer.mesh import Mesh

NO_TARGET = -100  # in place of a target: the position has loss 0 and no gradient


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of each target (batch, seq), in nats; computed in at least fp32. `NO_TARGET` costs 0."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    losses = functional.cross_entropy(wide.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=NO_TARGET)
    return losses.view(targets.shape)


class LossSums:
    """Sums of losses and counts of targets per source language over one global batch."""

    def __init__(self, languages: list[str], device: torch.device) -> None:
        """`languages[i]` is the language of source `i`."""
        self.languages = sorted(set(languages))
        self._language_of_source = torch.tensor([self.languages.index(name) for name in languages], device=device)
        self._sums = torch.zeros(2, len(self.languages), dtype=torch.float64, device=device)

    def add(self, losses: Tensor, targets: Tensor, sources: Tensor) -> None:
        """Add the losses of `targets` (batch, seq), of sequences that come from `sources` (batch,)."""
        languages = self._language_of_source[sources]
        self._sums[0].index_add_(0, languages, losses.detach().sum(dim=1, dtype=torch.float64))
        self._sums[1].index_add_(0, languages, (targets != NO_TARGET).sum(dim=1, dtype=torch.float64))

    def reduce(self, mesh: Mesh) -> tuple[float, dict[str, float]]:
        """Mean loss over all targets, and of each language that occurred; all-reduce over dp."""
        if mesh.dp_group is not None:
            dist.all_reduce(self._sums, group=mesh.dp_group)
        sums, counts = self._sums.tolist()
        per_language = {
            name: total / count for name, total, count in zip(self.languages, sums, counts, strict=True) if count
        }
        return sum(sums) / sum(counts), per_language

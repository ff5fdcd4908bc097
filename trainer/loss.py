"""Cross entropy without the whole of the logits, in total and per source language.

In: hidden states (batch, seq, hidden), the head's rows and the next tokens (batch, seq), `NO_TARGET` where there is
nothing to predict. Out: losses in nats per token, at least fp32. `chunk` tokens' logits exist at a time: while a
chunk's softmax is at hand its gradients are computed, so that head and loss cost three matrix products, and nothing of
size tokens x vocabulary is kept for backward (Liger-Kernel's fused linear cross entropy, Hsu et al. 2024, in torch's
own operations). Backward then multiplies by the upstream gradient, which has to be one number.

The vocabulary may be split over the tensor-parallel ranks. Of each token they exchange three numbers: the largest
logit, the sum of exponentials and the target's logit (Megatron-LM, Shoeybi et al. 2019, section 3, in one exchange).

The gradient divides by the targets of the *global* batch before backward, so that summing over micro-batches and
data-parallel ranks gives the mean, whatever the layout and wherever padding lies.

    losses = model(batch.inputs, batch.documents, batch.targets)
    (losses.sum() / mixture.num_targets(first, last)).backward()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from trainer.collectives import Group, gathered_rows, reduce_sum_
from trainer.precision import at_least_fp32, products_dtype

if TYPE_CHECKING:
    from trainer.mesh import Mesh

NO_TARGET = -100  # in place of a target: the position has loss 0 and no gradient


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of each target (batch, seq), in nats; computed in at least fp32. `NO_TARGET` costs 0."""
    wide = logits.to(at_least_fp32(logits.dtype))
    losses = functional.cross_entropy(wide.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=NO_TARGET)
    return losses.view(targets.shape)


@dataclass(frozen=True)
class VocabularyRows:
    """Which rows of the head are here: `size` from `first` on; whatever rows follow are padding.

    `group` holds the ranks that have the others.
    """

    first: int
    size: int
    group: Group = None

    def local(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Row of each id, 0 where it is not here, and whether it is."""
        rows = ids - self.first
        here = (rows >= 0) & (rows < self.size)
        return rows.where(here, 0), here


def head_losses(x: Tensor, weight: Tensor, targets: Tensor, chunk: int, rows: VocabularyRows | None = None) -> Tensor:
    """Head and cross entropy in one: losses (batch, seq), in nats, at least fp32; 0 where there is no target.

    Memory: 4 bytes x chunk x vocab rows while it runs (6 where products are in bf16), and from forward to backward
    4 bytes x vocab rows x hidden for the gradient of the head, summed over chunks in at least fp32.

    Args:
        x: hidden states (batch, seq, hidden), the same on all ranks of `rows.group`. Their gradient is this rank's
            part of a sum over the group.
        weight: the head's rows here (vocab rows, hidden).
        targets: int64 (batch, seq), of the whole vocabulary.
        chunk: tokens whose logits exist at a time.
        rows: which rows of the vocabulary these are; none given: all.

    Backward raises ValueError unless the upstream gradient is one number for all tokens (looked at on a CPU only).
    """
    rows = rows or VocabularyRows(0, weight.shape[0])
    with_gradients = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return _HeadLosses.apply(x, weight, targets, chunk, rows, with_gradients)


class _HeadLosses(torch.autograd.Function):
    """Forward: all-gather of three numbers a token; backward: no exchange."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, chunk: int, rows: VocabularyRows, with_gradients: bool
    ) -> Tensor:
        dtype, wide = products_dtype(x), at_least_fp32(x.dtype)
        hidden, flat_targets, head = x.flatten(0, 1).to(dtype), targets.flatten(), weight.to(dtype)
        losses = torch.empty(len(hidden), dtype=wide, device=x.device)
        # One buffer for all chunks: fresh memory of this size costs a CPU more than the softmax.
        buffer = torch.empty(min(chunk, len(hidden)), len(head), dtype=dtype, device=x.device)
        if with_gradients:
            hidden_grad = torch.empty_like(hidden)
            head_grad = torch.zeros(head.shape, dtype=wide, device=x.device)
        for begin in range(0, len(hidden), chunk):
            part = slice(begin, begin + chunk)
            logits = torch.mm(hidden[part], head.t(), out=buffer[: len(hidden[part])])
            losses[part], softmax = _cross_entropy(logits.to(wide), flat_targets[part], rows, with_gradients)
            if with_gradients:
                gradient = logits.copy_(softmax) if logits.dtype != wide else softmax
                torch.mm(gradient, head, out=hidden_grad[part])
                if dtype == wide:
                    head_grad.addmm_(gradient.t(), hidden[part])
                else:
                    head_grad.add_(torch.mm(gradient.t(), hidden[part]))
        if with_gradients:
            ctx.save_for_backward(hidden_grad.view_as(x).to(x.dtype), head_grad)
            ctx.head_dtype = weight.dtype
        return losses.view(targets.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scale = grad.flatten()[0]
        if grad.device.type == "cpu" and not bool((grad == scale).all()):
            raise ValueError("token losses were not weighted alike: sum them first, then scale the sum")
        x_grad, head_grad = ctx.saved_tensors
        return x_grad.mul_(scale), head_grad.mul_(scale).to(ctx.head_dtype), None, None, None, None


def _cross_entropy(
    logits: Tensor, targets: Tensor, rows: VocabularyRows, with_gradients: bool
) -> tuple[Tensor, Tensor]:
    """Losses (tokens,) of logits (tokens, vocab rows), and in the logits' place their gradient."""
    logits[:, rows.size :] = torch.finfo(logits.dtype).min  # minus infinity, but for ranks that have nothing else
    local, here = rows.local(targets)
    local = local.unsqueeze(1)
    target_logits = logits.gather(1, local).squeeze(1).where(here, 0)
    maxima = logits.amax(dim=1)
    exponentials = logits.sub_(maxima.unsqueeze(1)).exp_()
    ranks = gathered_rows(torch.stack((maxima, exponentials.sum(dim=1), target_logits)), rows.group)  # (t, 3, tokens)
    largest = ranks[:, 0].amax(dim=0)
    total = (ranks[:, 1] * (ranks[:, 0] - largest).exp()).sum(dim=0)
    has_target = targets != NO_TARGET
    losses = (largest - ranks[:, 2].sum(dim=0) + total.log()) * has_target
    if with_gradients:
        exponentials.mul_(((maxima - largest).exp() / total * has_target).unsqueeze(1))
        exponentials.scatter_add_(1, local, -here.to(logits.dtype).unsqueeze(1))
    return losses, exponentials


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
        """Mean loss over all targets, and of each language that occurred, on all ranks; all-reduce over dp and pp.

        Only last stages have added anything; the ranks of a tensor-parallel group have added the same.
        """
        for group in (mesh.dp_group, mesh.pp_group):
            reduce_sum_(self._sums, group)
        sums, counts = self._sums.tolist()
        per_language = {
            name: total / count for name, total, count in zip(self.languages, sums, counts, strict=True) if count
        }
        return sum(sums) / sum(counts), per_language

    def num_targets(self) -> dict[str, int]:
        """Targets of each language that occurred; of all ranks once `reduce` has been called."""
        return {name: int(count) for name, count in zip(self.languages, self._sums[1].tolist(), strict=True) if count}

"""Every exchange between ranks, each with what it does forward and backward.

Nothing else in Hibari calls torch.distributed's collectives. Three exchanges are torch's own: activations between
pipeline stages (`trainer.pipeline`: send and receive, torch.distributed.pipelining), FSDP2's gather of parameters and
reduce-scatter of gradients (`trainer.fsdp`), and DCP's plans of who writes and reads what (`trainer.dcp`: gather to the
first rank and scatter, between hosts).

Names: t ranks of the tensor-parallel group hold a layer together. "Replicated" is the same tensor on all of them,
"partial" one whose sum over them is meant, "sequence-sharded" (batch, seq / t, ...) the r-th part of the sequence on
rank r. Megatron-LM: Shoeybi et al. 2019 (f and g), Korthikanti et al. 2022 (their sequence-parallel conjugates).

A group of None is a group of one: the exchange is then the identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")
Group = dist.ProcessGroup | None
Sum, Max = dist.ReduceOp.SUM, dist.ReduceOp.MAX


def group_size(group: Group) -> int:
    return 1 if group is None else group.size()


def group_rank(group: Group) -> int:
    return 0 if group is None else group.rank()


# Tensor parallelism: activations ---------------------------------------------------------------------------------


class _Copy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return all_reduced(grad, ctx.group), None


class _Reduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        return all_reduced(x, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class _GatherSequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return gathered_sequence(x, group).wait()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return scattered_sequence(grad, ctx.group).wait(), None


class _ScatterSequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return scattered_sequence(x, group).wait()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return gathered_sequence(grad, ctx.group).wait(), None


def copy_to_ranks(x: Tensor, group: Group) -> Tensor:
    """Replicated to replicated: identity forward, all-reduce backward. Megatron-LM's f."""
    return x if group is None else _Copy.apply(x, group)


def reduce_from_ranks(x: Tensor, group: Group) -> Tensor:
    """Partial to replicated: all-reduce forward, identity backward. Megatron-LM's g."""
    return x if group is None else _Reduce.apply(x, group)


def gather_sequence(x: Tensor, group: Group) -> Tensor:
    """Sequence-sharded to replicated: all-gather forward, reduce-scatter backward."""
    return x if group is None else _GatherSequence.apply(x, group)


def scatter_sequence(x: Tensor, group: Group) -> Tensor:
    """Partial to sequence-sharded: reduce-scatter forward, all-gather backward."""
    return x if group is None else _ScatterSequence.apply(x, group)


@dataclass(frozen=True)
class Pending:
    """A tensor whose exchange is under way: `wait` before it is read, and compute something else until then.

    Attributes:
        parts: (t, batch, seq / t, ...) gathered parts, or (batch, seq / t, ...) this rank's sum.
        inputs: what is being sent; kept from being reused.
    """

    parts: Tensor
    work: dist.Work | None
    inputs: Tensor
    gathered: bool

    def wait(self) -> Tensor:
        if self.work is not None:
            self.work.wait()
        if not self.gathered:
            return self.parts
        t, batch, part = self.parts.shape[:3]
        return self.parts.transpose(0, 1).reshape(batch, t * part, *self.parts.shape[3:])


def gathered_sequence(x: Tensor, group: Group) -> Pending:
    """All-gather of sequence parts (batch, seq / t, ...), started; waiting gives (batch, seq, ...). No gradient."""
    x = x.contiguous()
    if group is None:
        return Pending(x.unsqueeze(0), None, x, gathered=True)
    parts = x.new_empty(group.size(), *x.shape)
    work = dist.all_gather_single(parts.view(-1, *x.shape[1:]), x, group=group, async_op=True)
    return Pending(parts, work, x, gathered=True)


def scattered_sequence(x: Tensor, group: Group) -> Pending:
    """Reduce-scatter (sum) of partial (batch, seq, ...), started; waiting gives (batch, seq / t, ...). No gradient."""
    if group is None:
        return Pending(x, None, x, gathered=False)
    t, (batch, seq) = group.size(), x.shape[:2]
    parts = x.view(batch, t, seq // t, *x.shape[2:]).transpose(0, 1).contiguous()
    own = torch.empty_like(parts[0])
    work = dist.reduce_scatter_single(own, parts.view(-1, *parts.shape[2:]), group=group, async_op=True)
    return Pending(own, work, parts, gathered=False)


def summed(x: Tensor, group: Group) -> Pending:
    """All-reduce (sum) of partial x, in place, started; waiting gives the sum. No gradient."""
    work = None if group is None else dist.all_reduce(x, group=group, async_op=True)
    return Pending(x, work, x, gathered=False)


def all_reduced(x: Tensor, group: Group) -> Tensor:
    """All-reduce (sum) into a new tensor. No gradient."""
    if group is None:
        return x
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=group)
    return total


# Vocabulary-parallel cross entropy -------------------------------------------------------------------------------


def reduce_max_(x: Tensor, group: Group) -> Tensor:
    """All-reduce (max) in place. No gradient."""
    if group is not None:
        dist.all_reduce(x, op=Max, group=group)
    return x


def reduce_sum_(x: Tensor, group: Group) -> Tensor:
    """All-reduce (sum) in place. No gradient."""
    if group is not None:
        dist.all_reduce(x, op=Sum, group=group)
    return x


def gathered_rows(x: Tensor, group: Group) -> Tensor:
    """All-gather of each rank's x (...) as (t, ...). No gradient."""
    if group is None:
        return x.unsqueeze(0)
    rows = x.new_empty(group.size(), *x.shape)
    dist.all_gather_single(rows.view(-1, *x.shape[1:]), x, group=group)
    return rows


# Data parallelism: gradients and parameters ----------------------------------------------------------------------


def start_reduce_scatter(own: Tensor, whole: Tensor, group: Group) -> dist.Work | None:
    """Reduce-scatter (sum) of flat `whole` into `own`, which is its r-th part in place; started. None: nothing to do.

    gloo reduce-scatters by all-reducing for each rank: 540 MB over 2 ranks took 3.1 s, one all-reduce 0.8 s.
    On a CPU it is therefore an all-reduce, after which every part is a sum.
    """
    if group is None:
        return None
    if whole.device.type == "cpu":
        return dist.all_reduce(whole, group=group, async_op=True)
    return dist.reduce_scatter_single(own, whole, group=group, async_op=True)


def start_all_gather(whole: Tensor, own: Tensor, group: Group) -> dist.Work | None:
    """All-gather of each rank's `own`, the r-th part of flat `whole`, into `whole`; started. None: nothing to do."""
    if group is None:
        return None
    return dist.all_gather_single(whole, own, group=group, async_op=True)


# Between hosts: flags, small objects, barriers; groups of gloo ---------------------------------------------------


def barrier(group: Group) -> None:
    if group is not None:
        dist.barrier(group=group)


def any_rank(flag: bool, group: Group) -> bool:
    """Whether any rank raises its flag; all-reduce (max) of one byte."""
    return bool(reduce_max_(torch.tensor([flag], dtype=torch.uint8), group).item()) if group is not None else flag


def from_first(value: Value, group: Group) -> Value:
    """The first rank's picklable object on every rank; broadcast."""
    if group is None:
        return value
    box = [value]
    dist.broadcast_object_list(box, group_src=0, group=group)
    return box[0]


def gathered_lists(values: list[Value], group: Group) -> list[Value]:
    """All ranks' lists of picklable objects in order of rank, on every rank; all-gather."""
    if group is None:
        return values
    boxes: list[list[Value]] = [[] for _ in range(group.size())]
    dist.all_gather_object(boxes, values, group=group)
    return [value for box in boxes for value in box]


def agreed(work: Callable[[], Value], group: Group) -> list[Value]:
    """`work` on every rank, and all results in order of rank; if it fails on one, all raise. All-gather.

    Between two of these no rank waits for one that has given up.
    """
    failure, outcome = None, None
    try:
        outcome = work()
    except Exception as error:
        failure = error
    said = None if failure is None else f"{type(failure).__name__}: {failure}"
    outcomes = gathered_lists([(outcome, said)], group)
    if failure is not None:
        raise failure
    if failed := [f"rank {rank}: {said}" for rank, (_, said) in enumerate(outcomes) if said is not None]:
        raise RuntimeError("; ".join(failed))
    return [outcome for outcome, _ in outcomes]  # type: ignore[misc]  # none failed

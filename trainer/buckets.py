"""Buckets: a rank's parameters in flat buffers that are reduced, updated and gathered one by one.

In: a rank's blocks in the order that forward uses them. Out: buckets of neighbours, each with a flat buffer of the
parameters, a flat fp32 buffer of gradient sums, and this rank's shard (the r-th of dp equal parts) of the fp32 master
weights and both Adam moments. While backward computes the gradients of one bucket, those of the next layers' are
being reduced (Li et al. 2020, PyTorch DDP §3.2.3; Megatron-LM's `param_and_grad_buffer`).

Inside a bucket, matrices come before vectors (weight decay applies to the first) and, among each, equal sums over
other ranks (`Block.summed_over`) together. So a bucket's shard is a few long runs, and because copies of a parameter
have one shape on all ranks that hold it, so have the runs: what dp rank r owns of them is the same elements everywhere.
A matrix tied across stages has a bucket of its own for the same reason: the rest of its stages differs.

    for slots in cut(named_blocks, max_elements=40_000_000):
        bucket = Bucket(slots, parameters, dp=2, dp_rank=0)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainer.collectives import Group, start_all_gather, start_reduce_scatter
from trainer.sharding import Block, FlatShard, SummedOver

# Parameters and shards start at multiples of this many elements, so that every view stays aligned for vector loads.
ALIGNMENT = 64
_CPU_BLOCK = 1 << 20


@dataclass(frozen=True)
class Slot:
    """Where one parameter lies in its bucket: elements [start, end).

    Attributes:
        name: of the parameter in the chunk, which differs from `block.name` for a tied head.
    """

    name: str
    block: Block
    start: int

    @property
    def numel(self) -> int:
        return torch.Size(self.block.local).numel()

    @property
    def end(self) -> int:
        return self.start + self.numel

    @property
    def decay(self) -> bool:
        return len(self.block.local) >= 2

    @property
    def kind(self) -> tuple[bool, bool, SummedOver]:
        """What neighbours must share to be treated as one run: (decay, counted, summed_over)."""
        return self.decay, self.block.counted, self.block.summed_over


@dataclass(frozen=True)
class ShardRun:
    """Elements [begin, end) of this rank's shard of a bucket, all of one kind."""

    begin: int
    end: int
    decay: bool
    counted: bool
    summed_over: SummedOver


def cut(blocks: Iterable[tuple[str, Block]], max_elements: int) -> list[list[Slot]]:
    """Slots of each bucket.

    A bucket ends where the next parameter would overfill it; one larger than `max_elements` has a bucket of its own.

    Args:
        blocks: parameter name and block, in the order that forward uses them.
    """
    groups: list[list[tuple[str, Block]]] = []
    filled = max_elements
    for name, block in blocks:
        numel, tied = torch.Size(block.local).numel(), block.summed_over == "embedding"
        if tied or filled + numel > max_elements:
            groups.append([])
            filled = 0
        groups[-1].append((name, block))
        filled = max_elements if tied else filled + numel
    return [_lay_out(group) for group in groups]


def _lay_out(group: list[tuple[str, Block]]) -> list[Slot]:
    slots, used = [], 0
    for name, block in sorted(group, key=lambda item: (len(item[1].local) < 2, item[1].summed_over)):
        slots.append(Slot(name, block, used))
        used = _aligned(slots[-1].end, ALIGNMENT)
    return slots


class Bucket:
    """Some parameters of this rank, and its shard of their state.

    Attributes:
        parameters: flat, in the parameters' dtype; the module's parameters are views into it.
        gradients: flat sums, at least fp32. On the own part they are the sum over dp once `finish_reduce` returned.
        master: this rank's shard of the weights, at least fp32; the own part of `parameters` where that is as wide.
        exp_avg: Adam's first moment of the shard.
        exp_avg_sq: its second.
        runs: what the shard consists of.
    """

    def __init__(self, slots: list[Slot], parameters: Mapping[str, nn.Parameter], dp: int, dp_rank: int) -> None:
        """Move the parameters into the bucket: their values are kept, their storage is replaced."""
        self.slots = slots
        first = parameters[slots[0].name]
        self.shard_size = _aligned(slots[-1].end, dp * ALIGNMENT) // dp
        self.shard_start = self.shard_size * dp_rank
        wide = torch.promote_types(first.dtype, torch.float32)
        self.parameters = torch.zeros(self.shard_size * dp, dtype=first.dtype, device=first.device)
        self.gradients = torch.zeros(self.shard_size * dp, dtype=wide, device=first.device)
        for slot in slots:
            self._take(parameters[slot.name], slot)
        own = self.own(self.parameters)
        self.master = own if first.dtype == wide else own.to(wide)
        self.exp_avg = torch.zeros_like(self.master)
        self.exp_avg_sq = torch.zeros_like(self.master)
        self.runs = list(self._runs())
        self.num_gradients = [0] * len(slots)
        self._reduce: dist.Work | None = None
        self._gather: dist.Work | None = None

    def own(self, buffer: Tensor) -> Tensor:
        """This rank's part of a flat buffer."""
        return buffer[self.shard_start : self.shard_start + self.shard_size]

    # Gradients ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Forget the gradients; the next ones replace the sums, so nothing is zeroed."""
        self.finish_reduce()
        self.num_gradients = [0] * len(self.slots)

    def add_gradient(self, index: int, gradient: Tensor) -> None:
        """Add a gradient of slot `index` to its sum."""
        slot = self.slots[index]
        total = self.gradients[slot.start : slot.end]
        if self.num_gradients[index] == 0:
            total.copy_(gradient.reshape(-1))
        else:
            _add(total, gradient.reshape(-1))
        self.num_gradients[index] += 1

    def is_complete(self, num_passes: int) -> bool:
        """Whether every parameter got the gradients of all passes."""
        return min(self.num_gradients) == num_passes

    def start_reduce(self, group: Group) -> None:
        """Start summing gradients over dp; reduce-scatter."""
        self._reduce = start_reduce_scatter(self.own(self.gradients), self.gradients, group)

    def finish_reduce(self) -> None:
        if self._reduce is not None:
            self._reduce.wait()
            self._reduce = None

    # Parameters --------------------------------------------------------------------------------------------------

    def start_gather(self, group: Group) -> None:
        """Round the master weights into the parameters' own part and start to exchange it over dp; all-gather."""
        own = self.own(self.parameters)
        if own.data_ptr() != self.master.data_ptr():
            own.copy_(self.master)
        self._gather = start_all_gather(self.parameters, own, group)

    def finish_gather(self) -> None:
        """Wait until the parameters are whole; at once where they are."""
        if self._gather is not None:
            self._gather.wait()
            self._gather = None

    def load(self, slot: Slot, weights: Tensor) -> None:
        """Set a parameter and its master weights from `weights` of shape `slot.block.size`; padding becomes 0."""
        size = slot.block.size
        assert weights.shape == size, f"{slot.name}: got {tuple(weights.shape)}, expected {size}"
        flat = weights.reshape(-1).to(self.master.device, self.master.dtype)
        view = self.parameters[slot.start : slot.end]
        view[: flat.numel()].copy_(flat)
        view[flat.numel() :].zero_()
        begin, end = self._true_range(slot)
        self.master[begin - self.shard_start : end - self.shard_start].copy_(
            flat[begin - slot.start : end - slot.start]
        )

    def shards(self, buffer: Tensor) -> Iterator[tuple[str, FlatShard]]:
        """(block name, its part of a shard-sized buffer) of every slot; empty where it lies on other ranks."""
        for slot in self.slots:
            begin, end = self._true_range(slot)
            data = buffer[begin - self.shard_start : end - self.shard_start]
            block = slot.block
            yield (
                block.name,
                FlatShard(block.shape, block.offset, block.size, begin - slot.start, data, stored=block.counted),
            )

    def _take(self, parameter: nn.Parameter, slot: Slot) -> None:
        assert parameter.shape == slot.block.local, (
            f"{slot.name}: {tuple(parameter.shape)}, expected {slot.block.local}"
        )
        assert parameter.dtype == self.parameters.dtype, f"{slot.name} is {parameter.dtype}, others are not"
        view = self.parameters[slot.start : slot.end].view(slot.block.local)
        view.copy_(parameter.detach())
        parameter.data = view

    def _true_range(self, slot: Slot) -> tuple[int, int]:
        """The slot's elements in this rank's shard, without padding rows, in elements of the bucket; begin <= end."""
        true_end = slot.start + torch.Size(slot.block.size).numel()
        begin = min(max(slot.start, self.shard_start), true_end)
        return begin, max(begin, min(true_end, self.shard_start + self.shard_size))

    def _runs(self) -> Iterator[ShardRun]:
        for kind, neighbours in groupby(self.slots, key=lambda slot: slot.kind):
            slots = list(neighbours)
            begin = max(slots[0].start - self.shard_start, 0)
            end = min(slots[-1].end - self.shard_start, self.shard_size)
            if begin < end:
                yield ShardRun(begin, end, *kind)


def _add(total: Tensor, gradient: Tensor) -> None:
    """Add flat `gradient` to `total`, which may be wider.

    On a CPU, torch adds bf16 to fp32 one by one: 131 ms for 40 M elements. Widened by blocks that stay in cache: 22.
    """
    if total.device.type != "cpu" or total.dtype == gradient.dtype:
        total.add_(gradient)
        return
    for block, addend in zip(total.split(_CPU_BLOCK), gradient.split(_CPU_BLOCK), strict=True):
        block.add_(addend.to(block.dtype))


def _aligned(elements: int, multiple: int) -> int:
    return -(-elements // multiple) * multiple

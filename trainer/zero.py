"""ZeRO stage 1, the distributed optimizer: AdamW whose state is split over the data-parallel ranks.

In: a rank's chunks of the model, and their gradients as backward makes them. Out: updated parameters on every rank.
A rank holds its parameters and an fp32 sum of their gradients whole, and of every bucket (`trainer.buckets`) the
fp32 master weights and both Adam moments of one dp-th: 6 + 12 / dp bytes a parameter with bf16, 8 + 8 / dp with fp32,
whose parameters are their own master weights. ZeRO: Rajbhandari et al. 2020; the form is Megatron-LM's
`DistributedOptimizer`.

A step: each gradient is added to its sum as soon as backward has it, and freed. Once all gradients of all passes of a
bucket are there, its sums are reduce-scattered over dp while backward goes on. Then, on the own shard only, sums over
the other ranks that hold copies, the global norm, clipping and fused AdamW; a bucket's parameters are all-gathered over
dp while the next bucket is being updated and the next forward runs, up to the layer that needs them.

Collectives of a group are matched by the order in which they start, and nothing promises that autograd finishes
parameters in the same order on all ranks. So buckets start in one fixed order whatever the hooks' order: gradients from
the last bucket to the first, as backward makes them, parameters from the first to the last, as forward needs them.

    optimizer = ZeroOptimizer(chunks, blocks, config, mesh)
    optimizer.load_weights(weights.block)
    optimizer.begin(num_passes)
    ...  # num_passes forwards and backwards
    norm = optimizer.reduce_gradients()
    optimizer.step(learning_rate(step, config, num_steps))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainer.adamw import (
    Run,
    clip_scale,
    copy_groups,
    fused_adamw,
    global_norm,
    set_updates,
    sum_copies,
    update,
)
from trainer.buckets import Bucket, cut
from trainer.collectives import Group, gathered_lists
from trainer.config import TrainConfig
from trainer.mesh import Mesh
from trainer.model import Llama
from trainer.sharding import EMBEDDING, Block, FlatShard

# What a layer is made of, in the order of its forward.
_LAYER = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp")


def bucket_elements(dp: int) -> int:
    """Elements of a bucket: messages long enough for the bandwidth at any dp; Megatron-LM's numbers."""
    return max(40_000_000, 1_000_000 * dp)


class ZeroOptimizer:
    """See the module. Gradients are summed over passes and ranks, not averaged: the loss is scaled before backward.

    Attributes:
        buckets: in forward order.
    """

    def __init__(
        self,
        chunks: Sequence[Llama],
        blocks: Mapping[str, Block],
        config: TrainConfig,
        mesh: Mesh,
        max_bucket_elements: int | None = None,
    ) -> None:
        """Move the chunks' parameters into buckets and hook them; their values are kept.

        Args:
            chunks: this rank's stages, in the model's order.
            blocks: parameter name -> block, for exactly the chunks' parameters.
        """
        self.config = config
        self.mesh = mesh
        self.buckets: list[Bucket] = []
        largest = max_bucket_elements or bucket_elements(mesh.parallel.dp)
        parameters: dict[str, nn.Parameter] = {}
        for chunk in chunks:
            own = dict(chunk.named_parameters())
            parameters |= own
            buckets = [
                Bucket(slots, own, mesh.parallel.dp, mesh.place.dp)
                for slots in cut(((name, blocks[name]) for name in sorted(own, key=_place_in_forward)), largest)
            ]
            self.buckets += buckets
            _wait_before_use(chunk, buckets)
        assert parameters.keys() == blocks.keys(), (
            f"parameters without a block, or blocks without a parameter: {sorted(parameters.keys() ^ blocks.keys())}"
        )
        for bucket in self.buckets:
            for index, slot in enumerate(bucket.slots):
                parameters[slot.name].register_post_accumulate_grad_hook(self._collect(bucket, index))
        self._adam = [fused_adamw(_runs(bucket), config) for bucket in self.buckets]
        self._copies = self._copies_to_sum()
        self._num_passes = 0
        self._unreduced = 0  # buckets whose reduction has not been started: those before this number
        self._norm: Tensor | None = None

    def load_weights(self, read: Callable[[Block], Tensor]) -> None:
        """Start from weights; the master weights keep what the parameters' dtype rounds away.

        Args:
            read: gives a block's rectangle, shape `Block.size`, of any float dtype.
        """
        self.finish()
        with torch.no_grad():
            for bucket in self.buckets:
                for slot in bucket.slots:
                    bucket.load(slot, read(slot.block))

    def begin(self, num_passes: int) -> None:
        """Start a step with gradients of 0, in which every parameter gets `num_passes` gradients."""
        for bucket in self.buckets:
            bucket.begin()
        self._num_passes = num_passes
        self._unreduced = len(self.buckets)
        self._norm = None

    def reduce_gradients(self) -> Tensor:
        """Wait for the sums over dp, sum what other ranks hold copies of; the global norm, float64 scalar.

        All-reduce (sum) of the own shard over tp, over the copies of key-value heads, and over first and last stage;
        all-reduce (sum) of the squared norm over all ranks, every element counted once.
        """
        self._refuse_missing()
        for bucket in reversed(self.buckets):
            bucket.finish_reduce()
        for group, shards in self._copies:
            sum_copies(shards, group)
        self._norm = global_norm(
            (
                bucket.own(bucket.gradients)[run.begin : run.end]
                for bucket in self.buckets
                for run in bucket.runs
                if run.counted
            ),
            self.mesh,
        )
        return self._norm

    def step(self, lr: float) -> None:
        """Clip by the norm just reduced, update the shard, publish bucket by bucket; all-gather over dp, started."""
        assert self._norm is not None, "step follows reduce_gradients"
        self.finish()
        scale = clip_scale(self._norm, self.config.clip_norm)
        for bucket, adam in zip(self.buckets, self._adam, strict=True):
            if scale < 1:
                bucket.own(bucket.gradients).mul_(scale)
            update(adam, lr)
            bucket.start_gather(self.mesh.dp_group)

    def publish(self) -> None:
        """Round the master weights into the parameters of every rank; all-gather over dp, started."""
        self.finish()
        for bucket in self.buckets:
            bucket.start_gather(self.mesh.dp_group)

    def finish(self) -> None:
        """Wait until all parameters are whole; a forward waits for those it needs by itself."""
        for bucket in self.buckets:
            bucket.finish_gather()

    def set_updates(self, updates: int) -> None:
        """Tell Adam how many updates were made, for its bias correction."""
        for adam in self._adam:
            set_updates(adam, updates)

    def shards(self) -> dict[str, FlatShard]:
        """This rank's part of the state: master weights by block name, the moments below `exp_avg.`, `exp_avg_sq.`.

        The data are views: reading a checkpoint into them, then `set_updates` and `publish`, restores the state.
        """
        self.finish()
        found: dict[str, FlatShard] = {}
        for bucket in self.buckets:
            for prefix, buffer in (
                ("", bucket.master),
                ("exp_avg.", bucket.exp_avg),
                ("exp_avg_sq.", bucket.exp_avg_sq),
            ):
                found |= {prefix + name: shard for name, shard in bucket.shards(buffer)}
        return found

    def gradient_shards(self) -> dict[str, FlatShard]:
        """This rank's part of the summed gradients, after `reduce_gradients` and before `step` clips them."""
        return {name: shard for bucket in self.buckets for name, shard in bucket.shards(bucket.own(bucket.gradients))}

    @property
    def num_bytes(self) -> int:
        """Of parameters, gradient sums and state on this rank: (6 + 12 / dp) N with bf16, (8 + 8 / dp) N with fp32."""
        buffers = {
            buffer.untyped_storage().data_ptr(): buffer.untyped_storage().nbytes()
            for bucket in self.buckets
            for buffer in (bucket.parameters, bucket.gradients, bucket.master, bucket.exp_avg, bucket.exp_avg_sq)
        }
        return sum(buffers.values())

    def _collect(self, bucket: Bucket, index: int) -> Callable[[Tensor], None]:
        """A hook that adds a finished gradient to its sum, frees it, and starts the reductions that can start."""
        name = bucket.slots[index].name

        def collect(parameter: Tensor) -> None:
            assert parameter.grad is not None
            assert bucket.num_gradients[index] < self._num_passes, (
                f"{name} got more gradients than the {self._num_passes} passes that begin() was told of"
            )
            bucket.add_gradient(index, parameter.grad)
            parameter.grad = None
            while self._unreduced and self.buckets[self._unreduced - 1].is_complete(self._num_passes):
                self._unreduced -= 1
                self.buckets[self._unreduced].start_reduce(self.mesh.dp_group)

        return collect

    def _refuse_missing(self) -> None:
        """A parameter left out of a pass would be updated by a gradient that is not the batch's."""
        missing = [
            f"{slot.name} got {got}"
            for bucket in self.buckets
            for slot, got in zip(bucket.slots, bucket.num_gradients, strict=True)
            if got != self._num_passes
        ]
        assert not missing, f"of {self._num_passes} gradients each: {', '.join(missing)}"

    def _copies_to_sum(self) -> list[tuple[Group, list[Tensor]]]:
        """Groups, and the runs of the own shard's gradients that are to be summed over each."""
        found: list[tuple[Group, list[Tensor]]] = []
        for kind, group in copy_groups(self.mesh).items():
            runs = [
                bucket.own(bucket.gradients)[run.begin : run.end]
                for bucket in self.buckets
                for run in bucket.runs
                if run.summed_over == kind
            ]
            if group is not None:
                lengths = [len(run) for run in runs]
                assert gathered_lists(lengths, group) == lengths * group.size(), f"{kind}: ranks cut copies differently"
                found.append((group, runs))
        return found


def _place_in_forward(name: str) -> tuple[float, int]:
    """Sorts parameters of a stage by when forward uses them, and so, reversed, by when backward is done with them."""
    path = name.split(".")
    if path[1] == "layers":
        return int(path[2]), _LAYER.index(path[3])
    return (-1 if name == EMBEDDING else math.inf), 0


def _wait_before_use(chunk: Llama, buckets: list[Bucket]) -> None:
    """Forward pre-hooks that wait for buckets before what uses them: a layer, the embedding, final norm or head.

    A layer as a whole, because its projections' weights are not read by the projections' own forward.
    """
    needed: dict[nn.Module, list[Bucket]] = {}
    for bucket in buckets:
        for slot in bucket.slots:
            path = slot.name.split(".")
            module = chunk.get_submodule(".".join(path[:3] if path[1] == "layers" else path[:-1]))
            waits = needed.setdefault(module, [])
            if bucket not in waits:
                waits.append(bucket)
    for module, waits in needed.items():
        module.register_forward_pre_hook(_waiting(waits))


def _waiting(buckets: list[Bucket]) -> Callable[[nn.Module, Any], None]:
    def wait(module: nn.Module, inputs: Any) -> None:
        for bucket in buckets:
            bucket.finish_gather()

    return wait


def _runs(bucket: Bucket) -> list[Run]:
    """What AdamW updates of a bucket: its matrices, and its vectors."""
    found = []
    for decay in (True, False):
        runs = [run for run in bucket.runs if run.decay == decay]
        if runs:
            begin, end = runs[0].begin, runs[-1].end
            weights = nn.Parameter(bucket.master[begin:end])
            weights.grad = bucket.own(bucket.gradients)[begin:end]
            found.append(Run(weights, bucket.exp_avg[begin:end], bucket.exp_avg_sq[begin:end], decay))
    return found

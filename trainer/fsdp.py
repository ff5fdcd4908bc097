"""Fully sharded data parallel: torch's FSDP2, with parameters, gradients and AdamW's state all split over ranks.

In: a rank's chunks of the model in fp32, plain or cut by tensor and pipeline parallelism. Out: updated shards. Every
layer, and what a chunk holds beside its layers, is a unit that is all-gathered in the compute dtype before it is used
and whose gradients are reduce-scattered in fp32 in the last pass; until then they are summed unsharded. The master
weights are the sharded parameters themselves. FSDP: Zhao et al. 2023. HSDP: dp is cut into replicas of shards, over
which gradients are also all-reduced.

Bytes a parameter with n shards in bf16: 16 / n for weights, gradient and moments; 2 of what is gathered (a layer at a
time; all of a stage on a pipeline); 4 for the unsharded sums of a step of several passes.

FSDP cuts a parameter along its rows, as the rank's block of it lies here: r-th of n equal chunks of ceil(rows / n), the
last ones shorter or empty. The exchanges of parameters and gradients over dp are torch's own.

    optimizer = FsdpOptimizer(chunks, blocks, config, mesh)   # used like trainer.zero.ZeroOptimizer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

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
from trainer.collectives import group_rank, group_size
from trainer.config import TrainConfig
from trainer.mesh import Mesh
from trainer.model import Llama
from trainer.precision import compute_dtype
from trainer.sharding import Block, FlatShard


@dataclass(frozen=True)
class Piece:
    """This rank's rows of one parameter.

    Attributes:
        name: of the parameter in the chunk, which differs from `block.name` for a tied head.
        parameter: the sharded parameter, a DTensor; its gradient appears when the last backward has ended.
        start: first element of the rows within the rank's block.
        run: the rows, flat, as AdamW updates them: `run.weights` is the parameter's own memory.
    """

    name: str
    block: Block
    parameter: nn.Parameter
    start: int
    run: Run

    @property
    def num_true(self) -> int:
        """Elements before those rows that pad the vocabulary."""
        return max(0, min(torch.Size(self.block.size).numel() - self.start, len(self.run.weights)))

    @property
    def gradient(self) -> Tensor:
        """Flat; after the last backward."""
        assert isinstance(self.parameter.grad, DTensor)
        return self.parameter.grad.to_local().view(-1)


class FsdpOptimizer:
    """See the module. Gradients are summed over passes and ranks, not averaged: the loss is scaled before backward."""

    def __init__(self, chunks: Sequence[Llama], blocks: Mapping[str, Block], config: TrainConfig, mesh: Mesh) -> None:
        """Shard the chunks in place; their values are kept.

        Args:
            chunks: this rank's stages, in the model's order, in at least fp32.
            blocks: parameter name -> block, for exactly the chunks' parameters.
        """
        self.config = config
        self.mesh = mesh
        device_mesh = _device_mesh(mesh)
        self._units: list[FSDPModule] = [_shard(chunk, device_mesh, config, mesh) for chunk in chunks]
        named = [item for chunk in chunks for item in chunk.named_parameters()]
        unmatched = dict(named).keys() ^ blocks.keys()
        assert not unmatched, f"parameters without a block, or blocks without a parameter: {sorted(unmatched)}"
        self._pieces = [_piece(name, blocks[name], parameter, mesh) for name, parameter in named]
        self._adam = fused_adamw([piece.run for piece in self._pieces], config)
        self._holds_first_replica = group_rank(mesh.replica_group) == 0
        self._num_passes = self._passes = 0
        self._norm: Tensor | None = None
        if mesh.parallel.pp == 1:  # on a pipeline torch's stages know which backward is the last
            (chunk,) = chunks
            chunk.register_forward_pre_hook(self._before_forward)

    def load_weights(self, read: Callable[[Block], Tensor]) -> None:
        """Start from weights.

        Args:
            read: gives a block's rectangle, shape `Block.size`, of any float dtype.
        """
        with torch.no_grad():
            for piece in self._pieces:
                whole, rows = read(piece.block), piece.run.weights
                assert whole.shape == piece.block.size, f"{piece.name}: {tuple(whole.shape)}, not {piece.block.size}"
                rows.zero_()
                rows[: piece.num_true].copy_(whole.reshape(-1)[piece.start : piece.start + piece.num_true])
        self.publish()

    def begin(self, num_passes: int) -> None:
        """Start a step with gradients of 0, in which every parameter gets `num_passes` gradients."""
        for unit in self._units:
            if 0 < self._passes < self._num_passes:
                _drop_unsharded_sums(unit)
        for piece in self._pieces:
            piece.parameter.grad = piece.run.weights.grad = None
        self._num_passes, self._passes = num_passes, 0
        self._norm = None

    def reduce_gradients(self) -> Tensor:
        """Sum what other ranks hold copies of; the global norm, float64 scalar.

        All-reduce (sum) of the own rows over tp, over the copies of key-value heads, and over first and last stage;
        all-reduce (sum) of the squared norm over all ranks, every element counted once.
        """
        missing = [piece.name for piece in self._pieces if piece.parameter.grad is None]
        assert not missing, f"no gradient of {', '.join(missing)}"
        for piece in self._pieces:
            piece.run.weights.grad = piece.gradient
        for kind, group in copy_groups(self.mesh).items():
            sum_copies([piece.gradient for piece in self._pieces if piece.block.summed_over == kind], group)
        self._norm = global_norm((piece.gradient for piece in self._pieces if self._is_counted(piece)), self.mesh)
        return self._norm

    def step(self, lr: float) -> None:
        """Clip by the norm just reduced and update the rows; the next forward gathers them."""
        assert self._norm is not None, "step follows reduce_gradients"
        if (scale := clip_scale(self._norm, self.config.clip_norm)) < 1:
            torch._foreach_mul_([piece.gradient for piece in self._pieces], scale)
        update(self._adam, lr)
        self.publish()

    def publish(self) -> None:
        """Drop what forward has gathered of older weights; the next one gathers anew."""
        for unit in self._units:
            for module in unit.modules():  # type: ignore[attr-defined]
                if isinstance(module, FSDPModule):
                    module.reshard()

    def finish(self) -> None:
        """Nothing is under way between steps."""

    def set_updates(self, updates: int) -> None:
        """Tell Adam how many updates were made, for its bias correction."""
        set_updates(self._adam, updates)

    def shards(self) -> dict[str, FlatShard]:
        """This rank's part of the state: master weights by block name, the moments below `exp_avg.`, `exp_avg_sq.`.

        The data are views: reading a checkpoint into them, then `set_updates` and `publish`, restores the state.
        """
        return {
            prefix + piece.block.name: self._flat_shard(piece, data)
            for piece in self._pieces
            for prefix, data in (
                ("", piece.run.weights.detach()),
                ("exp_avg.", piece.run.exp_avg),
                ("exp_avg_sq.", piece.run.exp_avg_sq),
            )
        }

    def gradient_shards(self) -> dict[str, FlatShard]:
        """This rank's part of the summed gradients, after `reduce_gradients` and before `step` clips them."""
        return {piece.block.name: self._flat_shard(piece, piece.gradient) for piece in self._pieces}

    def _flat_shard(self, piece: Piece, data: Tensor) -> FlatShard:
        block, stored = piece.block, self._is_counted(piece)
        return FlatShard(block.shape, block.offset, block.size, piece.start, data[: piece.num_true], stored)

    def _is_counted(self, piece: Piece) -> bool:
        return piece.block.counted and self._holds_first_replica

    def _before_forward(self, module: nn.Module, inputs: Any) -> None:
        """Before a pass that backward follows: gradients are exchanged in the last one only."""
        if torch.is_grad_enabled():
            self._passes += 1
            for unit in self._units:
                unit.set_requires_gradient_sync(self._passes == self._num_passes)
                unit.set_is_last_backward(self._passes == self._num_passes)


def _shard(chunk: Llama, device_mesh: DeviceMesh, config: TrainConfig, mesh: Mesh) -> FSDPModule:
    """Make each layer, then what a chunk holds beside them, a unit of FSDP.

    Where parameters are split, a layer is gathered again for its backward, to hold one layer at a time; not on a
    pipeline, where every micro-batch would gather it. Embedding, final norm and head are kept from forward to backward.
    """
    compute = compute_dtype(config.dtype)
    policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.promote_types(compute, torch.float32))
    again = mesh.parallel.pp == 1 and group_size(mesh.shard_group) > 1
    layers = [
        fully_shard(layer, mesh=device_mesh, reshard_after_forward=again, mp_policy=policy)
        for layer in chunk.model.layers.values()
    ]
    whole = fully_shard(chunk, mesh=device_mesh, reshard_after_forward=False, mp_policy=policy)
    for unit in (*layers, whole):
        unit.set_gradient_divide_factor(1.0)  # sums, no means
        unit.set_force_sum_reduction_for_comms(True)  # else that would be a PREMUL_SUM, which gloo has not
    return whole


def _drop_unsharded_sums(unit: FSDPModule) -> None:
    """Forget the gradients of passes whose last one never came; torch keeps them where only its own code looks."""
    for module in unit.modules():  # type: ignore[attr-defined]
        if isinstance(module, FSDPModule):
            for group in module._get_fsdp_state()._fsdp_param_groups:
                for parameter in group.fsdp_params:
                    parameter.unsharded_param.grad = parameter.unsharded_accumulated_grad = None


def _device_mesh(mesh: Mesh) -> DeviceMesh:
    """The ranks that parameters are split over, or (replica, shard) with HSDP, from the groups there are."""
    shard = mesh.shard_group
    if shard is None:  # torch wants a group even for one rank, which exchanges nothing
        shard = dist.new_group([mesh.rank], use_local_synchronization=True)
    if mesh.replica_group is None:
        return DeviceMesh.from_group(shard, mesh.device.type)
    assert mesh.dp_group is not None
    ranks = torch.tensor(dist.get_process_group_ranks(mesh.dp_group)).view(mesh.replica_group.size(), shard.size())
    return DeviceMesh.from_group(
        [mesh.replica_group, shard], mesh.device.type, mesh=ranks, mesh_dim_names=("replica", "shard")
    )


def _piece(name: str, block: Block, parameter: nn.Parameter, mesh: Mesh) -> Piece:
    assert isinstance(parameter, DTensor)
    assert parameter.shape == block.local, f"{name}: {tuple(parameter.shape)}, expected {block.local}"
    rows, width = block.local[0], torch.Size(block.local[1:]).numel()
    chunk = -(-rows // group_size(mesh.shard_group))
    first = min(rows, chunk * group_rank(mesh.shard_group))
    data = parameter.to_local().detach().view(-1)
    assert len(data) == (min(rows, first + chunk) - first) * width, f"{name} is cut otherwise"
    run = Run(nn.Parameter(data), torch.zeros_like(data), torch.zeros_like(data), decay=len(block.local) >= 2)
    return Piece(name, block, parameter, first * width, run)

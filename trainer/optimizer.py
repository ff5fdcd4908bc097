"""The distributed optimizer as the trainer sees it, and which one a configuration asks for.

In: a rank's chunks of the model, and the blocks that say what they are parts of. Out: an optimizer that sums the
chunks' gradients over all ranks, clips them, and updates weights whose state is split over the data-parallel ranks.
`trainer.zero` splits optimizer state alone (ZeRO stage 1), `trainer.fsdp` parameters and gradients as well (stage 3,
torch's FSDP2). Both update by the same rules (`trainer.adamw`) and give the same weights.

    optimizer = build_optimizer(chunks, blocks, config, mesh)
    optimizer.load_weights(weights.block)
    for step in range(1, num_steps + 1):
        optimizer.begin(num_passes)
        ...  # num_passes forwards and backwards of losses that are scaled for a sum
        norm = optimizer.reduce_gradients()
        optimizer.step(learning_rate(step, config, num_steps))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor

from trainer.config import TrainConfig
from trainer.mesh import Mesh
from trainer.model import Llama
from trainer.sharding import Block, FlatShard
from trainer.zero import ZeroOptimizer


class ShardedOptimizer(Protocol):
    """AdamW over all ranks. Gradients are summed over passes and ranks, not averaged."""

    def load_weights(self, read: Callable[[Block], Tensor]) -> None:
        """Start from weights; the master weights keep what the parameters' dtype rounds away.

        Args:
            read: gives a block's rectangle, shape `Block.size`, of any float dtype.
        """

    def begin(self, num_passes: int) -> None:
        """Start a step with gradients of 0, in which every parameter gets `num_passes` gradients.

        Gradients of a step that was begun and not finished are dropped.
        """

    def reduce_gradients(self) -> Tensor:
        """Finish summing gradients over all ranks; the global norm before clipping, float64 scalar.

        Raises:
            AssertionError: a parameter got no gradient; with its name.
        """
        ...

    def step(self, lr: float) -> None:
        """Clip by the norm just reduced, update, and start to publish the parameters to all ranks."""

    def publish(self) -> None:
        """Make the parameters follow from the state, after something else wrote it."""

    def finish(self) -> None:
        """Wait for what `step` and `publish` started; forwards and `shards` do so by themselves."""

    def set_updates(self, updates: int) -> None:
        """Tell Adam how many updates were made, for its bias correction."""

    def shards(self) -> dict[str, FlatShard]:
        """This rank's part of the state, by key; the data are views, so that a checkpoint can be read into them.

        Master weights have the tensor's Hugging Face name, the moments `exp_avg.<name>` and `exp_avg_sq.<name>`. Parts
        that lie on other ranks are empty, copies are not `stored`.
        """
        ...

    def gradient_shards(self) -> dict[str, FlatShard]:
        """This rank's part of the summed gradients, after `reduce_gradients` and before `step` clips them."""
        ...


def build_optimizer(
    chunks: Sequence[Llama], blocks: Mapping[str, Block], config: TrainConfig, mesh: Mesh
) -> ShardedOptimizer:
    """The optimizer of `config.parallel.data_parallel`, which takes over the chunks' parameters.

    Args:
        chunks: this rank's stages, in the model's order.
        blocks: parameter name -> block (`trainer.sharding.rank_blocks`).
    """
    if config.parallel.data_parallel == "fsdp":
        from trainer.fsdp import FsdpOptimizer  # DTensor and FSDP take a second to import, which zero1 does without

        return FsdpOptimizer(chunks, blocks, config, mesh)
    return ZeroOptimizer(chunks, blocks, config, mesh)

"""Runs a global batch: forward and backward of all its micro-batches, on any layout.

In: this rank's micro-batches (`trainer.data`). Out: gradients with the optimizer, losses in `LossSums`. Without a
pipeline the micro-batches go one after the other through the model, and that loop is all there is; with one they go
through the stages as the schedule orders (`trainer.pipeline`). Losses are sums over tokens, divided by the targets of
the whole global batch before backward, so that adding up over micro-batches and ranks gives the mean's gradient.

    engine = Engine(shape, chunks, optimizer, config, mesh)
    engine.train(batches, num_passes, num_targets, losses)
    grad_norm = optimizer.reduce_gradients()
    optimizer.step(lr)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from trainer.config import TrainConfig
from trainer.data import Batch
from trainer.llama_config import LlamaConfig
from trainer.loss import LossSums
from trainer.mesh import Mesh
from trainer.model import Llama
from trainer.optimizer import ShardedOptimizer

if TYPE_CHECKING:
    from trainer.pipeline import Pipeline


def never() -> bool:
    return False


class Engine:
    """The model of this rank, its optimizer, and the order in which micro-batches go through them."""

    def __init__(
        self,
        shape: LlamaConfig,
        chunks: Sequence[Llama],
        optimizer: ShardedOptimizer,
        config: TrainConfig,
        mesh: Mesh,
    ) -> None:
        """`chunks` are this rank's stages in order (`trainer.parallelize.build_chunks`): one without a pipeline."""
        self.chunks = chunks
        self.optimizer = optimizer
        self._pipeline: Pipeline | None = None
        if mesh.parallel.pp > 1:
            from trainer.pipeline import Pipeline  # torch's pipelining takes a second to import

            self._pipeline = Pipeline(shape, chunks, config, mesh)

    def train(
        self,
        batches: Iterable[Batch],
        num_passes: int,
        num_targets: int,
        losses: LossSums,
        stopped: Callable[[], bool] = never,
    ) -> bool:
        """Gradients of the mean loss of a global batch; the optimizer has them when its `reduce_gradients` is called.

        Args:
            batches: this rank's micro-batches; the ranks of a pipeline and of a tensor-parallel group bring the same.
            num_passes: how many there are.
            num_targets: targets of the global batch, over all ranks.
            losses: gets the token losses, on the ranks of the last stage.
            stopped: asked after each micro-batch; must answer alike on all ranks. A pipeline is never asked: its
                micro-batches are under way together.

        Returns:
            Whether all micro-batches were run; if not, the gradients are good for nothing.
        """
        self.optimizer.begin(num_passes)
        if self._pipeline is not None:
            self._pipeline.train(list(batches), num_targets, losses)
            return True
        (model,) = self.chunks
        for batch in batches:
            token_losses = model(batch.inputs, batch.documents, batch.targets)
            (token_losses.sum() / num_targets).backward()
            losses.add(token_losses, batch.targets, batch.sources)
            if stopped():
                return False
        return True

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], losses: LossSums) -> None:
        """Add the losses of batches on the ranks of the last stage; no gradients.

        Every data-parallel rank must bring as many batches: FSDP gathers parameters in each forward.
        """
        if self._pipeline is not None:
            self._pipeline.evaluate(list(batches), losses)
            return
        (model,) = self.chunks
        for batch in batches:
            losses.add(model(batch.inputs, batch.documents, batch.targets), batch.targets, batch.sources)

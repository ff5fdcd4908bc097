"""Pipeline parallelism: micro-batches flow through stages on different ranks, 1F1B or interleaved 1F1B.

In: this rank's stages and the micro-batches of a global batch, the same ones on every rank of a pipeline. Out:
gradients in the stages' parameters, and token losses, which the last stage has, in `LossSums`. The schedules are
torch.distributed.pipelining's: 1F1B (Narayanan et al. 2019: after a warm-up each forward is followed by a backward,
so that a stage keeps activations of at most pp micro-batches) and interleaved 1F1B (Narayanan et al. 2021, section
2.2: several stages a rank, which divides the idle time by their number). Send and receive between neighbours is all
they exchange: hidden states forward, their gradients backward, (batch, seq, hidden) each, seq / t of it where the
sequence is split. Shapes are known beforehand, so nothing is agreed upon over the network but that.

Zero-bubble schedules (InterleavedZeroBubble, ZBV) are refused: their weight backward calls `autograd.grad` and writes
`weight.grad` itself, so that the hooks never run through which the optimizer adds gradients to its sums. With a plain
loss nothing fails then and training is wrong; the chunked head, which can be differentiated once only, raises.
`trainer.config.ParallelConfig` refuses the option.

Idle part of a step: (pp - 1) / (virtual_stages * m) for m micro-batches.

    pipeline = Pipeline(shape, chunks, config, mesh)
    pipeline.train(batches, num_targets, losses)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed import P2POp
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleInterleaved1F1B
from torch.distributed.pipelining.schedules import _PipelineSchedule

from trainer.config import TrainConfig
from trainer.data import Batch
from trainer.llama_config import LlamaConfig
from trainer.loss import LossSums
from trainer.mesh import Mesh
from trainer.model import Llama
from trainer.precision import compute_dtype

# Micro-batches that go through the pipeline in one evaluation, for each of its ranks: torch keeps all their hidden
# states until the end, and the pipeline is idle for (pp - 1) / (pp * this) of the time.
EVALUATED_AT_A_TIME = 4


class Pipeline:
    """The stages that this rank holds, and a schedule for each number of micro-batches that was asked for."""

    def __init__(self, shape: LlamaConfig, chunks: Sequence[Llama], config: TrainConfig, mesh: Mesh) -> None:
        self._stages = [_stage(chunk, shape, config, mesh) for chunk in chunks]
        self._pp = mesh.parallel.pp
        self._schedules: dict[tuple[bool, int], _PipelineSchedule] = {}

    def train(self, batches: Sequence[Batch], num_targets: int, losses: LossSums) -> None:
        """Forward and backward of a global batch's micro-batches; gradients are those of the mean over `num_targets`.

        Raises:
            ValueError: fewer micro-batches than pipeline ranks, or a number that interleaving cannot share out
                (`trainer.problems` finds both before a run starts).
        """
        self._run(batches, num_targets, losses, training=True)

    def evaluate(self, batches: Sequence[Batch], losses: LossSums) -> None:
        """Forward only, of any number of micro-batches, each of `micro_batch` sequences."""
        group = EVALUATED_AT_A_TIME * self._pp
        for first in range(0, len(batches), group):
            some = batches[first : first + group]
            # Interleaving shares out multiples of pp, and any number below pp.
            whole = len(some) // self._pp * self._pp
            for part in (some[:whole], some[whole:]):
                if part:
                    self._run(part, 1, losses, training=False)

    def _run(self, batches: Sequence[Batch], num_targets: int, losses: LossSums, *, training: bool) -> None:
        documents = [batch.documents for batch in batches if batch.documents is not None]
        schedule = self._schedule(training, len(batches))
        for stage in self._stages:  # which schedules share; each tells them its number only when it first runs
            stage.chunks = len(batches)
        run = schedule.step if training else schedule.eval
        run(
            *([torch.cat([batch.inputs for batch in batches])] if self._stages[0].is_first else []),
            target=torch.arange(len(batches)),
            return_outputs=False,
            loss_kwargs={"batches": batches, "num_targets": num_targets, "losses": losses},
            documents=torch.cat(documents) if documents else None,
            targets=torch.cat([batch.targets for batch in batches]),
        )

    def _schedule(self, training: bool, num_micro_batches: int) -> _PipelineSchedule:
        """Evaluation is interleaved also with one stage a rank: 1F1B takes no less than pp micro-batches."""
        key = (training, num_micro_batches)
        if key not in self._schedules:
            settings: dict[str, Any] = {"loss_fn": _loss, "scale_grads": False}
            if training and len(self._stages) == 1:
                self._schedules[key] = Schedule1F1B(self._stages[0], num_micro_batches, **settings)
            else:
                self._schedules[key] = ScheduleInterleaved1F1B(list(self._stages), num_micro_batches, **settings)
        return self._schedules[key]


def _loss(token_losses: Tensor, number: Tensor, batches: Sequence[Batch], num_targets: int, losses: LossSums) -> Tensor:
    """The last stage's: what it adds to the global batch's mean loss. The schedule's "target" is the number (1,)."""
    batch = batches[int(number)]
    losses.add(token_losses, batch.targets, batch.sources)
    return token_losses.sum() / num_targets


def _stage(chunk: Llama, shape: LlamaConfig, config: TrainConfig, mesh: Mesh) -> PipelineStage:
    """torch's stage of one chunk, told what comes in and goes out: token ids or hidden states, hidden states or losses.

    What goes out is contiguous, which sending takes for granted.
    """
    dtype, parallel = compute_dtype(config.dtype), mesh.parallel
    tokens = (config.micro_batch, config.seq_len)
    seq = config.seq_len // parallel.tp if parallel.splits_sequence else config.seq_len
    hidden = torch.empty(config.micro_batch, seq, shape.hidden_size, dtype=dtype, device="meta", requires_grad=True)
    wide = torch.promote_types(dtype, torch.float32)
    return BoundedStage(
        chunk,
        chunk.stage.index,
        chunk.stage.num_stages,
        mesh.device,
        input_args=torch.empty(tokens, dtype=torch.int64, device="meta") if chunk.stage.has_embedding else hidden,
        output_args=torch.empty(tokens, dtype=wide, device="meta") if chunk.stage.has_head else hidden,
        group=mesh.pp_group,
    )


class BoundedStage(PipelineStage):
    """torch's stage, with memory for what it receives only while a micro-batch is in it.

    torch allocates hidden states and their gradients for every micro-batch of the global batch and keeps them: 32 GiB
    for Swallow's 70B (256 micro-batches of 64 MiB each way, / tp with the sequence split), of which 1F1B uses at most
    pp at a time. What is left to torch: interleaved, it keeps the handles of sends to the end of the step, and on gloo
    a handle holds what it sends.
    """

    def _setup_forward_recv_info(self, num_microbatches: int, has_backward: bool) -> None:
        device, self.device = self.device, torch.device("meta")
        super()._setup_forward_recv_info(num_microbatches, has_backward)
        self.device = device

    def _setup_backward_recv_info(self, num_microbatches: int) -> None:
        device, self.device = self.device, torch.device("meta")
        super()._setup_backward_recv_info(num_microbatches)
        self.device = device

    def get_fwd_recv_ops(self, fwd_chunk_id: int) -> list[P2POp]:
        self._allocate(self.args_recv_info[fwd_chunk_id])
        return super().get_fwd_recv_ops(fwd_chunk_id)

    def get_bwd_recv_ops(self, bwd_chunk_id: int) -> list[P2POp]:
        if self.has_backward:
            self._allocate(self.grad_recv_info[bwd_chunk_id])
        return super().get_bwd_recv_ops(bwd_chunk_id)

    def forward_one_chunk(self, fwd_chunk_id: int, *args: Any, **kwargs: Any) -> Any:
        output = super().forward_one_chunk(fwd_chunk_id, *args, **kwargs)
        _release(self.args_recv_info[fwd_chunk_id])  # backward keeps its own hold on it
        return output

    def backward_one_chunk(self, bwd_chunk_id: int, loss: Tensor | None = None, *args: Any, **kwargs: Any) -> None:
        super().backward_one_chunk(bwd_chunk_id, loss, *args, **kwargs)
        if self.has_backward:
            _release(self.grad_recv_info[bwd_chunk_id])
            if loss is not None:
                loss.detach_()  # the schedule keeps it to the end, and its graph would keep what was received

    def _allocate(self, received: Sequence[Any]) -> None:
        for info in received:
            if not info.is_root_arg:
                info.buffer = torch.empty(info.tensor_meta.shape, dtype=info.tensor_meta.dtype, device=self.device)


def _release(received: Sequence[Any]) -> None:
    for info in received:
        info.buffer = None

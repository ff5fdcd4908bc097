"""Training steps to compare: Hibari's, transformers' and plain torch's, from the same weights on the same batch.

Each is built from a Hugging Face configuration and whole fp32 weights, and makes a step when called: zeroed gradients,
forward and backward of the batch's micro-batches, clipping to norm 1, AdamW.

    hibari = Hibari(fields, weights, train_config(fields, batch, dtype="bf16"), mesh)
    peer = Transformers(fields, weights, "bf16 autocast", device)
    hibari(batch), peer(batch)      # losses
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config import ParallelConfig, TrainConfig
from trainer.data import Batch
from trainer.engine import Engine
from trainer.layout import coordinates
from trainer.llama_config import llama_config
from trainer.loss import LossSums
from trainer.mesh import Mesh
from trainer.model import Llama
from trainer.optimizer import build_optimizer
from trainer.parallelize import build_chunks
from trainer.sharding import Block, rank_blocks

LR = 1e-4
Precision = Literal["fp32", "bf16", "bf16 autocast"]


def hugging_face_fields(
    *, vocab: int, hidden: int, ffn: int, layers: int, heads: int, seq_len: int, kv_heads: int | None = None,
    tied: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """A Llama's config.json."""
    return {
        "model_type": "llama",
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads or heads,
        "max_position_embeddings": seq_len,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": tied,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }


def train_config(fields: Mapping[str, Any], sequences: int, **changes: Any) -> TrainConfig:
    """The trainer's configuration for steps of so many sequences, one micro-batch unless told."""
    settings = {
        "seq_len": fields["max_position_embeddings"],
        "global_batch": sequences,
        "micro_batch": sequences,
        "warmup_steps": 0,
        "clip_norm": 1.0,
    }
    return TrainConfig(**settings | changes)


def one_process(device: torch.device) -> Mesh:
    """A mesh without process groups."""
    return Mesh(ParallelConfig(), 0, coordinates(0, ParallelConfig()), device)


def random_weights(fields: Mapping[str, Any], device: torch.device, seed: int = 1) -> Callable[[Block], Tensor]:
    """Reads a block of weights: normal with deviation 0.02, norms 1; the same numbers for a tensor at every reading.

    Made when asked for and in fp32, so that no second copy of a large model is in memory.
    """

    def read(block: Block) -> Tensor:
        if len(block.shape) == 1:
            return torch.ones(block.size, device=device)
        generator = torch.Generator(device).manual_seed(seed + sum(block.name.encode()) * 1009 + block.shape[0])
        whole = torch.randn(block.shape, generator=generator, device=device).mul_(0.02)
        return whole[tuple(slice(at, at + length) for at, length in zip(block.offset, block.size, strict=True))]

    return read


def random_batch(vocab: int, sequences: int, seq_len: int, device: torch.device, seed: int = 1) -> Batch:
    """Uniformly random tokens, all of one source."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, vocab, (sequences, seq_len + 1), generator=generator).to(device)
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    return Batch(inputs, targets, torch.zeros(sequences, dtype=torch.int64, device=device))


def micro_batches(batch: Batch, rows: int, dp_rank: int = 0, dp: int = 1) -> Iterator[Batch]:
    """A rank's micro-batches of a global batch, as `trainer.data` deals them out."""
    for first in range(rows * dp_rank, len(batch.inputs), rows * dp):
        part = slice(first, first + rows)
        yield Batch(batch.inputs[part], batch.targets[part], batch.sources[part])


class Hibari:
    """Our step: fp32 master weights, sums and moments whatever the dtype; any layout."""

    def __init__(self, fields: Mapping[str, Any], read: Callable[[Block], Tensor], config: TrainConfig, mesh: Mesh):
        shape = llama_config(fields)
        self.config, self.mesh = config, mesh
        self.chunks = build_chunks(shape, config, mesh)
        blocks = rank_blocks(shape, config.parallel, mesh.place)
        self.optimizer = build_optimizer(self.chunks, blocks, config, mesh)
        self.optimizer.load_weights(read)
        self.engine = Engine(shape, self.chunks, self.optimizer, config, mesh)

    def __call__(self, batch: Batch) -> float:
        losses = LossSums(["all"], self.mesh.device)
        rows, dp = self.config.micro_batch, self.mesh.parallel.dp
        own = micro_batches(batch, rows, self.mesh.place.dp, dp)
        self.engine.train(own, self.config.global_batch // (rows * dp), batch.targets.numel(), losses)
        self.optimizer.reduce_gradients()
        self.optimizer.step(LR)
        return losses.reduce(self.mesh)[0]


class PlainTorch:
    """Our model as torchtitan trains one without parallelism: eager, whole logits, autocast, fused AdamW."""

    def __init__(
        self,
        fields: Mapping[str, Any],
        read: Callable[[Block], Tensor],
        precision: Precision,
        device: torch.device,
        micro_batch: int | None = None,
    ):
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        with device:
            self.model = Llama(llama_config(fields), dtype)
        self.loss = lambda batch: _whole_logits_loss(self.model(batch.inputs), batch.targets)
        self._update = _Update(self.model, read, precision, device, micro_batch)

    def __call__(self, batch: Batch) -> float:
        return self._update(self.loss, batch)


class Transformers:
    """transformers' Llama with its own loss, and torch's fused AdamW."""

    def __init__(
        self,
        fields: Mapping[str, Any],
        read: Callable[[Block], Tensor],
        precision: Precision,
        device: torch.device,
        micro_batch: int | None = None,
    ):
        import transformers

        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        config = transformers.LlamaConfig(**fields, use_cache=False)
        with device:
            self.model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
        self.model.train()
        self._update = _Update(self.model, read, precision, device, micro_batch)

    def __call__(self, batch: Batch) -> float:
        return self._update(self._loss, batch)

    def _loss(self, batch: Batch) -> Tensor:
        # `labels` alone would be shifted once more and leave the last position out.
        return self.model(input_ids=batch.inputs, labels=batch.targets, shift_labels=batch.targets).loss


class _Update:
    """The step of an ordinary torch program around a loss."""

    def __init__(
        self,
        model: nn.Module,
        read: Callable[[Block], Tensor],
        precision: Precision,
        device: torch.device,
        micro_batch: int | None,
    ):
        self.model, self.device, self.precision, self.micro_batch = model, device, precision, micro_batch
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                shape = tuple(parameter.shape)
                parameter.copy_(read(Block(name, shape, (0,) * len(shape), shape, shape)))
        groups = [
            {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
            {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
        ]
        self.adam = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95), eps=1e-8, fused=True)

    def __call__(self, loss_of: Callable[[Batch], Tensor], batch: Batch) -> float:
        self.adam.zero_grad(set_to_none=True)
        rows = self.micro_batch or len(batch.inputs)
        total = torch.zeros((), device=self.device)
        for part in micro_batches(batch, rows):
            with self._autocast():
                loss = loss_of(part) * (rows / len(batch.inputs))
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.adam.step()
        return total.item()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision != "bf16 autocast":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


def _whole_logits_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class MatrixProduct:
    """Operations of a square matrix product: a second, and a CPU second of all threads."""

    flops: float
    flops_per_cpu_s: float


def matrix_product(size: int, dtype: torch.dtype, device: torch.device, seconds: float = 0.5) -> MatrixProduct:
    """The fastest of as many products as fit into `seconds`, three at least."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    wall: list[float] = []
    cpu: list[float] = []
    ends = time.perf_counter() + seconds
    while len(wall) < 3 or time.perf_counter() < ends:
        synchronize(device)
        began, cpu_began = time.perf_counter(), time.process_time()
        a @ b
        synchronize(device)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - cpu_began)
    return MatrixProduct(2 * size**3 / min(wall), 2 * size**3 / min(cpu))

"""What a rank's memory will hold, by formula: parameters, gradients, optimizer state, activations, logits; no torch.

In: the model's shape and the configuration. Out: bytes. With N parameters on a rank, b bytes a number in the compute
dtype (bf16 2, fp32 4) and w = max(4, b):

- zero1 (`trainer.zero`): b N + w N + (2w + master) N / dp, master = w where b < w, else 0: 6 + 12 / dp in bf16.
- fsdp (`trainer.fsdp`) over n ranks: 4w N / n, and unsharded the units in use, b and w a number: all of them on a
  pipeline, else two layers at a time and what is beside the layers. Gradients are summed unsharded over passes.
- activations of a layer and micro-batch (Korthikanti et al. 2022, without dropout, with flash attention):
  sbh (12 + 4 g/a + 6 f/h) / t bytes in bf16, compiled or not (`trainer.functions` keeps no more). Without sequence
  parallelism the norms' part (8) is not divided by t. Full recomputation: 2 sbh / t, and one layer whole.
  (s sequence, b micro-batch, h hidden, f intermediate size, a heads, g key-value heads, t ranks of tp.)
- micro-batches that have been through forward and not backward: on pipeline rank r of p at most p - r, with v stages
  a rank 2 (p - r - 1) + (v - 1) p + 1 times a v-th of its layers (Narayanan et al. 2021).
- logits of one chunk, and the head's gradient until backward (`trainer.loss`).

Not counted: the CUDA context, NCCL's buffers, gradients between backward and their sum, gaps of the allocator.

    needed = largest_memory(model, config)
    logger.info("%s of %.1f GiB", needed, device_gib(mesh.device))
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from trainer.config import TrainConfig
from trainer.layout import Coordinates
from trainer.llama_config import LlamaConfig
from trainer.sharding import padded_rows, rank_blocks
from trainer.stages import split_stages

BYTES = {"bf16": 2, "fp32": 4, "float64": 8}


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank at the fullest moment of a step."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return self.parameters + self.gradients + self.optimizer + self.activations + self.logits

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {value / 2**30:.2f}" for name, value in vars(self).items())
        return f"predicted memory {self.total / 2**30:.2f} GiB ({parts})"


def largest_memory(model: LlamaConfig, config: TrainConfig) -> Memory:
    """Of the pipeline rank that needs most."""
    ranks = (predicted_memory(model, config, pp_rank) for pp_rank in range(config.parallel.pp))
    return max(ranks, key=lambda memory: memory.total)


def predicted_memory(model: LlamaConfig, config: TrainConfig, pp_rank: int = 0) -> Memory:
    """Of the ranks of one pipeline rank; they differ only in the padding of a vocabulary that tp does not divide."""
    parallel, b = config.parallel, BYTES[config.dtype]
    wide = max(4, b)
    passes = config.global_batch // (config.micro_batch * parallel.dp)
    stages = [stage for stage in split_stages(model, parallel) if stage.pp_rank == pp_rank]
    num_layers = sum(len(stage.layers) for stage in stages)
    blocks = rank_blocks(model, parallel, Coordinates(tp=0, dp=0, pp=pp_rank))
    in_layers = sum(prod(block.local) for block in blocks.values() if block.name.startswith("model.layers."))
    outside = sum(prod(block.local) for block in blocks.values()) - in_layers
    numel = in_layers + outside
    if parallel.data_parallel == "zero1":
        parameters, gradients = b * numel, wide * numel
        optimizer = (2 * wide + (wide if b < wide else 0)) * -(-numel // parallel.dp)
    else:
        sharded = -(-numel // (parallel.fsdp_shard or parallel.dp))
        in_use = numel if parallel.pp > 1 else min(numel, outside + 2 * -(-in_layers // max(1, num_layers)))
        parameters = wide * sharded + b * in_use
        gradients = wide * sharded + wide * (numel if passes > 1 else in_use)
        optimizer = 2 * wide * sharded
    return Memory(
        parameters=parameters,
        gradients=gradients,
        optimizer=optimizer,
        activations=_activations(model, config, pp_rank, num_layers, passes),
        logits=_logits(model, config) if any(stage.has_head for stage in stages) else 0,
    )


def layer_activations(model: LlamaConfig, config: TrainConfig) -> int:
    """Bytes that a layer keeps of one micro-batch for backward, nothing being recomputed."""
    parallel, b = config.parallel, BYTES[config.dtype]
    hidden, tokens = model.hidden_size, config.seq_len * config.micro_batch
    heads = model.head_dim * model.num_heads, model.head_dim * max(model.num_kv_heads, parallel.tp)
    norms = 2 * hidden * 2 * b  # two, each: its input, also the sum of the residual, and its output
    attention = b * (2 * heads[0] + 2 * heads[1])  # query, key, value turned, and the weighted sum
    mlp = b * model.intermediate_size * 3  # gate, up, and what comes of them
    return tokens * (norms // _sequence_parts(config) + (attention + mlp) // parallel.tp)


def in_flight(config: TrainConfig, pp_rank: int, passes: int) -> float:
    """Micro-batches of which a rank holds all its layers' activations, at most."""
    pp, virtual = config.parallel.pp, config.parallel.virtual_stages
    if virtual == 1:
        return min(passes, pp - pp_rank)
    return min(passes * virtual, 2 * (pp - pp_rank - 1) + (virtual - 1) * pp + 1) / virtual


def _activations(model: LlamaConfig, config: TrainConfig, pp_rank: int, num_layers: int, passes: int) -> int:
    layer, held = layer_activations(model, config), in_flight(config, pp_rank, passes)
    if config.recompute != "full":
        return int(held * num_layers * layer)
    inputs = BYTES[config.dtype] * model.hidden_size * config.seq_len * config.micro_batch // _sequence_parts(config)
    return int(held * num_layers * inputs) + layer


def _logits(model: LlamaConfig, config: TrainConfig) -> int:
    """One chunk in the format of products and in at least fp32; gradients of hidden states and head until backward."""
    b, wide = BYTES[config.dtype], max(4, BYTES[config.dtype])
    tokens, rows = config.seq_len * config.micro_batch, padded_rows(model.vocab_size, config.parallel.tp)
    chunk = min(config.loss_chunk, tokens) * rows * (b + (wide if b < wide else 0))
    return chunk + 2 * b * tokens * model.hidden_size + wide * rows * model.hidden_size


def _sequence_parts(config: TrainConfig) -> int:
    return config.parallel.tp if config.parallel.splits_sequence else 1

"""What keeps a training from running, found before any process starts: everything wrong, in one message.

In: a `TrainConfig`, and the model's shape, the processes and the machine as far as they are known. Out: one sentence a
problem, with what was got, what is needed and what to do. Nothing here imports torch.

    if found := problems(job.train, read_llama_config(job.model), world=8, num_steps=job.num_steps):
        raise ValueError("; ".join(found))
"""

from __future__ import annotations

from trainer.batch_ramp import ramp_problems
from trainer.config import ParallelConfig, TrainConfig
from trainer.llama_config import LlamaConfig


def problems(
    config: TrainConfig,
    model: LlamaConfig | None = None,
    world: int | None = None,
    num_steps: int | None = None,
    ranks_per_node: int | None = None,
) -> list[str]:
    """Everything that keeps this configuration from running, each with what to do; empty when it can run.

    Args:
        world: processes that were started, where that is known.
        num_steps: length of the run, where that is known.
        ranks_per_node: processes of each machine, where that is known.
    """
    parallel = config.parallel
    found = _layout_problems(parallel, world, ranks_per_node) + _batch_problems(config)
    if config.min_lr > config.lr:
        found.append(f"min_lr {config.min_lr} is above lr {config.lr}; lower it (Swallow: lr / 30)")
    if num_steps is not None and config.warmup_steps >= num_steps:
        found.append(
            f"warmup_steps {config.warmup_steps} leaves nothing of the {num_steps} steps; lower warmup_steps, or "
            f"train longer (mix.train_tokens / (seq_len x global_batch) = number of steps)"
        )
    if (
        num_steps is not None
        and config.decay_steps is not None
        and config.warmup_steps + config.decay_steps > num_steps
    ):
        found.append(
            f"warmup_steps {config.warmup_steps} + decay_steps {config.decay_steps} are more than the {num_steps} "
            f"steps; lower one of them"
        )
    if parallel.splits_sequence and config.seq_len % parallel.tp:
        found.append(
            f"seq_len {config.seq_len} does not split over tp {parallel.tp}; use a multiple, or set "
            f"parallel.sequence_parallel: false"
        )
    if model is not None:
        found += _model_problems(config, model)
    return found


def _layout_problems(parallel: ParallelConfig, world: int | None, ranks_per_node: int | None) -> list[str]:
    found = []
    if world is not None and world != parallel.world_size:
        found.append(
            f"parallel: dp {parallel.dp} x tp {parallel.tp} x pp {parallel.pp} needs {parallel.world_size} "
            f"processes, {world} were started; start as many as the layout needs"
        )
    if ranks_per_node is not None and ranks_per_node % parallel.tp and not parallel.tp_across_nodes:
        found.append(
            f"parallel: tp {parallel.tp} does not divide the {ranks_per_node} processes of a node, so a "
            f"tensor-parallel group would leave its node, where every layer waits for the network; use a tp that "
            f"divides it, or set tp_across_nodes: true"
        )
    if parallel.virtual_stages > 1 and parallel.pp == 1:
        found.append(f"parallel: virtual_stages {parallel.virtual_stages} interleaves a pipeline; set pp above 1")
    if parallel.fsdp_shard is not None and parallel.data_parallel != "fsdp":
        found.append("parallel: fsdp_shard is read with data_parallel: fsdp only; set that, or leave it out")
    if parallel.fsdp_shard is not None and parallel.dp % parallel.fsdp_shard:
        found.append(f"parallel: fsdp_shard {parallel.fsdp_shard} does not divide dp {parallel.dp}")
    stages = parallel.layers_per_stage
    if stages is not None and (len(stages) != parallel.num_stages or min(stages, default=0) < 0):
        found.append(
            f"parallel: layers_per_stage has {len(stages)} entries for pp {parallel.pp} x virtual_stages "
            f"{parallel.virtual_stages} = {parallel.num_stages} stages; give one each, none negative"
        )
    return found


def _batch_problems(config: TrainConfig) -> list[str]:
    found = []
    parallel, per_pass = config.parallel, config.micro_batch * config.parallel.dp
    if config.global_batch % per_pass:
        fits = max(per_pass, config.global_batch // per_pass * per_pass)
        found.append(
            f"global_batch {config.global_batch} is not a multiple of micro_batch {config.micro_batch} x dp "
            f"{parallel.dp} = {per_pass}; use {fits}"
        )
    if config.batch_ramp is not None:
        found += ramp_problems(config.batch_ramp, config.global_batch, per_pass)
    return found


def _model_problems(config: TrainConfig, model: LlamaConfig) -> list[str]:
    found = []
    parallel = config.parallel
    if config.seq_len > model.max_positions:
        found.append(
            f"seq_len {config.seq_len} is longer than the model's max_position_embeddings {model.max_positions}; "
            f"use at most {model.max_positions}"
        )
    if model.num_heads % parallel.tp:
        found.append(f"parallel: tp {parallel.tp} does not divide the model's {model.num_heads} attention heads")
    if model.num_kv_heads % parallel.tp and parallel.tp % model.num_kv_heads:
        found.append(
            f"parallel: tp {parallel.tp} neither divides the model's {model.num_kv_heads} key-value heads nor is a "
            f"multiple of them; use a divisor or a multiple"
        )
    if model.intermediate_size % parallel.tp:
        found.append(
            f"parallel: tp {parallel.tp} does not divide the model's intermediate_size {model.intermediate_size}"
        )
    stages = parallel.layers_per_stage
    if stages is not None and sum(stages) != model.num_layers:
        found.append(f"parallel: layers_per_stage sums to {sum(stages)}, the model has {model.num_layers} layers")
    if parallel.num_stages > model.num_layers + 2:
        found.append(
            f"parallel: pp {parallel.pp} x virtual_stages {parallel.virtual_stages} = {parallel.num_stages} stages are "
            f"more than the model's {model.num_layers} layers, embedding and head; lower one of them"
        )
    return found

"""What keeps a training from running, found before any process starts: everything wrong, in one message.

In: a `TrainConfig`, and the model's shape, the length of the run, the processes and the machine as far as they are
known: a run file knows less than the trainer's ranks, which look again. Out: one sentence a problem, with what was got,
what is needed and what to do. Nothing here imports torch.

    if found := problems(job.train, read_llama_config(job.model), world=8, num_steps=job.num_steps):
        raise ValueError("; ".join(found))
"""

from __future__ import annotations

from collections.abc import Collection

from trainer.batch_ramp import levels, ramp_problems
from trainer.config import ParallelConfig, TrainConfig
from trainer.llama_config import LlamaConfig


def problems(
    config: TrainConfig,
    model: LlamaConfig | None = None,
    world: int | None = None,
    num_steps: int | None = None,
    ranks_per_node: int | None = None,
    gpus_per_node: int | None = None,
    languages: Collection[str] | None = None,
) -> list[str]:
    """Everything that keeps this configuration from running, each with what to do; empty when it can run.

    Args:
        world: processes that were started, where that is known.
        num_steps: length of the run, where that is known.
        ranks_per_node: processes of each machine, where that is known.
        gpus_per_node: GPUs of each machine, 0 where training runs on CPUs, where that is known.
        languages: of the validation mixture, empty where there is none, where that is known.
    """
    return [
        *_layout_problems(config.parallel),
        *_machine_problems(config, world, ranks_per_node, gpus_per_node),
        *_batch_problems(config),
        *_schedule_problems(config, num_steps),
        *_guard_problems(config, languages),
        *(_model_problems(config, model) if model is not None else []),
    ]


def _layout_problems(parallel: ParallelConfig) -> list[str]:
    found = []
    if parallel.virtual_stages > 1 and parallel.pp == 1:
        found.append(f"parallel: virtual_stages {parallel.virtual_stages} interleaves a pipeline; set pp above 1")
    stages = parallel.layers_per_stage
    if stages is not None and (len(stages) != parallel.num_stages or min(stages, default=0) < 0):
        found.append(
            f"parallel: layers_per_stage has {len(stages)} entries for pp {parallel.pp} x virtual_stages "
            f"{parallel.virtual_stages} = {parallel.num_stages} stages; give one each, none negative"
        )
    elif stages is not None and 0 in stages[1:-1]:
        found.append(
            f"parallel: layers_per_stage {stages} has a stage of nothing; only the first and the last, which hold "
            f"embedding and head, may have no layer"
        )
    if parallel.fsdp_shard is not None and parallel.data_parallel != "fsdp":
        found.append("parallel: fsdp_shard is read with data_parallel: fsdp only; set that, or leave it out")
    if parallel.fsdp_shard is not None and parallel.dp % parallel.fsdp_shard:
        found.append(f"parallel: fsdp_shard {parallel.fsdp_shard} does not divide dp {parallel.dp}; use a divisor")
    return found


def _machine_problems(
    config: TrainConfig, world: int | None, ranks_per_node: int | None, gpus_per_node: int | None
) -> list[str]:
    found, parallel = [], config.parallel
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
    if gpus_per_node and ranks_per_node is not None and ranks_per_node > gpus_per_node:
        found.append(
            f"{ranks_per_node} processes were started on a node of {gpus_per_node} GPUs; start one for each GPU"
        )
    if gpus_per_node and config.dtype == "float64":
        found.append("dtype float64 is for proofs on a CPU, and fused attention has none on a GPU; use bf16 or fp32")
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
    if parallel.pp > 1 and not found:
        for batch in sorted({level.batch for level in levels(config.batch_ramp, config.global_batch)}):
            found += _pipeline_problems(parallel, batch, batch // per_pass)
    if parallel.splits_sequence and config.seq_len % parallel.tp:
        found.append(
            f"seq_len {config.seq_len} does not split over tp {parallel.tp}; use a multiple, or set "
            f"parallel.sequence_parallel: false"
        )
    return found


def _pipeline_problems(parallel: ParallelConfig, batch: int, passes: int) -> list[str]:
    """What torch's schedules refuse of `passes` micro-batches: 1F1B fewer than there are stages, interleaved 1F1B a
    number that its rounds, of pp micro-batches or more, do not divide."""
    said = f"parallel: a batch of {batch} sequences is {passes} micro-batches on each rank"
    if parallel.virtual_stages == 1 and passes < parallel.pp:
        return [
            f"{said}, fewer than the pipeline's {parallel.pp} stages; use pp x micro_batch x dp sequences or more, or "
            f"a lower pp"
        ]
    rounds = max(1, passes // parallel.pp)
    if parallel.virtual_stages > 1 and passes % rounds:
        return [
            f"{said}, which interleaving cannot share out: {rounds} rounds of pp {parallel.pp} or more do not divide "
            f"them; use a batch that is a multiple of pp x micro_batch x dp"
        ]
    return []


def _schedule_problems(config: TrainConfig, num_steps: int | None) -> list[str]:
    found = []
    if config.min_lr > config.lr:
        found.append(f"min_lr {config.min_lr} is above lr {config.lr}; lower it (Swallow: lr / 30)")
    if config.decay_steps is not None and config.schedule != "wsd":
        found.append(f"decay_steps is read with schedule: wsd only, not {config.schedule}; set that, or leave it out")
    if num_steps is not None and config.warmup_steps >= num_steps:
        found.append(
            f"warmup_steps {config.warmup_steps} leaves nothing of the {num_steps} steps; lower warmup_steps, or "
            f"train longer (mix.train_tokens / (seq_len x global_batch) = number of steps)"
        )
    elif num_steps is not None and config.warmup_steps + (config.decay_steps or 0) > num_steps:
        found.append(
            f"warmup_steps {config.warmup_steps} + decay_steps {config.decay_steps} are more than the {num_steps} "
            f"steps; lower one of them"
        )
    return found


def _guard_problems(config: TrainConfig, languages: Collection[str] | None) -> list[str]:
    """Only of a guard that is to stop the run: one that warns says the same in the log."""
    guard = config.forgetting
    if guard.action != "stop":
        return []
    if config.validate_every == 0:
        return ["forgetting: action stop looks at validations, and validate_every is 0; set it to 100 or so"]
    if languages is not None and not languages:
        return ["forgetting: action stop looks at validations, and there is no validation mixture; set "
                "mix.validation_tokens above 0"]  # fmt: skip
    if languages is not None and guard.language not in languages:
        return [
            f"forgetting: language {guard.language} is none of the validation mixture's, {', '.join(sorted(languages))}"
            f"; name one of them, or mix a source of that language"
        ]
    return []


def _model_problems(config: TrainConfig, model: LlamaConfig) -> list[str]:
    found = []
    parallel, window = config.parallel, model.sliding_window
    if config.seq_len > model.max_positions:
        found.append(
            f"seq_len {config.seq_len} is longer than the model's max_position_embeddings {model.max_positions}; "
            f"use at most {model.max_positions}"
        )
    if window is not None and config.seq_len > window:
        found.append(
            f"seq_len {config.seq_len} is longer than the model's sliding_window {window}, beyond which its attention "
            f"does not look and the trainer's does; use at most {window}"
        )
    for value, name in ((model.num_heads, "attention heads"), (model.intermediate_size, "intermediate_size")):
        if value % parallel.tp:
            found.append(f"parallel: tp {parallel.tp} does not divide the model's {value} {name}; use a divisor")
    if model.num_kv_heads % parallel.tp and parallel.tp % model.num_kv_heads:
        found.append(
            f"parallel: tp {parallel.tp} neither divides the model's {model.num_kv_heads} key-value heads nor is a "
            f"multiple of them; use a divisor or a multiple"
        )
    stages = parallel.layers_per_stage
    if stages is not None and sum(stages) != model.num_layers:
        found.append(f"parallel: layers_per_stage sums to {sum(stages)}, the model has {model.num_layers} layers")
    if stages is None and parallel.num_stages > model.num_layers + 2:
        found.append(
            f"parallel: pp {parallel.pp} x virtual_stages {parallel.virtual_stages} = {parallel.num_stages} stages are "
            f"more than the model's {model.num_layers} layers, embedding and head; lower one of them"
        )
    return found

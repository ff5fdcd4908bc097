"""How long an optimizer step takes here: random tokens through the real model, optimizer and communication.

In: a JSON file {model, extra_rows, train, steps, result} (`SpeedProbe`). Out: JSON {seconds_per_step, ...} at `result`.
Micro-batches and the rest of the step (reduction, clipping, update, gathering) are timed apart, after one warm-up, and
the medians are put together for the whole global batch; so a step of 16 micro-batches costs the probe one. A pipeline
of p ranks with v stages each is timed with p micro-batches: m of them take as long as m + (p - 1) / v of its slowest
rank's, the second term being the time it fills and drains (Narayanan et al. 2021, section 2.2). Weights are random.

    torchrun --nproc-per-node 2 -m trainer.speed PROBE.json
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import record

from storage.uri import write_bytes
from trainer.__main__ import set_up_logging
from trainer.config import ParallelConfig, TrainConfig
from trainer.data import Batch
from trainer.engine import Engine
from trainer.llama_config import LlamaConfig, read_llama_config
from trainer.loss import LossSums
from trainer.mesh import Mesh, build_mesh, started
from trainer.metrics import memory_gib
from trainer.optimizer import build_optimizer
from trainer.parallelize import build_chunks
from trainer.problems import problems
from trainer.sharding import Block, kv_copies, rank_blocks
from trainer.torchrun import end_with_torchrun


class SpeedProbe(BaseModel):
    """What to measure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="Hugging Face folder")
    extra_rows: int = Field(0, ge=0, description="vocabulary rows that expansion will add")
    train: TrainConfig
    steps: int = Field(2, ge=1, description="micro-batches and updates timed after one warm-up")
    result: str = Field(description="path of the result")

    def shape(self) -> LlamaConfig:
        """Of the model with its extra rows."""
        shape = read_llama_config(self.model)
        return replace(shape, vocab_size=shape.vocab_size + self.extra_rows)


def measure(probe: SpeedProbe, mesh: Mesh) -> dict[str, float]:
    """Seconds per optimizer step, and what they consist of; the slowest rank's."""
    config, shape = probe.train, probe.shape()
    torch.manual_seed(mesh.rank)
    chunks = build_chunks(shape, config, mesh)
    optimizer = build_optimizer(chunks, rank_blocks(shape, config.parallel, mesh.place), config, mesh)
    optimizer.load_weights(random_weights)
    engine = Engine(shape, chunks, optimizer, config, mesh)
    num_timed = config.parallel.pp
    timed = [random_batch(shape, config, mesh) for _ in range(num_timed)]
    losses = LossSums(["any"], mesh.device)
    passes, updates = [], []

    def update() -> None:
        optimizer.reduce_gradients()
        optimizer.step(lr=0.0)
        optimizer.finish()

    for _ in range(probe.steps + 1):
        passes.append(_seconds(mesh, lambda: engine.train(timed, num_timed, config.tokens_per_step, losses)))
        updates.append(_seconds(mesh, update))
    train, rest = (max(mesh.gathered([statistics.median(times[1:])])) for times in (passes, updates))
    micro = train / (num_timed + idle_passes(config.parallel))
    num_passes = config.global_batch // (config.micro_batch * config.parallel.dp)
    seconds = micro * (num_passes + idle_passes(config.parallel)) + rest
    return {
        "seconds_per_step": seconds,
        "micro_batch_seconds": micro,
        "update_seconds": rest,
        "tokens_per_second": config.tokens_per_step / seconds,
        "memory_gib": memory_gib(),
    }


def idle_passes(parallel: ParallelConfig) -> float:
    """Micro-batches that a rank could compute while a pipeline fills and drains in one step."""
    return (parallel.pp - 1) / parallel.virtual_stages


def random_weights(block: Block) -> Tensor:
    """Norms of 1, matrices as models begin with."""
    return torch.ones(block.size) if len(block.size) == 1 else torch.randn(block.size) * 0.02


def random_batch(shape: LlamaConfig, config: TrainConfig, mesh: Mesh) -> Batch:
    """The same on the ranks of a pipeline and of a tensor-parallel group."""
    generator = torch.Generator().manual_seed(mesh.place.dp)
    tokens = torch.randint(0, shape.vocab_size, (config.micro_batch, config.seq_len + 1), generator=generator)
    tokens = tokens.to(mesh.device)
    return Batch(tokens[:, :-1], tokens[:, 1:], torch.zeros_like(tokens[:, 0]))


def _seconds(mesh: Mesh, work: Callable[[], object]) -> float:
    """Wall time of work that all ranks begin together."""
    mesh.barrier()
    begun = _now(mesh)
    work()
    return _now(mesh) - begun


def _now(mesh: Mesh) -> float:
    if mesh.device.type == "cuda":
        torch.cuda.synchronize(mesh.device)
    return time.perf_counter()


@record
def main() -> None:
    """Measure what the probe file, the only argument, says."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: torchrun --nproc-per-node RANKS -m trainer.speed PROBE.json")
    end_with_torchrun()
    probe = SpeedProbe.model_validate_json(Path(sys.argv[1]).read_bytes())
    config, shape = probe.train, probe.shape()
    set_up_logging(int(os.environ.get("RANK", "0")))
    if found := problems(config, shape, int(os.environ.get("WORLD_SIZE", "1"))):
        raise ValueError(f"this training cannot run: {'; '.join(found)}")
    if config.threads_per_rank:
        torch.set_num_threads(config.threads_per_rank)
    with started(config.collective_timeout_s) as device:
        mesh = build_mesh(config.parallel, device, kv_copies(shape.num_kv_heads, config.parallel.tp))
        result = measure(probe, mesh)
        if mesh.is_first:
            write_bytes(probe.result, json.dumps(result).encode() + b"\n")


if __name__ == "__main__":
    main()

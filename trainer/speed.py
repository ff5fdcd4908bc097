"""How long an optimizer step takes here: random tokens through the real model, optimizer and communication.

In: a JSON file {model, extra_rows, train, steps, result} (`SpeedProbe`). Out: JSON {seconds_per_step, ...} at `result`.
After one warm-up, micro-batches and the rest of the step (reduction, clipping, update, gathering) are timed
apart, and the medians are put together for the whole global batch; so a step of 16 micro-batches costs the probe one.

    torchrun --nproc-per-node 2 -m trainer.speed PROBE.json
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.distributed.elastic.multiprocessing.errors import record

from storage.uri import write_bytes
from trainer.__main__ import set_up_logging
from trainer.config import TrainConfig
from trainer.hf import EMBEDDING, HEAD, Weights, open_weights
from trainer.llama_config import read_llama_config
from trainer.loss import token_losses
from trainer.mesh import Mesh, build_mesh, started
from trainer.metrics import memory_gib
from trainer.model import Llama
from trainer.optimizer import ZeroOptimizer
from trainer.precision import compute_dtype
from trainer.problems import problems
from trainer.torchrun import end_with_torchrun


class SpeedProbe(BaseModel):
    """What to measure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="Hugging Face folder")
    extra_rows: int = Field(0, ge=0, description="vocabulary rows that expansion will add")
    train: TrainConfig
    steps: int = Field(2, ge=1, description="micro-batches and updates timed after one warm-up")
    result: str = Field(description="path of the result")


def measure(probe: SpeedProbe, mesh: Mesh) -> dict[str, float]:
    """Seconds per optimizer step, and what they consist of; the slowest rank's."""
    config = probe.train
    with open_weights(probe.model) as weights:
        shape = read_llama_config(probe.model)
        shape = type(shape)(**{**vars(shape), "vocab_size": shape.vocab_size + probe.extra_rows})
        model = Llama(shape, compute_dtype(config.dtype)).to(mesh.device)
        optimizer = ZeroOptimizer(model.named_parameters(), config, mesh)
        optimizer.load_weights({name: _widened(weights, name, probe.extra_rows) for name in weights})
    size = (config.micro_batch, config.seq_len + 1)
    generator = torch.Generator().manual_seed(mesh.rank)
    forward_backward, update = [], []
    for _ in range(probe.steps + 1):
        tokens = torch.randint(0, shape.vocab_size, size, generator=generator).to(mesh.device)
        optimizer.zero_gradients()
        begun = _now(mesh)
        loss = token_losses(model(tokens[:, :-1]), tokens[:, 1:])
        (loss.sum() / config.tokens_per_step).backward()
        forward_backward.append(_now(mesh) - begun)
        mesh.barrier()
        begun = _now(mesh)
        optimizer.reduce_gradients()
        optimizer.step(lr=0.0)
        update.append(_now(mesh) - begun)
    passes = config.global_batch // (config.micro_batch * config.parallel.dp)
    micro, rest = statistics.median(forward_backward[1:]), statistics.median(update[1:])
    micro, rest = max(mesh.gathered([micro])), max(mesh.gathered([rest]))
    seconds = passes * micro + rest
    return {
        "seconds_per_step": seconds,
        "micro_batch_seconds": micro,
        "update_seconds": rest,
        "tokens_per_second": config.tokens_per_step / seconds,
        "memory_gib": memory_gib(),
    }


def _now(mesh: Mesh) -> float:
    if mesh.device.type == "cuda":
        torch.cuda.synchronize(mesh.device)
    return time.perf_counter()


def _widened(weights: Weights, name: str, extra_rows: int) -> torch.Tensor:
    tensor = weights[name]
    if name not in (EMBEDDING, HEAD) or not extra_rows:
        return tensor
    return torch.cat((tensor, tensor.mean(dim=0, keepdim=True).expand(extra_rows, -1)))


@record
def main() -> None:
    """Measure what the probe file, the only argument, says."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: torchrun --nproc-per-node RANKS -m trainer.speed PROBE.json")
    end_with_torchrun()
    probe = SpeedProbe.model_validate_json(Path(sys.argv[1]).read_bytes())
    set_up_logging(int(os.environ.get("RANK", "0")))
    if found := problems(probe.train, world=int(os.environ.get("WORLD_SIZE", "1"))):
        raise ValueError(f"this training cannot run: {'; '.join(found)}")
    if probe.train.threads_per_rank:
        torch.set_num_threads(probe.train.threads_per_rank)
    with started(probe.train.collective_timeout_s) as device:
        mesh = build_mesh(probe.train.parallel, device)
        result = measure(probe, mesh)
        if mesh.is_first:
            write_bytes(probe.result, json.dumps(result).encode() + b"\n")


if __name__ == "__main__":
    main()

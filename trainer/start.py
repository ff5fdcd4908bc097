"""What training begins with: model, optimizer, engine and state, from a checkpoint or from a Hugging Face folder.

In: a job, the mesh, the mixture. Everything that is wrong with the three together is said at once, before anything is
loaded. Then, in this order: the newest verified checkpoint of this training; the checkpoint of the training that its
mixture continues; the start model, which must be the base model plus new vocabulary rows (`trainer.start_checks`).

    begun = set_up(job, mesh, mixture)
    begun.engine.train(...)
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from storage.checkpoints import FOLDER
from storage.uri import write_bytes
from trainer import checkpoint
from trainer.checkpoint import TrainState
from trainer.config import TrainJob
from trainer.continuation import continuation_problems, continue_training
from trainer.data import SampleOrder, mixture_problems
from trainer.engine import Engine
from trainer.hf import open_weights
from trainer.llama_config import LlamaConfig, read_llama_config
from trainer.memory import largest_memory
from trainer.mesh import Mesh
from trainer.metrics import device_gib
from trainer.optimizer import ShardedOptimizer, build_optimizer
from trainer.parallelize import build_chunks
from trainer.precision import compute_dtype
from trainer.problems import problems
from trainer.sharding import rank_blocks
from trainer.start_checks import START_CHECKS, check_start

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Begun:
    """A training that stands ready; `resumed` says that it has a checkpoint of its own."""

    shape: LlamaConfig
    engine: Engine
    optimizer: ShardedOptimizer
    state: TrainState
    resumed: bool


def set_up(job: TrainJob, mesh: Mesh, mixture: SampleOrder) -> Begun:
    """Build this rank's part of everything; every rank takes part.

    Raises:
        ValueError: the job cannot run as configured, or its model is not the base model plus new rows.
    """
    config, shape = job.train, read_llama_config(job.model)
    refuse_problems(job, shape, mesh, mixture)
    if mesh.is_first:
        needed = largest_memory(shape, config)
        logger.info("%s; a rank has %.1f GiB", needed, device_gib(mesh.device))
    torch.manual_seed(job.seed + mesh.rank)
    resumed = checkpoint.newest(Path(job.out) / FOLDER, mesh, job.mirror)
    if resumed is None and job.continued is None:
        _check_start(job, mesh)
    chunks = build_chunks(shape, config, mesh)
    optimizer = build_optimizer(chunks, rank_blocks(shape, mesh.parallel, mesh.place), config, mesh)
    if resumed is not None:
        state = checkpoint.load(resumed, optimizer, mesh, mixture.digest)
        logger.info("resuming from %s: step %d of %d", resumed, state.step, job.num_steps)
    elif job.continued is not None:
        state = continue_training(job, mesh, mixture, optimizer)
    else:
        state = TrainState()
        with open_weights(job.model) as weights:
            optimizer.load_weights(weights.block)
        logger.info(
            "starting from %s: %d parameters, %s, %s, %d steps",
            job.model, shape.num_parameters, config.dtype, config.parallel, job.num_steps,
        )  # fmt: skip
    return Begun(shape, Engine(shape, chunks, optimizer, config, mesh), optimizer, state, resumed is not None)


def refuse_problems(job: TrainJob, shape: LlamaConfig, mesh: Mesh, mixture: SampleOrder) -> None:
    """Say everything that keeps the job from running.

    Raises:
        ValueError: in one message.
    """
    ranks_per_node = int(os.environ.get("LOCAL_WORLD_SIZE", mesh.parallel.world_size))
    gpus = torch.cuda.device_count() if mesh.device.type == "cuda" else 0
    found = problems(job.train, shape, mesh.parallel.world_size, job.num_steps, ranks_per_node, gpus)
    found += mixture_problems(mixture, job.train, job.num_steps) + continuation_problems(job, mixture)
    if found:
        raise ValueError(f"this training cannot run: {'; '.join(found)}")


def _check_start(job: TrainJob, mesh: Mesh) -> None:
    """Rank 0 checks and writes the report; every rank raises what it raised."""
    refusal = None
    if mesh.is_first:
        try:
            dtype = compute_dtype(job.train.dtype)
            report = check_start(Path(job.model), Path(job.base_model), job.check_texts, dtype, mesh.device)
            write_bytes(str(Path(job.out) / START_CHECKS), json.dumps(report, indent=1).encode() + b"\n")
        except ValueError as error:
            refusal = str(error)
    if refusal := mesh.from_first(refusal):
        raise ValueError(refusal)

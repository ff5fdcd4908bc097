"""The training loop.

In: a job, the mesh, the mixture. Out, below `job.out`: `start_checks.json`, `metrics.jsonl`, `tensorboard/` and
`checkpoints/step-XXXXXXXX/`. The state is three things: step, samples consumed, random number generators. One step
sums gradients over the micro-batches of a global batch, reduces and clips them, and updates the sharded state. A
loss or gradient norm that is not finite stops the run before it can reach the weights. SIGTERM saves the last whole
step and ends. A run that is started again continues from its newest verified checkpoint, bit for bit. One whose mixture
continues an earlier training's begins with that training's checkpoint (`trainer.continuation`).

    train(job, mesh, Mixture.open(job.mixture, "train"), StopSignal())
"""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from storage.uri import write_bytes
from trainer import checkpoint
from trainer.checkpoint import TrainState
from trainer.config import TrainConfig, TrainJob
from trainer.continuation import continuation_problems, continue_training
from trainer.data import SampleOrder, micro_batches, mixture_problems
from trainer.hf import open_weights
from trainer.llama_config import read_llama_config
from trainer.loss import LossSums, token_losses
from trainer.mesh import Mesh
from trainer.metrics import MetricsWriter, metrics_row
from trainer.model import Llama
from trainer.optimizer import ZeroOptimizer
from trainer.precision import compute_dtype
from trainer.problems import problems
from trainer.schedule import learning_rate
from trainer.start_checks import START_CHECKS, check_start

logger = logging.getLogger(__name__)


class StopSignal:
    """Remembers that SIGTERM came."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._request)

    def _request(self, number: int, frame: object) -> None:
        self.requested = True


def train(job: TrainJob, mesh: Mesh, mixture: SampleOrder, stop: StopSignal) -> TrainState:
    """Train until `job.num_steps` or until stopped; every rank takes part.

    Returns:
        The state reached, of which a checkpoint has been saved.

    Raises:
        ValueError: the job cannot run as configured, or its model is not the base model plus new rows.
        FloatingPointError: a loss or gradient norm is not finite.
    """
    config, out = job.train, Path(job.out)
    model, optimizer, state = set_up(job, mesh, mixture)

    def save() -> None:
        last = state.step == job.num_steps
        folder, kept = out / "checkpoints", config.keep_checkpoints
        checkpoint.save(folder, state, optimizer, mesh, mixture_digest=mixture.digest, keep=kept, digest=last)

    with ExitStack() as stack:
        metrics = stack.enter_context(MetricsWriter(out, state.step)) if mesh.is_first else None
        while state.step < job.num_steps:
            begun, step = time.perf_counter(), state.step + 1
            losses = LossSums(mixture.languages, mesh.device)
            optimizer.zero_gradients()
            num_targets = mixture.num_targets(state.consumed_samples, state.consumed_samples + config.global_batch)
            for batch in micro_batches(mixture, state.consumed_samples, config, mesh.place.dp, mesh.device):
                token_loss = token_losses(model(batch.inputs, batch.documents), batch.targets)
                (token_loss.sum() / num_targets).backward()
                losses.add(token_loss, batch.targets, batch.sources)
                if mesh.any(stop.requested):  # what this step has summed is dropped and made again on resume
                    logger.warning("SIGTERM: saving step %d and stopping", state.step)
                    save()
                    return state
            loss, language_losses = losses.reduce(mesh)
            grad_norm = optimizer.reduce_gradients().item()
            refuse_not_finite(step, state, config, {"loss": loss, **language_losses, "gradient norm": grad_norm})
            lr = learning_rate(step, config, job.num_steps)
            optimizer.step(lr)
            state = TrainState(step, state.consumed_samples + config.global_batch)
            if metrics is not None and (step % config.log_every == 0 or step == job.num_steps):
                row = metrics_row(
                    job, model.config, step=step, consumed_samples=state.consumed_samples, num_targets=num_targets,
                    loss=loss, language_losses=language_losses, grad_norm=grad_norm, lr=lr,
                    seconds=time.perf_counter() - begun,
                )  # fmt: skip
                metrics.write(row)
            if step % config.save_every == 0 or step == job.num_steps:
                save()
    return state


def set_up(job: TrainJob, mesh: Mesh, mixture: SampleOrder) -> tuple[Llama, ZeroOptimizer, TrainState]:
    """Model, optimizer and state: from the newest verified checkpoint, the continued one, or the checked start model.

    Raises:
        ValueError: see `train`.
    """
    config, folder = job.train, Path(job.model)
    shape = read_llama_config(folder)
    found = problems(config, shape, mesh.parallel.world_size, job.num_steps)
    if found := found + mixture_problems(mixture, config, job.num_steps) + continuation_problems(job, mixture):
        raise ValueError(f"this training cannot run: {'; '.join(found)}")
    dtype = compute_dtype(config.dtype)
    torch.manual_seed(job.seed + mesh.rank)
    resumed = mesh.from_first(checkpoint.newest_verified(Path(job.out) / "checkpoints") if mesh.is_first else None)
    if resumed is None and job.continued is None:
        _check_start(job, mesh, dtype)
    model = Llama(shape, dtype).to(mesh.device)
    optimizer = ZeroOptimizer(model.named_parameters(), config, mesh)
    if resumed is not None:
        state = checkpoint.load(resumed, optimizer, mesh, mixture.digest)
        logger.info("resuming from %s: step %d of %d", resumed, state.step, job.num_steps)
        return model, optimizer, state
    if job.continued is not None:
        return model, optimizer, continue_training(job, mesh, mixture, optimizer)
    with open_weights(folder) as weights:
        optimizer.load_weights(weights)
    logger.info("starting from %s: %d parameters, %s, %d steps", folder, shape.num_parameters, dtype, job.num_steps)
    return model, optimizer, TrainState()


def refuse_not_finite(step: int, state: TrainState, config: TrainConfig, values: Mapping[str, float]) -> None:
    """Stop before the optimizer does.

    Raises:
        FloatingPointError: with the values, and the samples that made them.
    """
    bad = {name: value for name, value in values.items() if not math.isfinite(value)}
    if bad:
        first = state.consumed_samples
        raise FloatingPointError(
            f"step {step}: {', '.join(f'{name} is {value}' for name, value in bad.items())}; samples {first} to "
            f"{first + config.global_batch - 1}. No weight was changed. Look at these samples (Mixture.trace), "
            f"lower train.lr or lengthen train.warmup_steps, and start again: it resumes from the last checkpoint"
        )


def _check_start(job: TrainJob, mesh: Mesh, dtype: torch.dtype) -> None:
    """Rank 0 checks and writes the report; every rank raises what it raised."""
    refusal = None
    if mesh.is_first:
        try:
            report = check_start(Path(job.model), Path(job.base_model), job.check_texts, dtype, mesh.device)
            write_bytes(str(Path(job.out) / START_CHECKS), json.dumps(report, indent=1).encode() + b"\n")
        except ValueError as error:
            refusal = str(error)
    if refusal := mesh.from_first(refusal):
        raise ValueError(refusal)

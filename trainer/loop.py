"""The training loop.

In: a job, the mesh, the mixture, held-out samples. Out, below `job.out`: `start_checks.json`, `metrics.jsonl`,
`validation.jsonl`, `skipped.jsonl`, `tensorboard/` and `checkpoints/step-XXXXXXXX/`. The state is the step, the samples
consumed and the random number generators, and beside them what the guards remember. One step sums gradients over the
micro-batches of a global batch, reduces and clips them, and updates the sharded state, unless a guard objects
(`trainer.guards`). SIGTERM saves the last whole step and ends. A run that is started again continues from its newest
verified checkpoint, bit for bit in the same layout (`trainer.start`).

    train(job, mesh, Mixture.open(job.mixture, "train"), StopSignal(), open_validation(job))
"""

from __future__ import annotations

import logging
import signal
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from storage.checkpoints import FOLDER
from trainer.batch_ramp import batch_of
from trainer.checkpoint import TrainState
from trainer.checkpoint_writer import CheckpointWriter
from trainer.config import TrainJob
from trainer.data import SampleOrder, micro_batches
from trainer.device_peak import device_peak
from trainer.engine import Engine
from trainer.guards import Guards
from trainer.loss import LossSums
from trainer.mesh import Mesh
from trainer.metrics import MetricsWriter, metrics_row
from trainer.schedule import learning_rate
from trainer.start import set_up
from trainer.validation import validate
from trainer.watch import StragglerReport, Watch, dump_seconds

logger = logging.getLogger(__name__)


class StopSignal:
    """Remembers that SIGTERM came."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._request)

    def _request(self, number: int, frame: object) -> None:
        self.requested = True


def validate_and_judge(
    step: int,
    engine: Engine,
    held_out: SampleOrder,
    job: TrainJob,
    mesh: Mesh,
    metrics: MetricsWriter | None,
    guards: Guards,
) -> None:
    """Measure on held-out samples, write it down, and let the guard look; every rank takes part."""
    found = validate(engine, held_out, job, mesh)
    if metrics is not None:
        metrics.write_validation(step, found)
    guards.judge_validation(step, found)


def train(
    job: TrainJob, mesh: Mesh, mixture: SampleOrder, stop: StopSignal, held_out: SampleOrder | None = None
) -> TrainState:
    """Train until `job.num_steps` or until stopped; every rank takes part.

    Args:
        held_out: samples to validate on; None where there are none.

    Returns:
        The state reached, of which a checkpoint has been saved.

    Raises:
        ValueError: the job cannot run as configured, or its model is not the base model plus new rows.
        FloatingPointError: a loss or gradient norm is not finite.
        TrainingRefusedError: the source language was forgotten, and the guard is set to stop.
    """
    config, out = job.train, Path(job.out)
    begun = set_up(job, mesh, mixture)
    shape, engine, optimizer, state = begun.shape, begun.engine, begun.optimizer, begun.state
    peak = device_peak(config.dtype, mesh)
    stragglers = StragglerReport(mesh, config.straggler_every, config.straggler_ratio)

    def stopped() -> bool:
        with stragglers.waiting():
            return mesh.any(stop.requested)

    with ExitStack() as stack:
        last_row = state.step if begun.resumed else state.step - 1  # a training that begins anew validates anew
        metrics = stack.enter_context(MetricsWriter(job, last_row)) if mesh.is_first else None
        writer = stack.enter_context(CheckpointWriter(out / FOLDER, mesh, config, mixture.digest, job.mirror))
        watch = stack.enter_context(Watch(dump_seconds(config), state.step, mesh.rank))
        guards = Guards(job, mesh, writer, state)

        def save() -> None:
            reached = replace(state, guards=guards.state())
            writer.save(reached, optimizer, last=state.step == job.num_steps)

        def look_at_held_out() -> None:
            if held_out is not None:
                validate_and_judge(state.step, engine, held_out, job, mesh, metrics, guards)

        if not begun.resumed:
            look_at_held_out()
        while state.step < job.num_steps and guards.refusal is None and not stopped():
            begin, step = time.perf_counter(), state.step + 1
            batch = batch_of(step, config.batch_ramp, config.global_batch)
            samples = range(state.consumed_samples, state.consumed_samples + batch)
            num_targets = mixture.num_targets(samples.start, samples.stop)
            losses = LossSums(mixture.languages, mesh.device)
            batches = micro_batches(mixture, samples.start, config, mesh.place.dp, mesh.device, batch)
            with stragglers.working():
                num_passes = batch // (config.micro_batch * mesh.parallel.dp)
                if not engine.train(batches, num_passes, num_targets, losses, stopped):
                    break  # what this step has summed is dropped, and made again on resume
            loss, language_losses = losses.reduce(mesh)
            grad_norm = optimizer.reduce_gradients().item()
            lr = learning_rate(step, config, job.num_steps)
            verdict = guards.judge(step, samples, loss, grad_norm)
            if verdict.leaves_out:
                state = guards.leave_out(verdict, state, samples, loss, grad_norm, optimizer, mixture.digest)
            else:
                optimizer.step(lr)
                state = replace(state, step=step, consumed_samples=samples.stop)
            slowest = stragglers.look(step)
            if metrics is not None and (step % config.log_every == 0 or step == job.num_steps):
                row = metrics_row(
                    job, shape, peak, step=step, consumed_samples=state.consumed_samples, num_targets=num_targets,
                    loss=loss, language_losses=language_losses, grad_norm=grad_norm, lr=lr,
                    seconds=time.perf_counter() - begin, skipped_steps=state.skipped_steps,
                )  # fmt: skip
                metrics.write(row | ({"slowest": slowest} if slowest else {}))
            if config.validate_every and (step % config.validate_every == 0 or step == job.num_steps):
                look_at_held_out()
            if step % config.save_every == 0 or step == job.num_steps:
                save()
            writer.check()
            watch.step(step)
        if state.step < job.num_steps:
            logger.warning("%s: saving step %d and stopping", guards.refusal or "SIGTERM", state.step)
            save()
        guards.raise_refusal()
    return state

"""A training that goes on where an earlier one stood, with another mixture.

In: a checkpoint of the earlier training, and a mixture that begins at the samples which that one had used and reads
none of their documents again (`storage.mixture`). Out: the state to train on from, and a `start_checks.json` that says
why nothing was checked. Weights, both Adam moments and the step are the earlier training's; the learning rate is a pure
function of the step, so it follows this run's configuration. The checkpoint must be of exactly the mixture that is
continued, with exactly the samples used up at which the new one begins; anything else would repeat or skip documents.

    state = continue_training(job, mesh, mixture, optimizer)
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from storage.uri import write_bytes
from trainer import checkpoint
from trainer.batch_ramp import samples_before
from trainer.checkpoint import TrainState
from trainer.config import TrainJob
from trainer.data import SampleOrder
from trainer.mesh import Mesh
from trainer.optimizer import ShardedOptimizer
from trainer.start_checks import START_CHECKS

logger = logging.getLogger(__name__)


def continuation_problems(job: TrainJob, mixture: SampleOrder) -> list[str]:
    """What keeps the mixture and the job's start from fitting together; empty when they do."""
    if job.continued is None and mixture.continues is not None:
        return [
            f"the mixture continues mixture {mixture.continues[:12]} from sample {mixture.first_sample} on, and no "
            f"checkpoint to continue is given; name the training in mix.continues, or mix without it"
        ]
    if job.continued is not None and mixture.continues is None:
        return [f"{job.continued} is to be continued, and the mixture continues none; set mix.continues and mix again"]
    return []


def continue_training(job: TrainJob, mesh: Mesh, mixture: SampleOrder, optimizer: ShardedOptimizer) -> TrainState:
    """Read the continued checkpoint into the optimizer and the parameters; every rank takes part.

    Raises:
        ValueError: the checkpoint is damaged, of another mixture, or of another number of samples or steps than the
            mixture and this run go on from.
    """
    assert job.continued is not None
    assert mixture.continues is not None, "set_up has looked for `continuation_problems`"
    path = Path(job.continued)
    found = mesh.from_first(_unfit(path, job, mixture) if mesh.is_first else [])
    if found:
        raise ValueError(f"training cannot continue {path}: {'; '.join(found)}")
    state = checkpoint.load(path, optimizer, mesh, mixture.continues)
    if mesh.is_first:
        report = {
            "skipped": f"training continues an earlier one's step {state.step}; that one was checked when it began",
            "continued": {"step": state.step, "consumed_samples": state.consumed_samples, "mixture": mixture.continues},
        }
        write_bytes(str(Path(job.out) / START_CHECKS), json.dumps(report, indent=1).encode() + b"\n")
    logger.info("continuing %s: step %d of %d, with another mixture", path, state.step, job.num_steps)
    return state


def _unfit(path: Path, job: TrainJob, mixture: SampleOrder) -> list[str]:
    """Why a checkpoint cannot be where this training begins."""
    if damaged := checkpoint.verify(path):
        return [f"it is damaged: {', '.join(damaged)}; continue another step"]
    manifest = checkpoint.read_manifest(path)
    step, consumed = manifest["step"], manifest["consumed_samples"]
    if manifest["mixture_digest"] != mixture.continues:
        return [
            f"it was trained on mixture {manifest['mixture_digest'][:12]}, and the new mixture continues "
            f"{str(mixture.continues)[:12]}; name the same training in mix.continues and mix again"
        ]
    found = []
    if consumed != mixture.first_sample:
        found.append(
            f"it has used {consumed} samples, and the new mixture begins at sample {mixture.first_sample}; mix again"
        )
    expected = samples_before(step + 1, job.train.batch_ramp, job.train.global_batch)
    if consumed != expected:
        ramp = "" if job.train.batch_ramp is None else f" and batch_ramp {job.train.batch_ramp}"
        found.append(
            f"its {step} steps took {consumed} samples, {consumed / max(step, 1):g} a step, and with "
            f"train.global_batch {job.train.global_batch}{ramp} they would be {expected}; keep the earlier training's"
        )
    if step >= job.num_steps:
        found.append(f"it stands at step {step} of {job.num_steps}: raise mix.train_tokens, which counts from step 1")
    return found

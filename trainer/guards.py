"""What guards training against itself: values that are not finite, loss spikes, forgetting the source language.

In: each step's loss and gradient norm before its update, each validation. Out: the state to go on with. A step that is
left out keeps its place: step and samples advance, the weights stay, and `skipped.jsonl` names the samples. A rewind
takes weights and moments of the newest checkpoint and leaves out every step since; Adam then counts as many updates as
are in the weights. So samples stay a function of the step, whatever was left out.

    guards = Guards(job, mesh, writer, state)
    verdict = guards.judge(step, samples, loss, grad_norm)
    if verdict.leaves_out: state = guards.leave_out(...)
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer import checkpoint
from trainer.checkpoint import TrainState
from trainer.checkpoint_writer import CheckpointWriter
from trainer.config import TrainJob
from trainer.ending import TrainingRefusedError
from trainer.forgetting import ForgettingGuard
from trainer.mesh import Mesh
from trainer.optimizer import ShardedOptimizer
from trainer.skipped import SkippedSamples, append_skipped
from trainer.spikes import SpikeDetector, Verdict, refuse_too_many

logger = logging.getLogger(__name__)


class Guards:
    """Both guards, and what they do about it. Every rank sees the same numbers, so every rank decides alike."""

    def __init__(self, job: TrainJob, mesh: Mesh, writer: CheckpointWriter, state: TrainState) -> None:
        self._job, self._mesh, self._writer = job, mesh, writer
        self._spikes = SpikeDetector(job.train.spikes)
        self._forgetting = ForgettingGuard(job.train.forgetting)
        self._spikes.restore(state.guards.get("spikes", {}))
        self._forgetting.restore(state.guards.get("forgetting", {}))
        # Set from the first step on where the checkpoint already holds a language that is worse than is allowed now.
        self.refusal = _refusal(self._forgetting.verdict(), state.step)

    def state(self) -> dict[str, Any]:
        """What they remember, for the checkpoint."""
        return {"spikes": self._spikes.state(), "forgetting": self._forgetting.state()}

    def judge(self, step: int, samples: range, loss: float, grad_norm: float) -> Verdict:
        """Whether a step's update is to be made.

        Raises:
            FloatingPointError: a value is not finite, and no guard is set to leave such a step out.
        """
        verdict = self._spikes.judge(loss, grad_norm)
        if verdict.action == "stop":
            raise FloatingPointError(
                f"step {step}: {verdict.reason}; samples {samples[0]} to {samples[-1]}. No weight was changed. Look at "
                f"these samples (Mixture.trace), lower train.lr or lengthen train.warmup_steps, and start again: it "
                f"resumes from the last checkpoint. Or set train.spikes.action to skip"
            )
        if verdict.action == "warn":
            self._warn("step %d: %s", step, verdict.reason)
        return verdict

    def leave_out(
        self, verdict: Verdict, state: TrainState, samples: range, loss: float, grad_norm: float,
        optimizer: ShardedOptimizer, mixture_digest: str,
    ) -> TrainState:  # fmt: skip
        """Go on after the step that begins at `state` without its update; every rank takes part.

        A rewind before the first checkpoint has nothing to go back to and leaves out its own step alone.

        Raises:
            RuntimeError: too many steps were left out.
        """
        earlier, step = state, state.step + 1
        if verdict.action == "rewind":
            self._writer.wait()
            path = checkpoint.newest(self._writer.folder, self._mesh, self._job.mirror)
            if path is not None:
                earlier = checkpoint.load(path, optimizer, self._mesh, mixture_digest)
        state = replace(
            state,
            step=step,
            consumed_samples=samples[-1] + 1,
            skipped_steps=earlier.skipped_steps + step - earlier.step,
        )
        self._warn(
            "step %d: %s; %d steps from sample %d on are left out",
            step, verdict.reason, step - earlier.step, earlier.consumed_samples,
        )  # fmt: skip
        if self._mesh.is_first:
            row = SkippedSamples(
                step, earlier.consumed_samples, samples[-1], step - earlier.step, verdict.action, verdict.reason,
                loss, grad_norm, verdict.usual,
            )  # fmt: skip
            append_skipped(Path(self._job.out), row)
        refuse_too_many(state.skipped_steps, self._job.train.spikes)
        return state

    def judge_validation(self, step: int, found: Mapping[str, Mapping[str, float]]) -> None:
        """Compare a validation with the first one; `refusal` is set where training is to stop."""
        verdict = self._forgetting.judge(found)
        if verdict.action == "warn":
            self._warn("step %d: %s", step, verdict.reason)
        self.refusal = _refusal(verdict, step)

    def raise_refusal(self) -> None:
        """End a training that a guard has stopped, once its checkpoint is under way.

        Raises:
            TrainingRefusedError: the source language has become worse than it may.
        """
        if self.refusal is not None:
            self._writer.wait()
            raise self.refusal

    def _warn(self, message: str, *values: object) -> None:
        if self._mesh.is_first:
            logger.warning(message, *values)


def _refusal(verdict: Verdict, step: int) -> TrainingRefusedError | None:
    if verdict.action != "stop":
        return None
    return TrainingRefusedError(f"step {step}: {verdict.reason}. Or raise train.forgetting.max_rise to go on")

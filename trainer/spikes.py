"""Loss spikes: told from noise before the step's update is made.

In: the loss and the gradient norm of each step, the same numbers on every rank. Out: a `Verdict` on the step. A value
is a spike when it is above what has been usual: median + deviations x 1.4826 x MAD of the last `window` steps (MAD:
median distance from the median; 1.4826 of it is a normal distribution's standard deviation). A few spikes move neither
median nor MAD, and steps that were judged spikes are not kept in the window at all. OLMo-core leaves out steps by mean
and standard deviation of such a window (`SkipStepOptimizer`); PaLM §5.1 went back to a checkpoint from before the spike
and left out the batches since, after which the same batches did no harm elsewhere.

A loss or gradient norm that is not finite is a spike at any time under `skip` and `rewind`; else it stops the run.

    verdict = SpikeDetector(config.spikes).judge(loss, grad_norm)
    if verdict.leaves_out: ...
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

from trainer.config import SpikeGuard
from trainer.ending import TrainingRefusedError

NORMAL = 1.4826
# A spread is taken to be at least this part of the median: a curve that has gone flat does not make noise a spike.
# Gradient norms scattered by 9 to 16 % of their median in 2,400 steps of a tiny Llama, without an alarm.
MIN_SPREAD = {"loss": 0.005, "grad_norm": 0.05}
NAMES = {"loss": "loss", "grad_norm": "gradient norm"}


@dataclass(frozen=True)
class Verdict:
    """What a guard says.

    Attributes:
        action: ok; warn: say so and go on; skip: make no update from this step; rewind: take weights and moments of the
            last checkpoint, and go on after this step; stop: end the run.
        reason: a sentence, empty when ok.
        usual: what the measures have been, by name; empty where that is not known yet.
    """

    action: Literal["ok", "warn", "skip", "rewind", "stop"] = "ok"
    reason: str = ""
    usual: Mapping[str, float] = field(default_factory=dict)

    @property
    def leaves_out(self) -> bool:
        """Whether the step's own update is not made."""
        return self.action in ("skip", "rewind")


class SpikeDetector:
    """Remembers the losses and gradient norms of the last steps; a pure function of what it was shown."""

    def __init__(self, config: SpikeGuard) -> None:
        self._config = config
        self._seen = {name: deque[float](maxlen=config.window) for name in MIN_SPREAD}
        self._in_a_row = 0

    def judge(self, loss: float, grad_norm: float) -> Verdict:
        """A step's mean loss in nats per token and its gradient norm before clipping.

        Nothing is judged by what is usual before half a window of steps has been seen. Under `warn` the updates are
        made; spikes that go on for half a window are then a new level, and what is usual is learned anew.
        """
        action = self._config.action
        values = {"loss": loss, "grad_norm": grad_norm}
        if bad := [f"{NAMES[name]} is {value}" for name, value in values.items() if not math.isfinite(value)]:
            return Verdict("skip" if action == "skip" else "rewind" if action == "rewind" else "stop", "; ".join(bad))
        if action == "off":
            return Verdict()
        enough = self._config.window // 2
        if len(self._seen["loss"]) >= enough and (found := self._spikes(values)):
            self._in_a_row += 1
            usual = {name: median(seen) for name, seen in self._seen.items()}
            if action == "warn" and self._in_a_row >= enough:
                self._forget()
            return Verdict(action, "; ".join(found), usual)
        self._in_a_row = 0
        for name, value in values.items():
            self._seen[name].append(value)
        return Verdict()

    def _spikes(self, values: Mapping[str, float]) -> list[str]:
        found = []
        for name, value in values.items():
            usual = median(self._seen[name])
            spread = NORMAL * median(abs(seen - usual) for seen in self._seen[name])
            bound = usual + self._config.deviations * max(spread, MIN_SPREAD[name] * abs(usual))
            if value > bound:
                found.append(f"{NAMES[name]} {value:.4g} is above {bound:.4g}, where {usual:.4g} is usual")
        return found

    def _forget(self) -> None:
        self._in_a_row = 0
        for seen in self._seen.values():
            seen.clear()

    def state(self) -> dict[str, Any]:
        """For the checkpoint, JSON."""
        return {"in_a_row": self._in_a_row} | {name: list(seen) for name, seen in self._seen.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's state; an empty one, of a checkpoint without, begins anew."""
        self._forget()
        self._in_a_row = state.get("in_a_row", 0)
        for name, seen in self._seen.items():
            seen.extend(state.get(name, []))


def refuse_too_many(skipped_steps: int, config: SpikeGuard) -> None:
    """End a run that leaves out step after step.

    Args:
        skipped_steps: steps of the whole run whose updates were left out or taken back.

    Raises:
        TrainingRefusedError: more than `config.max_skipped`.
    """
    if skipped_steps > config.max_skipped:
        raise TrainingRefusedError(
            f"{skipped_steps} steps were left out, train.spikes.max_skipped is {config.max_skipped}: this is no spike "
            f"but a run that diverges, or other data. Look at the samples in skipped.jsonl (hibari mix show), lower "
            f"train.lr or lengthen train.warmup_steps"
        )

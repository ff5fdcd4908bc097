"""Guard of the source language: training on another one may not cost more of it than allowed.

In: each validation's losses per language, the first of them made before step 1. Out: a `Verdict`. What counts is the
rise of the guarded language's bits per byte, which do not change with the vocabulary; where its bytes per token are not
known, of its loss in nats per token. Continual pre-training keeps the source language by reading some of it and by
a lower learning rate (Ibrahim et al. 2024; Swallow: a tenth English), so these are what the verdict advises.

    guard = ForgettingGuard(config.forgetting)
    verdict = guard.judge({"en": {"loss": 2.31, "bits_per_byte": 0.71}, "ja": {...}})
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from trainer.config import ForgettingGuard as ForgettingConfig
from trainer.spikes import Verdict

logger = logging.getLogger(__name__)

UNITS = {"bits_per_byte": "bits per byte", "loss": "nats per token"}


class ForgettingGuard:
    """Remembers what the language was before training."""

    def __init__(self, config: ForgettingConfig) -> None:
        self._config = config
        self._measure = ""
        self._baseline: float | None = None
        self._last: float | None = None

    def judge(self, validation: Mapping[str, Mapping[str, float | None]]) -> Verdict:
        """Judge a validation; the first one that has the language is what later ones are measured against.

        Args:
            validation: language -> `loss` and, where it is known, `bits_per_byte`.
        """
        if self._config.action == "off":
            return Verdict()
        measured = validation.get(self._config.language)
        if measured is None:
            logger.warning(
                "forgetting guard: no validation of %r, only of %s; nothing is guarded. Set train.forgetting.language",
                self._config.language, ", ".join(validation) or "nothing",
            )  # fmt: skip
            return Verdict()
        if self._baseline is None:
            self._measure = "loss" if measured.get("bits_per_byte") is None else "bits_per_byte"
            self._baseline = measured[self._measure]
        self._last = measured.get(self._measure)
        return self.verdict()

    def verdict(self) -> Verdict:
        """On the last validation; after `restore`, on that of the checkpoint, by the bound as it is set now."""
        if self._baseline is None or self._last is None or self._config.action == "off":
            return Verdict()
        rise, allowed, unit = self._last - self._baseline, self._config.max_rise, UNITS[self._measure]
        if rise <= allowed:
            return Verdict(usual={self._measure: self._baseline})
        reason = (
            f"{self._config.language} validation is at {self._last:.4f} {unit}, {rise:.4f} above the "
            f"{self._baseline:.4f} it began with; train.forgetting.max_rise allows {allowed:g}. Raise the weight of "
            f"its sources, or lower train.lr"
        )
        return Verdict(self._config.action, reason, {self._measure: self._baseline})

    def state(self) -> dict[str, Any]:
        """For the checkpoint, JSON."""
        return {"measure": self._measure, "baseline": self._baseline, "last": self._last}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's state; with an empty one, the next validation is the baseline."""
        self._measure = state.get("measure", "")
        self._baseline, self._last = state.get("baseline"), state.get("last")

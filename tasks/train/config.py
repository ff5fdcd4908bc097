"""The `train:` section of a run file: how to train, and how the trainer is started."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.config import TrainConfig


class TrainStageConfig(TrainConfig):
    """`TrainConfig` and the launcher."""

    launcher: Literal["local"] = Field("local", description="torchrun on this machine")
    max_restarts: int = Field(
        2,
        ge=0,
        description="times that all ranks are started again after one has died; they go on from the last checkpoint. "
        "An error that would come again, as a loss that is not finite, ends training at once",
    )
    stop_grace_s: float = Field(
        60.0,
        ge=0,
        description="seconds the trainer gets to save a checkpoint when it is stopped, before it is killed; it looks "
        "up after each micro-batch, which on a slow CPU takes 20 seconds, and on a pipeline after each step",
    )
    cancel_grace_s: float = Field(
        6.0,
        ge=0,
        description="the same in seconds, at most, for a deployed run: cancelled in Prefect, it is to be gone in 20",
    )
    timeout_s: float | None = Field(None, gt=0, description="seconds after which training is stopped; none: no limit")

    def trainer(self) -> TrainConfig:
        """The part that the trainer itself reads."""
        return TrainConfig(**{name: getattr(self, name) for name in TrainConfig.model_fields})

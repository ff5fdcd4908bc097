"""Learning rate as a pure function of the step; it is never part of optimizer state.

A continued run therefore gets the rate its configuration says, whatever rate the checkpoint was made with
(Megatron-LM issue 963 and its kin). Shape: re-warm-up from 0, then cosine (Gupta et al. 2023; Swallow).

    learning_rate(step, config, num_steps)
"""

from __future__ import annotations

import math

from trainer.config import TrainConfig


def learning_rate(step: int, config: TrainConfig, num_steps: int) -> float:
    """The rate of optimizer step `step`, counted from 1.

    Step `warmup_steps` has the peak `lr`, step `num_steps` has `min_lr`. Megatron-LM's rate lags one step behind: its
    first step has rate 0 and changes nothing.
    """
    if step <= config.warmup_steps:
        return config.lr * step / config.warmup_steps
    done = min(1.0, (step - config.warmup_steps) / max(1, num_steps - config.warmup_steps))
    return config.min_lr + (config.lr - config.min_lr) * 0.5 * (1 + math.cos(math.pi * done))

"""Learning rate as a pure function of the step; it is never part of optimizer state.

A continued run therefore gets the rate its configuration says, whatever rate the checkpoint was made with
(Megatron-LM issue 963 and its kin). Each schedule rises linearly from 0 to the peak `lr` (re-warm-up, Gupta et al.
2023) and goes on as

- cosine: half a cosine from `lr` to `min_lr`, reached by the last step. Swallow's, over 25,000 steps, 1,000 of them
  warm-up: 1e-4 to 3.3e-6 for Llama 2 7B and 13B, 5e-5 to 1.6e-6 for 70B.
- wsd (warm-up, stable, decay; Hu et al. 2024, MiniCPM): `lr` until the last `decay_steps` steps, which go down to
  `min_lr`: linearly, by half a cosine, or by `1 - sqrt(part done)`, the best of those that Hägele et al. 2024 tried.
  Runs that differ in their length alone have the same rates until the shorter one decays.
- constant: `lr` to the end; `min_lr` is not used.

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
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "wsd":
        shape, num_decay = config.decay, decay_steps(config, num_steps)
    else:
        shape, num_decay = "cosine", num_steps - config.warmup_steps
    done = (step - (num_steps - num_decay)) / max(1, num_decay)
    left = _left(shape, min(1.0, max(0.0, done)))
    return config.min_lr + (config.lr - config.min_lr) * left


def decay_steps(config: TrainConfig, num_steps: int) -> int:
    """Steps of wsd's decay: as configured or a tenth of the run, and no more than warm-up leaves."""
    return min(config.decay_steps or max(1, num_steps // 10), num_steps - config.warmup_steps)


def _left(shape: str, done: float) -> float:
    """What is left of the way from `min_lr` up to `lr`, 1 to 0, when a part `done` of the decay is over."""
    if shape == "linear":
        return 1 - done
    if shape == "one_minus_sqrt":
        return 1 - math.sqrt(done)
    return 0.5 * (1 + math.cos(math.pi * done))

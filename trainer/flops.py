"""Floating-point operations of a training step, under every convention that published numbers use.

Tokens per second is the primary speed; TFLOPS are derived from it, and mean nothing without the convention's name:
the same run of Llama 2 70B reads 1.33 times as fast in Swallow's logger of December 2023 as by its true operations.

- `model_causal`: multiply-adds of the matrices, attention counted under the causal mask (Megatron-LM now,
  `num_floating_point_operations`). No recomputation. MFU is this over the device's peak.
- `model_non_causal`: the same with the full attention square (Korthikanti et al. 2022, MFU).
- `hardware`: `model_non_causal` and what backward computes again (Korthikanti et al. 2022, HFU). Full recomputation is
  a fourth pass through the layers (Narayanan et al. 2021, equation 3). Selective counts attention twice, as the paper
  does, whose published HFU only this reproduces; attention's forward alone is a third of what that adds.
- `swallow_2023_12`, `swallow_2023_10`: `throughput_calculator` of rioyokotalab/Megatron-Llama2 from 2023-12-13 and from
  2023-10-07. Both ignore grouped-query attention; the first counts a part of the recomputed forward.

    flops_per_step("model_causal", model, config.seq_len, config.global_batch)
"""

from __future__ import annotations

from typing import Literal, get_args

from trainer.llama_config import LlamaConfig

Convention = Literal["model_causal", "model_non_causal", "hardware", "swallow_2023_10", "swallow_2023_12"]
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
Recompute = Literal["none", "selective", "full"]


def flops_per_step(
    convention: Convention, model: LlamaConfig, seq_len: int, batch: int, recompute: Recompute = "none"
) -> float:
    """Operations of forward and backward over `batch` sequences, all ranks together.

    Args:
        recompute: read by `hardware`, and by `swallow_2023_12`: 3 forward passes' worth without, 3.5 selective, 4 full.
    """
    if convention in ("model_causal", "model_non_causal", "hardware"):
        causal, again = convention == "model_causal", recompute if convention == "hardware" else "none"
        return batch * seq_len * _flops_per_token(model, seq_len, causal=causal, recompute=again)
    h, layers = model.hidden_size, model.num_layers
    shape = batch * seq_len * layers * h**2 * (1 + seq_len / (6 * h) + model.vocab_size / (16 * layers * h))
    if convention == "swallow_2023_10":
        return 24 * 3 * shape
    passes = {"none": 3.0, "selective": 3.5, "full": 4.0}[recompute]
    return (8 + 6 * model.intermediate_size / h) * passes * shape


def tflops_per_device(
    model: LlamaConfig, seq_len: int, tokens_per_second: float, devices: int, recompute: Recompute = "none"
) -> dict[Convention, float]:
    """TFLOPS of each device under every convention."""
    sequences = tokens_per_second / seq_len
    return {
        name: flops_per_step(name, model, seq_len, 1, recompute) * sequences / devices / 1e12 for name in CONVENTIONS
    }


def _flops_per_token(model: LlamaConfig, seq_len: int, *, causal: bool, recompute: Recompute) -> float:
    """Three passes' worth: backward takes two products where forward takes one."""
    heads_width = model.num_heads * model.head_dim
    projections = 2 * model.hidden_size * model.head_dim * (model.num_heads + model.num_kv_heads)
    attention = heads_width * seq_len * (1 if causal else 2)
    layer = projections + attention + 3 * model.hidden_size * model.intermediate_size
    again = {"none": 0.0, "selective": 3 * attention, "full": layer}[recompute]
    return 2 * (model.num_layers * (3 * layer + again) + 3 * model.hidden_size * model.vocab_size)

"""Named conventions give the published figures, and differ from one another by the published factors."""

from __future__ import annotations

import pytest

from trainer.flops import CONVENTIONS, Convention, Recompute, flops_per_step, tflops_per_device
from trainer.llama_config import LlamaConfig


def llama2(hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, vocab: int = 43176) -> LlamaConfig:
    return LlamaConfig(vocab, hidden, ffn, layers, heads, kv_heads, hidden // heads, 4096, 1e-5, 1e4, None, False)


SWALLOW = {
    "7B": llama2(4096, 11008, 32, 32, 32),
    "13B": llama2(5120, 13824, 40, 40, 40),
    "70B": llama2(8192, 28672, 80, 64, 8),
}


def gpt(hidden: int, layers: int, heads: int) -> LlamaConfig:
    """A GPT of Megatron-LM's papers as a Llama of equal work: 8/3 h in a gated layer is 4 h in one that is not."""
    return llama2(hidden, hidden * 8 // 3, layers, heads, heads, vocab=51200)


@pytest.mark.parametrize(("size", "gflop_per_token"), [("7B", 46.4), ("13B", 87.5), ("70B", 445)])
def test_model_flops_per_token(size: str, gflop_per_token: float) -> None:
    flops = flops_per_step("model_non_causal", SWALLOW[size], 4096, 1) / 4096
    assert flops / 1e9 == pytest.approx(gflop_per_token, rel=2e-3)


@pytest.mark.parametrize(
    ("convention", "recompute", "ratios"),
    [
        ("swallow_2023_12", "selective", {"7B": 1.161, "13B": 1.163, "70B": 1.332}),
        ("swallow_2023_10", "none", {"7B": 0.990, "13B": 0.989, "70B": 0.945}),
    ],
)
def test_what_swallow_logged_over_what_the_model_does(
    convention: Convention, recompute: Recompute, ratios: dict[str, float]
) -> None:
    for size, ratio in ratios.items():
        logged = flops_per_step(convention, SWALLOW[size], 4096, 1024, recompute)
        assert logged / flops_per_step("model_non_causal", SWALLOW[size], 4096, 1024) == pytest.approx(ratio, abs=2e-3)


# Korthikanti et al. 2022, table 4: hidden, layers, heads of 22B, 175B, 530B and 1T, and HFU / MFU as published.
KORTHIKANTI = [
    (6144, 48, 64, 1.053),
    (12288, 96, 96, 1.027),
    (20480, 105, 128, 1.018),
    (25600, 128, 160, 1.012),
]


@pytest.mark.parametrize(("hidden", "layers", "heads", "ratio"), KORTHIKANTI)
def test_hardware_over_model_with_selective_recomputation(hidden: int, layers: int, heads: int, ratio: float) -> None:
    model = gpt(hidden, layers, heads)
    hardware = flops_per_step("hardware", model, 2048, 1, "selective")
    assert hardware / flops_per_step("model_non_causal", model, 2048, 1) == pytest.approx(ratio, abs=2.5e-3)


def test_full_recomputation_is_megatrons_formula() -> None:
    """96 B s l h^2 (1 + s / 6h + V / 16lh), equation 3 of Narayanan et al. 2021."""
    h, layers, s, vocab = 12288, 96, 2048, 51200
    formula = 96 * 4 * s * layers * h**2 * (1 + s / (6 * h) + vocab / (16 * layers * h))
    assert flops_per_step("hardware", gpt(h, layers, 96), s, 4, "full") == pytest.approx(formula, rel=1e-9)


def test_without_recomputation_hardware_does_what_the_model_does() -> None:
    model = SWALLOW["70B"]
    assert flops_per_step("hardware", model, 4096, 8) == flops_per_step("model_non_causal", model, 4096, 8)
    assert flops_per_step("model_causal", model, 4096, 8, "full") == flops_per_step("model_causal", model, 4096, 8)


def test_causal_halves_attention_only() -> None:
    model = SWALLOW["7B"]
    half_attention = 6 * 32 * 4096 * 4096 * 4096
    full, causal = (flops_per_step(name, model, 4096, 1) for name in ("model_non_causal", "model_causal"))
    assert full - causal == pytest.approx(half_attention)


def test_tflops_follow_from_tokens_per_second() -> None:
    found = tflops_per_device(SWALLOW["7B"], 4096, tokens_per_second=8192.0, devices=2, recompute="full")
    assert set(found) == set(CONVENTIONS)
    assert found["model_non_causal"] == pytest.approx(46.4 * 4096 / 1000, rel=2e-3)
    assert found["hardware"] > 1.3 * found["model_non_causal"]

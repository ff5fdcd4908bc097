"""Named conventions give the published figures, and differ from one another by the published factors."""

from __future__ import annotations

import pytest

from trainer.flops import CONVENTIONS, Convention, Recompute, flops_per_step, tflops_per_device
from trainer.llama_config import LlamaConfig


def llama2(hidden: int, ffn: int, layers: int, heads: int, kv_heads: int) -> LlamaConfig:
    return LlamaConfig(43176, hidden, ffn, layers, heads, kv_heads, hidden // heads, 4096, 1e-5, 1e4, None, False)


SWALLOW = {
    "7B": llama2(4096, 11008, 32, 32, 32),
    "13B": llama2(5120, 13824, 40, 40, 40),
    "70B": llama2(8192, 28672, 80, 64, 8),
}


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


def test_causal_halves_attention_only() -> None:
    model = SWALLOW["7B"]
    half_attention = 6 * 32 * 4096 * 4096 * 4096
    full, causal = (flops_per_step(name, model, 4096, 1) for name in ("model_non_causal", "model_causal"))
    assert full - causal == pytest.approx(half_attention)


def test_tflops_follow_from_tokens_per_second() -> None:
    found = tflops_per_device(SWALLOW["7B"], 4096, tokens_per_second=8192.0, devices=2)
    assert set(found) == set(CONVENTIONS)
    assert found["model_non_causal"] == pytest.approx(46.4 * 4096 / 1000, rel=2e-3)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from tasks.evaluate.model import Choices, LanguageModel, Span


@pytest.fixture(scope="module")
def model(byte_level_folder: Path) -> LanguageModel:
    return LanguageModel.load(byte_level_folder, device="cpu")


@pytest.fixture(scope="module")
def spans() -> list[Span]:
    generator = np.random.default_rng(1)
    lengths = [2, 3, 40, 7, 40, 19, 64, 5]
    return [(generator.integers(0, 400, length).tolist(), 1 + length // 3) for length in lengths]


@pytest.fixture(scope="module")
def items() -> list[Choices]:
    """Questions whose prefixes are from one id, so that nothing is cached, to thirty."""
    generator = np.random.default_rng(2)
    prefixes = [1, 2, 9, 30, 17, 1, 23]
    return [
        (generator.integers(0, 400, size).tolist(), [generator.integers(0, 400, n).tolist() for n in (1, 4, 2, 6)])
        for size in prefixes
    ]


def test_values_are_those_of_a_plain_log_softmax(
    byte_level_folder: Path, model: LanguageModel, spans: list[Span]
) -> None:
    plain = AutoModelForCausalLM.from_pretrained(byte_level_folder, dtype=torch.float32).eval()
    scored = model.log_likelihoods(spans, batch_size=3)
    for (ids, first), values in zip(spans, scored, strict=True):
        with torch.no_grad():
            logits = plain(torch.tensor([ids])).logits[0]
        expected = torch.log_softmax(logits, -1)[range(first - 1, len(ids) - 1), ids[first:]]
        np.testing.assert_allclose(values, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_log_likelihoods_do_not_depend_on_batches_or_order(
    model: LanguageModel, spans: list[Span], batch_size: int
) -> None:
    expected = model.log_likelihoods(spans, batch_size=2)
    backwards = model.log_likelihoods(spans[::-1], batch_size=batch_size)[::-1]
    for ours, theirs in zip(backwards, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_choices_over_a_shared_prefix_score_as_whole_sequences_do(
    model: LanguageModel, items: list[Choices], batch_size: int
) -> None:
    shared = model.choice_log_likelihoods(items[::-1], batch_size=batch_size)[::-1]
    whole = [([*prefix, *ids], len(prefix)) for prefix, rest in items for ids in rest]
    expected = [values.sum() for values in model.log_likelihoods(whole, batch_size=1)]
    np.testing.assert_allclose(np.concatenate(shared), expected, atol=1e-4)


def test_progress_adds_up_to_all_ids(model: LanguageModel, spans: list[Span], items: list[Choices]) -> None:
    counted: list[int] = []
    model.log_likelihoods(spans, batch_size=3, on_tokens=counted.append)
    assert sum(counted) == sum(len(ids) for ids, _ in spans)
    counted.clear()
    model.choice_log_likelihoods(items, batch_size=2, on_tokens=counted.append)
    assert sum(counted) == sum(len(prefix) + sum(map(len, rest)) for prefix, rest in items)


def test_bf16_is_used_when_asked_and_stays_near(byte_level_folder: Path, spans: list[Span]) -> None:
    halved = LanguageModel.load(byte_level_folder, dtype="bf16", device="cpu")
    exact = LanguageModel.load(byte_level_folder, device="cpu")
    pairs = zip(halved.log_likelihoods(spans, batch_size=2), exact.log_likelihoods(spans, batch_size=2), strict=True)
    differences = np.concatenate([np.abs(ours - theirs) for ours, theirs in pairs])
    assert 0 < differences.mean() < 0.3


def test_pickled_weights_are_not_loaded(broken_folder: Path) -> None:
    (broken_folder / "model.safetensors").unlink()
    torch.save({}, broken_folder / "pytorch_model.bin")
    for dtype in ("fp32", "bf16"):
        with pytest.raises((OSError, ValueError), match="safetensors"):
            LanguageModel.load(broken_folder, dtype=dtype)

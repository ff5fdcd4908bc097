"""Losses are fp32 sums over tokens, apart by language."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from tests.trainer.ranks import run_ranks
from trainer.loss import NO_TARGET, LossSums, token_losses
from trainer.mesh import Mesh


def test_loss_of_bf16_logits_is_computed_in_fp32() -> None:
    logits = torch.randn(2, 5, 300, generator=torch.Generator().manual_seed(0)).bfloat16()
    targets = torch.randint(0, 300, (2, 5), generator=torch.Generator().manual_seed(1))
    expected = functional.cross_entropy(logits.double().flatten(0, 1), targets.flatten(), reduction="none")
    losses = token_losses(logits, targets)
    assert losses.dtype == torch.float32
    assert torch.allclose(losses.double().flatten(), expected, atol=1e-5)


def _sums_on(mesh: Mesh) -> tuple[float, dict[str, float]]:
    # Sources 0 and 2 are Japanese. Rank 0 sees one sequence of each source, rank 1 two more Japanese ones.
    sums = LossSums(["ja", "en", "ja", "de"], mesh.device)
    if mesh.rank == 0:
        losses = torch.tensor([[1.0, 1.0], [2.0, 4.0], [5.0, 5.0]])
        sums.add(losses, torch.zeros(3, 2, dtype=torch.int64), torch.tensor([0, 1, 2]))
    if mesh.rank == 1 or mesh.parallel.dp == 1:
        sums.add(torch.tensor([[0.0, 3.0], [3.0, 2.0]]), torch.zeros(2, 2, dtype=torch.int64), torch.tensor([2, 0]))
    return sums.reduce(mesh)


@pytest.mark.parametrize("world", [1, 2])
def test_loss_per_language_is_the_mean_over_its_tokens_on_all_ranks(world: int) -> None:
    for total, per_language in run_ranks(world, _sums_on):
        assert total == pytest.approx(26 / 10)
        assert per_language == pytest.approx({"ja": 20 / 8, "en": 3.0})  # none of "de" was read


def test_uniform_logits_cost_log_of_the_vocabulary() -> None:
    assert token_losses(torch.zeros(1, 3, 7), torch.tensor([[0, 3, 6]])).tolist() == [
        pytest.approx([math.log(7)] * 3, abs=1e-6)
    ]


PADDED = torch.tensor([[1, 2, 3], [4, NO_TARGET, NO_TARGET]])


def _padded_sums_on(mesh: Mesh) -> tuple[float, dict[str, float]]:
    sums = LossSums(["ja", "en"], mesh.device)
    sums.add(torch.tensor([[1.0, 2.0, 3.0], [8.0, 0.0, 0.0]]), PADDED, torch.tensor([0, 1]))
    return sums.reduce(mesh)


def test_padding_costs_nothing_pulls_at_nothing_and_is_not_counted() -> None:
    logits = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    losses = token_losses(logits, PADDED)
    losses.sum().backward()
    assert losses[1, 1:].tolist() == [0, 0]
    assert logits.grad is not None
    assert logits.grad[1, 1:].count_nonzero() == 0
    assert logits.grad[1, 0].count_nonzero() == 7
    assert run_ranks(1, _padded_sums_on) == [(14 / 4, {"ja": 2.0, "en": 8.0})]

"""Losses are fp32 sums over tokens, apart by language."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from tests.trainer.ranks import run_ranks
from trainer.collectives import copy_to_ranks
from trainer.config import ParallelConfig
from trainer.loss import NO_TARGET, LossSums, VocabularyRows, head_losses, token_losses
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


def _sums_on_stages(mesh: Mesh) -> tuple[float, dict[str, float]]:
    sums = LossSums(["ja"], mesh.device)
    if mesh.is_last_stage:
        sums.add(torch.tensor([[1.0, 2.0 + mesh.place.dp]]), torch.zeros(1, 2, dtype=torch.int64), torch.tensor([0]))
    return sums.reduce(mesh)


def test_losses_of_the_last_stage_reach_all_ranks() -> None:
    assert run_ranks(ParallelConfig(pp=2, dp=2), _sums_on_stages) == [(7 / 4, {"ja": 7 / 4})] * 4


VOCAB, HIDDEN = 5, 3
TARGETS = torch.tensor([[0, 4, 2, NO_TARGET], [3, NO_TARGET, 1, 4]])


def _inputs(dtype: torch.dtype = torch.float64, hidden: int = HIDDEN, vocab: int = VOCAB) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(2, 4, hidden, generator=generator, dtype=torch.float64).to(dtype)
    weight = torch.randn(vocab, hidden, generator=generator, dtype=torch.float64).to(dtype)
    return x.requires_grad_(), weight.requires_grad_()


def _check_gradients(mesh: Mesh, chunk: int) -> bool:
    """Numeric derivatives by a hidden state or weight that changes on all ranks at once."""
    ranks, rank = mesh.parallel.tp, mesh.place.tp
    local = -(-VOCAB // ranks)
    rows = VocabularyRows(local * rank, min(VOCAB - local * rank, local), mesh.tp_group)

    def loss(x: Tensor, weight: Tensor) -> Tensor:
        x, weight = copy_to_ranks(x, mesh.tp_group), copy_to_ranks(weight, mesh.tp_group)
        padded = functional.pad(weight, (0, 0, 0, local * ranks - VOCAB))
        return 0.7 * head_losses(x, padded[local * rank : local * (rank + 1)], TARGETS, chunk, rows).sum()

    # gradcheck goes backward several times over, which one forward's gradients allow once: each makes its own.
    return torch.autograd.gradcheck(partial(checkpoint, loss, use_reentrant=False), _inputs())


@pytest.mark.parametrize("tp", [1, 2])
def test_gradient_check_over_ranks(tp: int) -> None:
    assert run_ranks(ParallelConfig(tp=tp), _check_gradients, 3) == [True] * tp


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_losses_and_gradients_by_chunks_are_those_of_whole_logits(
    dtype: torch.dtype, tolerance: float, chunk: int
) -> None:
    x, weight = _inputs(dtype, hidden=16, vocab=70)
    losses = head_losses(x, weight, TARGETS, chunk)
    losses.sum().mul(1 / 3).backward()
    exact_x, exact_weight = (value.detach().double().requires_grad_() for value in (x, weight))
    exact = token_losses(functional.linear(exact_x, exact_weight), TARGETS)
    exact.sum().mul(1 / 3).backward()
    assert losses.dtype == torch.float32
    assert losses[1, 1] == 0
    assert (losses - exact).abs().max() < tolerance * exact.abs().max()
    for found, expected in ((x.grad, exact_x.grad), (weight.grad, exact_weight.grad)):
        assert found is not None
        assert expected is not None
        assert found.dtype == dtype
        assert (found - expected).norm() < tolerance * expected.norm()


class _Products(TorchDispatchMode):
    """Counts matrix products, and finds the largest tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.largest = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = op(*args, **(kwargs or {}))
        self.count += op.__name__.startswith(("mm", "addmm"))
        self.largest = max([self.largest, *(out.numel() for out in [out] if isinstance(out, Tensor))])
        return out


def test_three_products_a_chunk_one_without_gradients_and_never_all_logits() -> None:
    x, weight = _inputs(torch.float32, vocab=1000)
    with _Products() as products:
        head_losses(x, weight, TARGETS, 2).sum().backward()
    assert (products.count, products.largest) == (4 * 3, weight.numel())
    with torch.no_grad(), _Products() as products:
        assert not head_losses(x, weight, TARGETS, 2).requires_grad
    assert (products.count, products.largest) == (4, weight.numel())


def test_losses_that_are_not_weighted_alike_are_refused() -> None:
    x, weight = _inputs()
    losses = head_losses(x, weight, TARGETS, 4)
    with pytest.raises(ValueError, match="not weighted alike"):
        (losses * torch.arange(8.0).view(2, 4)).sum().backward()

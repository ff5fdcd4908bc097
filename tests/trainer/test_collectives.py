"""Each exchange does forward and backward what its sentence says; backward is the transpose of forward."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tests.trainer.ranks import run_ranks
from trainer import collectives
from trainer.collectives import Group
from trainer.config import ParallelConfig
from trainer.mesh import Mesh

RANKS = 3


def of_rank(rank: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(rank), dtype=torch.float64)


def exchanged(function: Callable[[Tensor, Group], Tensor], mesh: Mesh, x: Tensor) -> tuple[Tensor, Tensor]:
    """Its output, and the gradient of its input for an upstream gradient that differs between ranks."""
    x.requires_grad_()
    out = function(x, mesh.tp_group)
    out.backward(of_rank(10 + mesh.rank, *out.shape))
    assert x.grad is not None
    return out.detach(), x.grad


def _conjugates(mesh: Mesh) -> None:
    rank, parts, wholes = mesh.rank, (2, 4, 5), (2, 4 * RANKS, 5)
    mine = slice(4 * rank, 4 * rank + 4)

    def total(first: int, shape: tuple[int, ...]) -> Tensor:
        return torch.stack([of_rank(first + other, *shape) for other in range(RANKS)]).sum(0)

    def joined(first: int) -> Tensor:
        return torch.cat([of_rank(first + other, *parts) for other in range(RANKS)], dim=1)

    out, grad = exchanged(collectives.copy_to_ranks, mesh, of_rank(rank, *wholes))
    assert torch.equal(out, of_rank(rank, *wholes))
    torch.testing.assert_close(grad, total(10, wholes))
    out, grad = exchanged(collectives.reduce_from_ranks, mesh, of_rank(rank, *wholes))
    torch.testing.assert_close(out, total(0, wholes))
    assert torch.equal(grad, of_rank(10 + rank, *wholes))
    out, grad = exchanged(collectives.gather_sequence, mesh, of_rank(rank, *parts))
    assert torch.equal(out, joined(0))
    torch.testing.assert_close(grad, total(10, wholes)[:, mine])
    out, grad = exchanged(collectives.scatter_sequence, mesh, of_rank(rank, *wholes))
    torch.testing.assert_close(out, total(0, wholes)[:, mine])
    assert torch.equal(grad, joined(10))
    rows = collectives.gathered_rows(of_rank(rank, 3, 2), mesh.tp_group)
    assert torch.equal(rows, torch.stack([of_rank(other, 3, 2) for other in range(RANKS)]))
    torch.testing.assert_close(collectives.summed(of_rank(rank, 7), mesh.tp_group).wait(), total(0, (7,)))


def test_conjugate_exchanges_of_tensor_parallelism() -> None:
    run_ranks(ParallelConfig(tp=RANKS), _conjugates)


def test_a_group_of_one_exchanges_nothing() -> None:
    x = of_rank(0, 2, 4, 5)
    for function in (
        collectives.copy_to_ranks,
        collectives.reduce_from_ranks,
        collectives.gather_sequence,
        collectives.scatter_sequence,
    ):
        assert function(x, None) is x
    assert torch.equal(collectives.gathered_sequence(x, None).wait(), x)
    assert torch.equal(collectives.scattered_sequence(x, None).wait(), x)
    assert collectives.summed(x, None).wait() is x
    assert torch.equal(collectives.gathered_rows(x, None), x.unsqueeze(0))

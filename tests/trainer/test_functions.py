"""Functions that pass over memory fewer times: forward to the bit what their parts give, backward their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from trainer import collectives
from trainer.functions import projections, rms_norm, rotate, swiglu
from trainer.precision import linear


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_norm(x: Tensor, weight: Tensor) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype)


def plain_swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return functional.silu(gate) * up


def plain_rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


TABLES = [numbers(7, 3, seed=seed).repeat(1, 2) for seed in (3, 4)]
CASES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], list[Tensor]]] = {
    "norm": (lambda x, w: rms_norm(x, w, 1e-5), plain_norm, [numbers(2, 7, 20), numbers(20, seed=1)]),
    "swiglu": (swiglu, plain_swiglu, [numbers(2, 7, 20), numbers(2, 7, 20, seed=1)]),
    "rope": (rotate, plain_rotate, [numbers(2, 7, 4, 6).transpose(1, 2), *TABLES]),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_forward_is_the_parts_to_the_bit_and_backward_their_gradient(name: str, dtype: torch.dtype) -> None:
    function, plain, inputs = CASES[name]
    learned = inputs[:1] if name == "rope" else inputs  # RoPE's tables are constants
    own = [x.to(dtype).detach().clone().requires_grad_(any(x is y for y in learned)) for x in inputs]
    exact = [x.detach().double().requires_grad_(x.requires_grad) for x in own]
    out = function(*own)
    assert torch.equal(out, plain(*own))
    upstream = numbers(*out.shape, seed=9).to(dtype)
    out.backward(upstream)
    plain(*exact).backward(upstream.double())
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 2e-2, torch.float64: 1e-14}[dtype]
    for found, expected in zip(own[: len(learned)], exact, strict=False):
        assert found.grad is not None
        assert expected.grad is not None
        assert found.grad.dtype == dtype
        assert (found.grad - expected.grad).norm() < tolerance * expected.grad.norm()


class _Order(TorchDispatchMode):
    """Writes down products, between the exchanges that a test writes down."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if op.__name__.startswith(("mm", "addmm")):
            self.seen.append("product")
        return op(*args, **(kwargs or {}))


def test_exchanges_of_projections_run_under_their_products(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def recorded(name: str) -> Callable[..., collectives.Pending]:
        function = getattr(collectives, name)

        def record(x: Tensor, group: collectives.Group) -> collectives.Pending:
            seen.append(name)
            return function(x, group)

        return record

    for name in ("gathered_sequence", "scattered_sequence"):
        monkeypatch.setattr(collectives, name, recorded(name))
    wait = collectives.Pending.wait

    def recorded_wait(pending: collectives.Pending) -> Tensor:
        seen.append("wait")
        return wait(pending)

    monkeypatch.setattr(collectives.Pending, "wait", recorded_wait)
    x, q, k = (numbers(*shape).requires_grad_() for shape in ((2, 3, 4), (6, 4), (2, 4)))
    with _Order(seen):
        outs = projections(x, (q, k), None, True)
    assert seen == ["gathered_sequence", "wait", "product", "product"]
    seen.clear()
    with _Order(seen):
        torch.cat(outs, dim=-1).pow(2).sum().backward()
    under_gather, under_scatter = ["product"] * 2, ["product"] * 2
    assert seen == ["gathered_sequence", *under_gather, "scattered_sequence", "wait", *under_scatter, "wait"]
    plain = [value.detach().requires_grad_() for value in (x, q, k)]
    linear(plain[0], torch.cat(plain[1:])).pow(2).sum().backward()
    for found, expected in zip((x, q, k), plain, strict=True):
        torch.testing.assert_close(found.grad, expected.grad)

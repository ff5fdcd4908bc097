"""bf16 on a device without bf16 instructions: the numbers of bf16, at the speed of fp32."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import trainer.precision
from trainer.model import Linear
from trainer.precision import compute_dtype, computes_bf16, fastest_dtype, products_dtype


def test_names_of_formats() -> None:
    assert [compute_dtype(name) for name in ("bf16", "fp32", "float64")] == [
        torch.bfloat16,
        torch.float32,
        torch.float64,
    ]


@pytest.mark.parametrize("hardware", [True, False])
def test_products_are_taken_in_what_the_device_computes(hardware: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.precision, "computes_bf16", lambda device: hardware)
    x = torch.linspace(-1, 1, 24).view(3, 8).bfloat16().requires_grad_()
    layer = Linear(8, 4, bias=False, dtype=torch.bfloat16)
    assert products_dtype(x) == (torch.bfloat16 if hardware else torch.float32)
    assert products_dtype(x.double()) == torch.float64
    out = layer(x)
    out.sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert {out.dtype, x.grad.dtype, layer.weight.grad.dtype} == {torch.bfloat16}
    exact = functional.linear(x.double(), layer.weight.double())
    torch.testing.assert_close(out.double(), exact, rtol=2**-8, atol=2**-8)
    if not hardware:
        assert torch.equal(out, functional.linear(x.float(), layer.weight.float()).bfloat16())


def test_the_fastest_format_is_the_one_with_hardware() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert fastest_dtype() == ("bf16" if computes_bf16(device) else "fp32")

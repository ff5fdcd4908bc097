"""The denominator of MFU is the dense peak of the very device, or what it was seen to do."""

from __future__ import annotations

import pytest
import torch

from tests.trainer.ranks import run_ranks
from trainer.device_peak import Peak, device_peak, measured_tflops, published_tflops
from trainer.mesh import Mesh


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA B200", 2250),
        ("NVIDIA GB200", 2500),
    ],
)
def test_the_dense_peak_by_name(name: str, tflops: float) -> None:
    assert published_tflops(name) == tflops


@pytest.mark.parametrize("name", ["NVIDIA H200 MIG 1g.18gb", "NVIDIA H20", "NVIDIA A10", "Quadro B2000"])
def test_other_devices_and_slices_are_measured(name: str) -> None:
    assert published_tflops(name) is None


def test_fp32_is_measured_even_where_bf16_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer import device_peak as module

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(module, "measured_tflops", lambda dtype, device: {torch.float32: 50.0}[dtype])
    found = [module._device_peak(dtype, torch.device("cuda")) for dtype in ("bf16", "fp32")]
    assert found == [Peak(989.0, "NVIDIA H200", "data sheet"), Peak(50.0, "NVIDIA H200", "measured")]


def test_a_product_of_matrices_is_timed() -> None:
    """Between a tenth of a GFLOPS and 10 TFLOPS: right in its units."""
    assert 1e-4 < measured_tflops(torch.float32, torch.device("cpu")) < 10


def peak_of(mesh: Mesh) -> Peak:
    return device_peak("bf16", mesh)


def test_all_ranks_have_rank_0s_figure() -> None:
    first, second = run_ranks(2, peak_of)
    assert first == second
    assert (first.device, first.origin) == ("1 CPU thread", "measured")

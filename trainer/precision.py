"""Which number formats a device computes in, and matrix products in them.

if x.dtype == torch.bfloat16 and not computes_bf16(x.device): ...
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional


def compute_dtype(name: str) -> torch.dtype:
    """torch's dtype for `TrainConfig.dtype`."""
    return {"bf16": torch.bfloat16, "fp32": torch.float32, "float64": torch.float64}[name]


@cache
def computes_bf16(device: torch.device) -> bool:
    """Whether bf16 runs in hardware.

    Without AVX-512 oneDNN has no bf16 kernels and torch multiplies in a plain loop: 10 GFLOPS forward and 2 backward
    on one AVX2 core that does 60 to 75 in fp32 (torch 2.13).
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def fastest_dtype() -> str:
    """`TrainConfig.dtype` that trains fastest here: bf16 where there are instructions for it, else fp32."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return "bf16" if computes_bf16(device) else "fp32"


def products_dtype(x: Tensor) -> torch.dtype:
    """What matrix products of `x` are computed in: its own dtype, or fp32 for bf16 without hardware."""
    return torch.float32 if x.dtype == torch.bfloat16 and not computes_bf16(x.device) else x.dtype


def at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    """What sums, norms and losses of a tensor of `dtype` are computed in."""
    return torch.promote_types(dtype, torch.float32)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x times the transposed weight, in `products_dtype`, rounded back."""
    wide = products_dtype(x)
    return functional.linear(x.to(wide), weight.to(wide)).to(x.dtype)

"""Which number formats a device computes in.

if x.dtype == torch.bfloat16 and not computes_bf16(x.device): ...
"""

from __future__ import annotations

from functools import cache

import torch


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

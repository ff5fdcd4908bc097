"""What a device could compute at best: the denominator of MFU.

Out: dense TFLOPS of one device. In bf16 on the devices below it is the vendor's figure, without sparsity: data sheets
print twice as much for products in which half of a matrix is zero, and dividing by that halves MFU (Megatron-LM issues
1276 and 1565). Everywhere else (other GPUs, slices of one, CPUs, fp32) it is the fastest of a few products of large
matrices, measured once at start in the format in which products are computed: on a CPU, with this rank's threads,
while the other ranks wait.

    peak = device_peak(config.dtype, mesh)
    mfu = tflops["model_causal"] / peak.tflops
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Literal

import torch

from trainer.mesh import Mesh
from trainer.precision import compute_dtype, computes_bf16

# Words of the name that CUDA gives a device -> dense bf16 TFLOPS; the first entry whose words all occur counts.
# NVIDIA's data sheets: A100 (2021); H100 (2024: SXM 1,979, PCIe 1,513, NVL 1,671 with sparsity); H200 (2024: SXM 1,979,
# NVL 1,671 with sparsity); GH200 (1,979 with sparsity); HGX B200 (4,500 a GPU with sparsity); GB200 NVL72 (360,000 with
# sparsity over 72 GPUs); L40S (733 with sparsity). AMD's: MI300X (2023: 1,307).
DENSE_BF16_TFLOPS = (
    ("A100", 312.0),
    ("H100 PCIe", 756.0),
    ("H100 NVL", 835.0),
    ("H100", 989.0),
    ("H200 NVL", 835.0),
    ("H200", 989.0),
    ("GH200", 989.0),
    ("GB200", 2500.0),
    ("B200", 2250.0),
    ("L40S", 362.0),
    ("MI300X", 1307.0),
)
_SIZE = {"cpu": 1024, "cuda": 8192}
_TRIES = 5


@dataclass(frozen=True)
class Peak:
    """Dense TFLOPS of one device, and where the figure comes from."""

    tflops: float
    device: str
    origin: Literal["data sheet", "measured"]


def device_peak(dtype: str, mesh: Mesh) -> Peak:
    """The peak of rank 0's device for `TrainConfig.dtype`, on every rank; all take part, rank 0 measures alone."""
    return mesh.from_first(_device_peak(dtype, mesh.device) if mesh.is_first else None)  # type: ignore[return-value]


def published_tflops(device_name: str) -> float | None:
    """Dense bf16 TFLOPS of a whole device by its name, where the vendor's figure is known."""
    words = set(re.split(r"[^\w]+", device_name.upper()))
    if "MIG" in words:
        return None
    found = (peak for name, peak in DENSE_BF16_TFLOPS if words.issuperset(name.upper().split()))
    return next(found, None)


def measured_tflops(dtype: torch.dtype, device: torch.device) -> float:
    """The fastest of a few square products: a tenth of a second on a core that does 60 GFLOPS.

    Repetitions after the first find caches and the allocator warm; on CUDA, too, a product takes milliseconds, so that
    launching it does not count.
    """
    size = _SIZE.get(device.type, 8192)
    a, b = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    seconds = []
    for _ in range(_TRIES):
        _synchronize(device)
        begun = time.perf_counter()
        torch.mm(a, b, out=out)
        _synchronize(device)
        seconds.append(time.perf_counter() - begun)
    return 2 * size**3 / min(seconds) / 1e12


def _device_peak(dtype: str, device: torch.device) -> Peak:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    if device.type == "cuda" and dtype == "bf16" and (published := published_tflops(name)):
        return Peak(published, name, "data sheet")
    products = compute_dtype(dtype)
    if products == torch.bfloat16 and not computes_bf16(device):
        products = torch.float32  # see trainer.precision: such products run in fp32
    return Peak(measured_tflops(products, device), name, "measured")


def _cpu_name() -> str:
    threads = torch.get_num_threads()
    return f"{threads} CPU thread{'s' if threads > 1 else ''}"


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""Where a step's time goes on a device: its kernels, by kind and by name, and how long the device waited.

found = kernel_table(lambda: step(batch), torch.device("cuda"))
found["kinds"]     # {"matrix products": 812.3, "attention": 96.0, ...} in milliseconds
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.train_steps import synchronize

# Words of a kernel's name, in lower case, that tell its kind; the first that fits counts.
KINDS = (
    ("attention", ("flash", "fmha", "attention", "sdpa")),
    ("matrix products", ("gemm", "nvjet", "cutlass", "xmma", "addmm", "::mm", "::bmm", "matmul", "linear")),
    ("optimizer", ("adam",)),
    ("compiled by triton", ("triton",)),
    ("copies", ("memcpy", "memset", "copy", "::to", "fill", "zero")),
    ("reductions", ("reduce", "norm", "softmax", "logsumexp", "::sum")),
    ("elementwise", ("elementwise", "vectorized", "::add", "::mul", "silu", "::exp")),
)
_ROWS = 25


def kind_of(kernel: str) -> str:
    name = kernel.lower()
    return next((kind for kind, words in KINDS if any(word in name for word in words)), "other")


def kernel_table(step: Callable[[], object], device: torch.device) -> dict[str, Any]:
    """Profile one step: kernels on CUDA; on a CPU operations, by their own time.

    Idle is what kernels leave of the step's wall time, the profiler's own cost included.
    """
    on_device = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_device else [])]
    synchronize(device)
    with profile(activities=activities) as profiler:
        began = time.perf_counter()
        step()
        synchronize(device)
        wall_ms = (time.perf_counter() - began) * 1e3
    rows = []
    for event in profiler.key_averages():
        if on_device and (event.device_type != torch.autograd.DeviceType.CUDA or event.is_user_annotation):
            continue  # an operation or a named range, whose kernels are events of their own
        own_us = event.self_device_time_total if on_device else event.self_cpu_time_total
        if own_us > 0:
            rows.append((event.key, event.count, own_us / 1e3))
    rows.sort(key=lambda row: -row[2])
    kinds: dict[str, float] = {}
    for name, _, milliseconds in rows:
        kinds[kind_of(name)] = kinds.get(kind_of(name), 0.0) + milliseconds
    busy_ms = sum(kinds.values())
    return {
        "wall_ms": wall_ms,
        "busy_ms": busy_ms,
        "idle_share": max(0.0, 1 - busy_ms / wall_ms),
        "kinds": dict(sorted(kinds.items(), key=lambda item: -item[1])),
        "kernels": [(name[:120], calls, milliseconds) for name, calls, milliseconds in rows[:_ROWS]],
    }

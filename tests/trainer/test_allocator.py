"""Freed memory is used again without asking the system for pages."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from tests.trainer.ranks import run_ranks
from trainer.allocator import keep_freed_memory
from trainer.mesh import Mesh


def _page_faults(mesh: Mesh) -> tuple[int, int]:
    """Of touching 16 MiB for the first time, and for the twentieth."""
    assert keep_freed_memory()
    found = []
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1 << 22)
        found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return found[0], found[-1]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_kept() -> None:
    ((first, again),) = run_ranks(1, _page_faults)
    assert again < first / 10

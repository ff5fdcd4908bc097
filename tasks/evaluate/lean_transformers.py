"""What is used of transformers, imported without what it only has for other work.

Its models import the losses of object detection, and those scipy.optimize where scipy is installed: 0.4 s of every
start, and several processes may start for an evaluation. So scipy is out of sight while transformers is imported.

    from tasks.evaluate.lean_transformers import AutoModelForCausalLM
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _out_of_sight(package: str) -> Iterator[None]:
    """Have importlib find no such package, unless it is imported already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # documented: an import of it then fails
    try:
        yield
    finally:
        del sys.modules[package]


with _out_of_sight("scipy"):
    from transformers import AttentionInterface, AutoModelForCausalLM, DynamicCache
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

__all__ = [
    "AttentionInterface",
    "AttentionMaskInterface",
    "AutoModelForCausalLM",
    "DynamicCache",
    "sdpa_attention_forward",
    "sdpa_mask",
]

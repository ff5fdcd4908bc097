"""Activation recomputation: what backward computes again instead of keeping.

In: a `Llama`. Out: the same, with functions wrapped in torch's checkpoint (Chen et al. 2016).
- none: a layer keeps what its backward reads, in 2-byte formats sbh(12 + 4g/a + 6f/h) / t bytes, most of it;
- selective: attention's core (RoPE, scores, softmax, weighted sum) keeps its inputs only (Korthikanti et al. 2022,
  section 5). Flash attention keeps little more than that by itself: it pays where another kernel runs, or where bf16
  is computed in fp32;
- full: a layer keeps its input only, 2sbh / t bytes, for a fourth forward pass.
s sequence, b micro-batch, h hidden, a heads, g key-value heads, f intermediate size, t tensor-parallel ranks (without
sequence parallelism norms' inputs and the layer's own are not divided by t).

There is no dropout, so no random state is kept. Exchanges between tensor-parallel ranks inside a layer run again too.

    recompute_in_backward(chunk, "selective")
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from trainer.model import Llama


def recompute_in_backward(chunk: Llama, what: Literal["none", "selective", "full"]) -> None:
    """Let every layer compute `what` again in backward."""
    for layer in chunk.model.present_layers():
        if what == "selective":
            layer.self_attn.core = _recomputed(layer.self_attn.core)  # type: ignore[method-assign]
        elif what == "full":
            layer.forward = _recomputed(layer.forward)  # type: ignore[method-assign]


def _recomputed(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return partial(checkpoint, function, use_reentrant=False, preserve_rng_state=False)

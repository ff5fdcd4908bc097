"""The model's functions that pass over memory fewer times, and keep less for backward, than their parts in sequence.

Forward they round exactly as transformers' Llama does, operation by operation; what changes is which results are
written into memory already at hand. Backward they compute again what is cheap: RMSNorm keeps its input and one number
a token, SwiGLU its two inputs, RoPE nothing. On a CPU fresh memory costs more than arithmetic: a first touch of 64 MiB
takes 40 ms, the softmax of as many numbers 27 (one core, AVX2).

    out = rms_norm(x, weight, eps=1e-5); out = swiglu(gate, up); q = rotate(q, cos, sin)
    q, k, v = projections(x, (q_weight, k_weight, v_weight))
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from trainer import collectives
from trainer.collectives import Group
from trainer.precision import at_least_fp32, products_dtype


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Root-mean-square norm over the last dim, computed in at least fp32 (Zhang and Sennrich 2019)."""
    return _RMSNorm.apply(x, weight, eps)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.to(at_least_fp32(x.dtype))
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, scale)
        return (wide * scale).to(x.dtype).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        normed = x.to(scale.dtype) * scale
        products = grad * normed  # of the weight's gradient, before the sum over tokens
        weight_grad = products.flatten(0, -2).sum(0)
        mean = torch.mv(products.flatten(0, -2), weight.to(scale.dtype)).div_(x.shape[-1]).view(scale.shape)
        x_grad = torch.mul(grad.to(scale.dtype), weight, out=products).sub_(normed.mul_(mean)).mul_(scale)
        return x_grad.to(x.dtype), weight_grad.to(weight.dtype), None


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up (Shazeer 2020)."""
    return _SwiGLU.apply(gate, up)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        gate_grad = torch.ops.aten.silu_backward(grad * up, gate)
        return gate_grad, functional.silu(gate).mul_(grad)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Half-split RoPE (Su et al. 2021) of (batch, heads, seq, head_dim): dimension i turns with i + head_dim / 2.

    Args:
        cos, sin: (seq, head_dim), both halves alike.
    """
    return _Rotate.apply(x, cos, sin)


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grad, cos, -sin), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    out = x * cos
    out[..., :half] -= x[..., half:] * sin[..., :half]
    out[..., half:] += x[..., :half] * sin[..., half:]
    return out


def projections(
    x: Tensor, weights: tuple[Tensor, ...], group: Group = None, sequence: bool = False
) -> tuple[Tensor, ...]:
    """Products of one input with several weights (rows, hidden), in `products_dtype`.

    Where a tensor-parallel group shares out the weights' rows, what is exchanged is exchanged once for all of them.
    Forward: all-gather of the sequence; none without sequence parallelism. Backward: all-gather of the sequence again,
    while the input's gradient is computed; then its reduce-scatter, or its all-reduce without sequence parallelism,
    while the weights' gradients are (Megatron-LM's overlap; Korthikanti et al. 2022, section 4.2.2).

    Args:
        x: (batch, seq, hidden), or with `sequence` this rank's part of it (batch, seq / t, hidden).
    """
    return _Projections.apply(x, group, sequence, *weights)


class _Projections(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group, sequence: bool, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, *weights)  # of the sequence this rank's part only
        ctx.group, ctx.sequence = group, sequence
        dtype = products_dtype(x)
        whole = collectives.gathered_sequence(x, group).wait() if sequence else x
        whole = whole.to(dtype)
        return tuple(functional.linear(whole, weight.to(dtype)).to(x.dtype) for weight in weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights = ctx.saved_tensors
        dtype = products_dtype(x)
        gathering = collectives.gathered_sequence(x, ctx.group) if ctx.sequence else None
        flat = [grad.flatten(0, 1).to(dtype) for grad in grads]
        x_grad = torch.mm(flat[0], weights[0].to(dtype))
        for grad, weight in zip(flat[1:], weights[1:], strict=True):
            x_grad.addmm_(grad, weight.to(dtype))
        x_grad = x_grad.to(x.dtype).view(*grads[0].shape[:2], x.shape[-1])
        reduce = collectives.scattered_sequence if ctx.sequence else collectives.summed
        reducing = reduce(x_grad, ctx.group)
        whole = x if gathering is None else gathering.wait()
        whole = whole.flatten(0, 1).to(dtype)
        weight_grads = [torch.mm(grad.t(), whole).to(x.dtype) for grad in flat]
        return reducing.wait(), None, None, *weight_grads

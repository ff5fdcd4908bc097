"""Llama in plain PyTorch, for one device, with Hugging Face parameter names.

In: token ids (batch, seq). Out: logits (batch, seq, vocab) in the parameters' dtype. Pre-norm blocks of causal
grouped-query attention with half-split RoPE, and SwiGLU (Touvron et al. 2023; RoPE scaling of Llama 3.1). Operations
and their order are those of transformers' Llama, so that the same weights give the same bits there and here.

A sequence of several documents may keep each to itself: with `documents`, a position attends to its own document only.
RoPE needs no reset then: it turns queries and keys by their positions, and their product depends on the difference
alone, which inside a document is what it is when the document stands by itself.

The model is written to be cut from outside. Layers sit in a dict keyed by their number, so a pipeline stage deletes
the others and all names stay; `embed_tokens`, `norm` and `lm_head` may be absent; heads are counted from the
projections' width, so a tensor-parallel rank that holds some of them runs the same code.

    model = Llama(read_llama_config(folder), dtype=torch.bfloat16)
    logits = model(tokens)
    logits = model(tokens, documents)  # int64 (batch, seq): the number of each position's document
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.llama_config import LlamaConfig
from trainer.precision import computes_bf16


class Linear(nn.Linear):
    """Without bias; multiplies in fp32 where the device has no instructions for the parameters' bf16.

    There torch would multiply in a plain loop, thirty times slower. Weights and results stay bf16.
    """

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight)


class RMSNorm(nn.Module):
    """Root-mean-square norm, computed in at least fp32 whatever the input."""

    def __init__(self, size: int, eps: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, dtype=dtype))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class Attention(nn.Module):
    def __init__(self, config: LlamaConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        hidden, query, key = (
            config.hidden_size,
            config.num_heads * config.head_dim,
            config.num_kv_heads * config.head_dim,
        )
        self.q_proj = Linear(hidden, query, bias=False, dtype=dtype)
        self.k_proj = Linear(hidden, key, bias=False, dtype=dtype)
        self.v_proj = Linear(hidden, key, bias=False, dtype=dtype)
        self.o_proj = Linear(query, hidden, bias=False, dtype=dtype)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None) -> Tensor:
        batch, seq, _ = x.shape
        q, k, v = (  # each (batch, heads, seq, head_dim)
            projection(x).view(batch, seq, -1, self.head_dim).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        q, k, v = (projected.to(products_dtype(x)) for projected in (q, k, v))
        grouped = q.shape[1] != k.shape[1]
        out = functional.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, enable_gqa=grouped)
        return self.o_proj(out.to(x.dtype).transpose(1, 2).reshape(batch, seq, -1))


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, config: LlamaConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, bias=False, dtype=dtype)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=False, dtype=dtype)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=False, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, config: LlamaConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.self_attn = Attention(config, dtype)
        self.mlp = MLP(config, dtype)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class LlamaBody(nn.Module):
    """Everything below the output projection; parameters are uninitialised until weights are loaded."""

    def __init__(self, config: LlamaConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.embed_tokens: nn.Embedding | None = nn.Embedding(
            config.vocab_size,
            config.hidden_size,
            _weight=torch.empty(config.vocab_size, config.hidden_size, dtype=dtype),
        )
        self.layers = nn.ModuleDict({str(i): Block(config, dtype) for i in range(config.num_layers)})
        self.norm: RMSNorm | None = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x if self.embed_tokens is None else self.embed_tokens(x)
        for block in self.layers.values():
            x = block(x, cos, sin, mask)
        return x if self.norm is None else self.norm(x)


class Llama(nn.Module):
    """Llama with a language-model head; `state_dict()` has Hugging Face names (a tied head appears once more)."""

    def __init__(self, config: LlamaConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        self.model = LlamaBody(config, dtype)
        self.lm_head: nn.Linear | None = Linear(config.hidden_size, config.vocab_size, bias=False, dtype=dtype)
        if config.tied:
            assert self.model.embed_tokens is not None
            self.lm_head.weight = self.model.embed_tokens.weight
        frequencies = rope_frequencies(config)
        self.register_buffer("rope_frequencies", frequencies, persistent=False)

    def hidden(self, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
        """Final hidden states (batch, seq, hidden) of token ids (batch, seq), or of a stage's hidden states.

        Args:
            documents: int64 (batch, seq), the document of each position; left out, attention goes across documents.
        """
        cos, sin = rope_tables(self.rope_frequencies, tokens.shape[1], self.dtype)  # type: ignore[arg-type]
        return self.model(tokens, cos, sin, None if documents is None else document_mask(documents))

    def forward(self, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
        """Logits (batch, seq, vocab) of token ids (batch, seq); hidden states where a stage has no head."""
        x = self.hidden(tokens, documents)
        return x if self.lm_head is None else self.lm_head(x)


def document_mask(documents: Tensor) -> Tensor:
    """What may be attended to, bool (batch, 1, query, key): the positions of the same document up to one's own.

    seq ** 2 bytes a sequence, 16 MiB at 4,096 positions, made once for all layers.
    """
    same = documents.unsqueeze(2) == documents.unsqueeze(1)
    return same.tril_().unsqueeze(1)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x times the transposed weight, in `products_dtype`, rounded back."""
    wide = products_dtype(x)
    return functional.linear(x.to(wide), weight.to(wide)).to(x.dtype)


def products_dtype(x: Tensor) -> torch.dtype:
    """What matrix products of `x` are computed in: its own dtype, or fp32 for bf16 without hardware."""
    return torch.float32 if x.dtype == torch.bfloat16 and not computes_bf16(x.device) else x.dtype


def rope_frequencies(config: LlamaConfig) -> Tensor:
    """Inverse frequencies (head_dim / 2,), fp32.

    With `rope_scaling`, as Llama 3.1: wavelengths beyond the original context are stretched by `factor`, short ones
    are left alone, those between are blended.
    """
    dim = config.head_dim
    frequencies = 1.0 / (config.rope_theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))
    if (scaling := config.rope_scaling) is None:
        return frequencies
    wavelength = 2 * math.pi / frequencies
    longest, shortest = (
        scaling.original_max_positions / factor for factor in (scaling.low_freq_factor, scaling.high_freq_factor)
    )
    stretched = torch.where(wavelength > longest, frequencies / scaling.factor, frequencies)
    blend = (scaling.original_max_positions / wavelength - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    blended = (1 - blend) * stretched / scaling.factor + blend * stretched
    between = ~(wavelength < shortest) & ~(wavelength > longest)
    return torch.where(between, blended, stretched)


def rope_tables(frequencies: Tensor, seq: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin, each (seq, head_dim), angles in at least fp32 and rounded to `dtype` at the end."""
    wide = torch.promote_types(dtype, torch.float32)
    positions = torch.arange(seq, device=frequencies.device, dtype=wide)
    angles = torch.outer(positions, frequencies.to(wide))
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Half-split RoPE of (batch, heads, seq, head_dim): dimension i turns with i + head_dim / 2."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin

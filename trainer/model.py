"""Llama in plain PyTorch, for one device, with Hugging Face parameter names.

In: token ids (batch, seq). Out: logits (batch, seq, vocab) in the parameters' dtype, or, with targets, token losses.
Pre-norm blocks of causal grouped-query attention with half-split RoPE, and SwiGLU (Touvron et al. 2023; RoPE scaling of
Llama 3.1). Operations and their order are those of transformers' Llama, so that the same weights give the same bits
there and here.

A sequence of several documents may keep each to itself: with `documents`, a position attends to its own document only.
RoPE needs no reset then: it turns queries and keys by their positions, and their product depends on the difference
alone, which inside a document is what it is when the document stands by itself.

The model is written to be cut from outside (`trainer.parallelize`). Layers sit in a dict keyed by their number, so a
pipeline stage deletes the others and all names stay; `embed_tokens`, `norm` and `lm_head` may be absent; heads are
counted from the projections' width, so a tensor-parallel rank that holds some of them runs the same code. Projections
that share an input are one call, `project`, so that tensor parallelism can exchange that input once.

    model = Llama(read_llama_config(folder), dtype=torch.bfloat16)
    logits = model(tokens)
    losses = model(tokens, documents, targets)  # documents: int64 (batch, seq), the number of each position's document
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.functions import projections, rms_norm, rotate, swiglu
from trainer.llama_config import LinearRopeScaling, LlamaConfig
from trainer.loss import head_losses
from trainer.precision import at_least_fp32, linear, products_dtype
from trainer.stages import Stage

# Inputs and the weights of the projections that share them to their outputs.
Project = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]


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
        return rms_norm(x, self.weight, self.eps)


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
        self.project: Project = projections

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.project(x, (self.q_proj.weight, self.k_proj.weight, self.v_proj.weight))
        return self.o_proj(self.core(q, k, v, cos, sin, mask))

    def core(self, q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        """RoPE and attention of projections (batch, seq, heads * head_dim); no parameters.

        torch chooses the kernel: flash attention (Dao et al. 2022) on a CPU, and on CUDA without a mask; with one
        CUDA's memory-efficient kernel, which keeps no scores either. The mask is seq ** 2 bytes a sequence.
        """
        batch, seq, _ = q.shape
        dtype = q.dtype
        q, k, v = (x.view(batch, seq, -1, self.head_dim).transpose(1, 2) for x in (q, k, v))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)  # (batch, heads, seq, head_dim)
        q, k, v = (x.to(products_dtype(x)) for x in (q, k, v))
        grouped = q.shape[1] != k.shape[1]
        out = functional.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, enable_gqa=grouped)
        return out.to(dtype).transpose(1, 2).reshape(batch, seq, -1)


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, config: LlamaConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.gate_proj = Linear(config.hidden_size, config.intermediate_size, bias=False, dtype=dtype)
        self.up_proj = Linear(config.hidden_size, config.intermediate_size, bias=False, dtype=dtype)
        self.down_proj = Linear(config.intermediate_size, config.hidden_size, bias=False, dtype=dtype)
        self.project: Project = projections

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.project(x, (self.gate_proj.weight, self.up_proj.weight))
        return self.down_proj(swiglu(gate, up))


class Layer(nn.Module):
    def __init__(self, config: LlamaConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.self_attn = Attention(config, dtype)
        self.mlp = MLP(config, dtype)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Head(Linear):
    """The output projection, and the losses of its logits."""

    loss_chunk = 1024  # tokens whose logits exist at a time where there are targets

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
        """Logits (batch, seq, vocab), or the losses (batch, seq) of targets in nats (`trainer.loss.head_losses`)."""
        return linear(x, self.weight) if targets is None else head_losses(x, self.weight, targets, self.loss_chunk)


class LlamaBody(nn.Module):
    """Everything below the output projection; parameters are uninitialised until weights are loaded."""

    def __init__(self, config: LlamaConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.embed_tokens: nn.Embedding | None = nn.Embedding(
            config.vocab_size,
            config.hidden_size,
            _weight=torch.empty(config.vocab_size, config.hidden_size, dtype=dtype),
        )
        self.layers = nn.ModuleDict({str(i): Layer(config, dtype) for i in range(config.num_layers)})
        self.norm: RMSNorm | None = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype)

    def present_layers(self) -> list[Layer]:
        """The layers of this stage, in order."""
        return cast(list[Layer], list(self.layers.values()))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x if self.embed_tokens is None else self.embed_tokens(x)
        for layer in self.layers.values():
            x = layer(x, cos, sin, mask)
        return x if self.norm is None else self.norm(x)


class Llama(nn.Module):
    """Llama with a language-model head; `state_dict()` has Hugging Face names (a tied head appears once more).

    Attributes:
        stage: which part of the model this is; all of it unless `trainer.parallelize` cut it.
        sequence_parts: parts of the sequence of which the hidden states between layers hold one.
    """

    def __init__(self, config: LlamaConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        self.model = LlamaBody(config, dtype)
        self.stage = Stage(index=0, num_stages=1, pp_rank=0, layers=range(config.num_layers))
        self.sequence_parts = 1
        self.lm_head: Head | None = Head(config.hidden_size, config.vocab_size, bias=False, dtype=dtype)
        if config.tied:
            assert self.model.embed_tokens is not None
            self.lm_head.weight = self.model.embed_tokens.weight
        frequencies = rope_frequencies(config)
        self.register_buffer("rope_frequencies", frequencies, persistent=False)

    def hidden(self, x: Tensor, documents: Tensor | None = None) -> Tensor:
        """Hidden states (batch, seq, hidden) of token ids (batch, seq), or of an earlier stage's hidden states.

        Args:
            documents: int64 (batch, seq), the document of each position; left out, attention goes across documents.
        """
        seq = x.shape[1] * (1 if self.model.embed_tokens is not None else self.sequence_parts)
        cos, sin = rope_tables(self.rope_frequencies, seq, self.dtype)  # type: ignore[arg-type]
        return self.model(x, cos, sin, None if documents is None else document_mask(documents))

    def forward(self, x: Tensor, documents: Tensor | None = None, targets: Tensor | None = None) -> Tensor:
        """Of token ids, or an earlier stage's hidden states: hidden states, logits, or token losses.

        Args:
            x: int64 (batch, seq) where this has the embedding, else hidden states (batch, seq / parts, hidden).
            documents: see `hidden`.
            targets: int64 (batch, seq), the next tokens, `NO_TARGET` where there is nothing to predict.

        Returns:
            Without a head, hidden states like those that came in. With it, logits (batch, seq, vocab), or with
            targets the losses (batch, seq) in nats, at least fp32, of which backward takes sums only.
        """
        x = self.hidden(x, documents)
        return x if self.lm_head is None else self.lm_head(x, targets)


def document_mask(documents: Tensor) -> Tensor:
    """What may be attended to, bool (batch, 1, query, key): the positions of the same document up to one's own.

    seq ** 2 bytes a sequence, 16 MiB at 4,096 positions, made once for all layers.
    """
    same = documents.unsqueeze(2) == documents.unsqueeze(1)
    return same.tril_().unsqueeze(1)


def rope_frequencies(config: LlamaConfig) -> Tensor:
    """Inverse frequencies (head_dim / 2,), fp32.

    With Llama 3.1's scaling wavelengths beyond the original context are stretched by `factor`, short ones
    are left alone, those between are blended.
    """
    dim = config.head_dim
    # On the CPU also where modules are made on "meta": there arange imports torch's compiler, which takes seconds.
    places = torch.arange(0, dim, 2, dtype=torch.float32, device="cpu")
    frequencies = 1.0 / (config.rope_theta ** (places / dim))
    if (scaling := config.rope_scaling) is None:
        return frequencies
    if isinstance(scaling, LinearRopeScaling):
        return frequencies / scaling.factor
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
    wide = at_least_fp32(dtype)
    positions = torch.arange(seq, device=frequencies.device, dtype=wide)
    angles = torch.outer(positions, frequencies.to(wide))
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)

"""A random Llama to start from where there is no base model: trials, tests and training from scratch.

In: the sizes, a vocabulary and a seed. Out: a Hugging Face folder (config.json, model.safetensors).
Matrices and embeddings are drawn from N(0, 0.02), norms are one (transformers,
LlamaConfig.initializer_range; Swallow's scripts: init-std 0.02). Each tensor has its own generator, seeded
by (seed, tensor name), so a tensor does not depend on how many stand before it, and tied and untied models
share all the others.

    write_random_model(RandomModel(hidden_size=256), vocab=32_000, bos_id=1, eos_id=2, out=out, seed=1234)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xxhash

from storage.artifact import new_file
from storage.uri import join, write_bytes
from tokenizer.safetensors_stream import Tensor, from_float32, write_safetensors

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
STANDARD_DEVIATION = 0.02
_DTYPES = {"bfloat16": "BF16", "float32": "F32"}


@dataclass(frozen=True)
class RandomModel:
    """Sizes of a Llama; the fields of `initialize.base_model.random` of the run file, described there."""

    hidden_size: int = 256
    num_layers: int = 4
    num_heads: int = 4
    num_kv_heads: int | None = None
    intermediate_size: int | None = None
    tie_embeddings: bool = False
    rope_theta: float = 10_000.0
    max_position: int = 4096
    norm_eps: float = 1e-5
    dtype: str = "bfloat16"

    @property
    def kv_heads(self) -> int:
        return self.num_kv_heads or self.num_heads

    @property
    def intermediate(self) -> int:
        """8/3 of the hidden size, as Llama, rounded up to a multiple of 64."""
        return self.intermediate_size or -(-self.hidden_size * 8 // 3 // 64) * 64


def write_random_model(
    model: RandomModel, *, vocab: int, bos_id: int | None, eos_id: int, out: str, seed: int
) -> list[str]:
    """Write the folder; the names of its files."""
    tensors = _tensors(model, vocab)
    with new_file(out, "model.safetensors") as file:
        write_safetensors(file, tensors, {"format": "pt"}, lambda tensor: _values(tensor, seed))
    config = _config(model, vocab, bos_id, eos_id)
    write_bytes(join(out, "config.json"), json.dumps(config, indent=2).encode() + b"\n")
    return ["config.json", "model.safetensors"]


def _tensors(model: RandomModel, vocab: int) -> list[Tensor]:
    hidden, head_size = model.hidden_size, model.hidden_size // model.num_heads
    query, key_value = model.num_heads * head_size, model.kv_heads * head_size
    layer = {
        "input_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (query, hidden),
        "self_attn.k_proj.weight": (key_value, hidden),
        "self_attn.v_proj.weight": (key_value, hidden),
        "self_attn.o_proj.weight": (hidden, query),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_proj.weight": (model.intermediate, hidden),
        "mlp.up_proj.weight": (model.intermediate, hidden),
        "mlp.down_proj.weight": (hidden, model.intermediate),
    }
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (vocab, hidden)}
    for index in range(model.num_layers):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (hidden,)
    if not model.tie_embeddings:
        shapes[HEAD] = (vocab, hidden)
    return [Tensor(name, _DTYPES[model.dtype], shape) for name, shape in shapes.items()]


def _values(tensor: Tensor, seed: int) -> Iterator[bytes]:
    """A tensor's bytes, row by row in blocks: the generator's stream does not depend on the block size."""
    if len(tensor.shape) == 1:
        yield from_float32(np.ones(tensor.shape, np.float32), tensor.dtype)
        return
    generator = np.random.default_rng([seed, xxhash.xxh3_64_intdigest(tensor.name.encode())])
    rows, columns = tensor.shape
    for start in range(0, rows, 1024):
        shape = (min(1024, rows - start), columns)
        values = generator.standard_normal(shape, np.float32) * np.float32(STANDARD_DEVIATION)
        yield from_float32(values, tensor.dtype)


def _config(model: RandomModel, vocab: int, bos_id: int | None, eos_id: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.hidden_size // model.num_heads,
        "hidden_act": "silu",
        "max_position_embeddings": model.max_position,
        "rope_theta": model.rope_theta,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": model.rope_theta,
        },  # transformers 5's place for it
        "rms_norm_eps": model.norm_eps,
        "initializer_range": STANDARD_DEVIATION,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": model.tie_embeddings,
        "bos_token_id": bos_id,
        "eos_token_id": eos_id,
        "use_cache": True,
        "dtype": model.dtype,
        "torch_dtype": model.dtype,  # where transformers 4 looks
    }

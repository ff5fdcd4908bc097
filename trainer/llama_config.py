"""The shape of a Llama, read from a Hugging Face `config.json`; no torch.

In: the dict of a config.json as transformers 5 writes it (`rope_parameters`) or as 4 did (`rope_theta`,
`rope_scaling`), of a Llama 1 to 3.2, a SmolLM or another model of that architecture, or of a Mistral 7B, whose layers
are a Llama's. Out: `LlamaConfig`. What the trainer cannot compute exactly is refused by name, because training a
nearly right architecture looks like training.

    config = read_llama_config("path/to/hf-folder")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Llama3RopeScaling:
    """RoPE scaling of Llama 3.1 (`rope_type: llama3`)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


@dataclass(frozen=True)
class LinearRopeScaling:
    """RoPE whose positions are divided by `factor` (`rope_type: linear`; Chen et al. 2023)."""

    factor: float


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes of a Llama; `num_kv_heads` < `num_heads` is grouped-query attention.

    Attributes:
        sliding_window: Mistral: positions that each position attends to, its own included. The trainer attends to all
            before, which is the same up to that length; longer sequences are refused (`trainer.problems`).
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    rms_norm_eps: float
    rope_theta: float
    rope_scaling: Llama3RopeScaling | LinearRopeScaling | None
    tied: bool
    sliding_window: int | None = None

    @property
    def num_parameters(self) -> int:
        """Parameters, the shared matrix of a tied model counted once."""
        attention = self.hidden_size * self.head_dim * 2 * (self.num_heads + self.num_kv_heads)
        layer = attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size
        vocabulary = self.vocab_size * self.hidden_size * (1 if self.tied else 2)
        return self.num_layers * layer + vocabulary + self.hidden_size


_ONLY = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False}
# What transformers takes where config.json says nothing, by model_type.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {"max_position_embeddings": 2048},
    "mistral": {"max_position_embeddings": 131072, "num_key_value_heads": 8, "sliding_window": 4096},
}


def llama_config(fields: Mapping[str, Any]) -> LlamaConfig:
    """The shape that a config.json describes.

    Raises:
        ValueError: another architecture, or an option that the trainer does not compute; all of them named.
    """
    model_type = fields.get("model_type", "llama")
    wrong = [] if model_type in _DEFAULTS else [f"model_type is {model_type!r}, expected 'llama' or 'mistral'"]
    fields = _DEFAULTS.get(model_type, {}) | dict(fields)
    wrong += [
        f"{name} is {fields[name]!r}, expected {expected!r}"
        for name, expected in _ONLY.items()
        if fields.get(name, expected) != expected
    ]
    rope = dict(fields.get("rope_scaling") or {}) | dict(fields.get("rope_parameters") or {})
    rope_type = str(rope.get("rope_type", rope.get("type", "default")))
    if rope_type not in ("default", "llama3", "linear"):
        wrong.append(f"rope_type is {rope_type!r}, expected 'default', 'llama3' or 'linear'")
    if rope.get("partial_rotary_factor", fields.get("partial_rotary_factor") or 1.0) != 1.0:
        wrong.append("partial_rotary_factor is not 1")
    required = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]
    wrong += [f"{name} is missing" for name in required if name not in fields]
    if wrong:
        raise ValueError(f"not a Llama that the trainer knows: {'; '.join(wrong)}")
    heads = fields["num_attention_heads"]
    return LlamaConfig(
        vocab_size=fields["vocab_size"],
        hidden_size=fields["hidden_size"],
        intermediate_size=fields["intermediate_size"],
        num_layers=fields["num_hidden_layers"],
        num_heads=heads,
        num_kv_heads=fields.get("num_key_value_heads") or heads,
        head_dim=fields.get("head_dim") or fields["hidden_size"] // heads,
        max_positions=fields["max_position_embeddings"],
        rms_norm_eps=fields.get("rms_norm_eps", 1e-6),
        rope_theta=float(rope.get("rope_theta") or fields.get("rope_theta") or 10000.0),
        rope_scaling=_rope_scaling(rope_type, rope, fields),
        tied=fields.get("tie_word_embeddings", False),
        # Only a Mistral's is read: transformers' Llama knows no window, whatever its config.json says.
        sliding_window=fields["sliding_window"] if model_type == "mistral" else None,
    )


def read_config_json(folder: str | Path) -> dict[str, Any]:
    """The config.json of a Hugging Face folder.

    Raises:
        ValueError: there is none.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} is not a Hugging Face model folder: it has no config.json")
    return json.loads(path.read_text(encoding="utf-8"))


def read_llama_config(folder: str | Path) -> LlamaConfig:
    """The shape of the model in a Hugging Face folder.

    Raises:
        ValueError: see `llama_config`, with the folder named.
    """
    fields = read_config_json(folder)
    try:
        return llama_config(fields)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error


def _rope_scaling(
    rope_type: str, rope: Mapping[str, Any], fields: Mapping[str, Any]
) -> Llama3RopeScaling | LinearRopeScaling | None:
    if rope_type == "linear":
        return LinearRopeScaling(rope["factor"])
    if rope_type == "llama3":
        return Llama3RopeScaling(
            factor=rope["factor"],
            low_freq_factor=rope["low_freq_factor"],
            high_freq_factor=rope["high_freq_factor"],
            original_max_positions=rope.get("original_max_position_embeddings", fields["max_position_embeddings"]),
        )
    return None

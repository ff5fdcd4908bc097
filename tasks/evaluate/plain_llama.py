"""A Llama without transformers, whose import alone takes longer than a small model needs for two hundred questions.

In: a Hugging Face folder with a Llama (Llama 1 to 3.2, SmolLM, what this project trains). Out: the trainer's module,
which computes the same operations in the same order, called as transformers calls its models. Its attention follows
the plan of a packed pass, where there is one. Only in float32 on a CPU: there it is that the start counts.

    module = load_plain_llama(folder)   # None: the model is another, for transformers to load
    module(input_ids, position_ids=positions, logits_to_keep=wanted, packed=plan).logits
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from trainer.functions import rotate
from trainer.hf import load_model
from trainer.llama_config import llama_config, read_config_json
from trainer.model import Attention, Llama, rope_tables


def load_plain_llama(folder: Path) -> PlainLlama | None:
    """The model of a folder in float32; None where it is no Llama that the trainer knows.

    Raises:
        ValueError: it is one, and its weights are not whole.
    """
    fields = read_config_json(folder)
    if fields.get("architectures", ["LlamaForCausalLM"]) != ["LlamaForCausalLM"] or "quantization_config" in fields:
        return None
    try:
        config = llama_config(fields)
    except ValueError:
        return None
    settings = folder / "generation_config.json"
    generation = json.loads(settings.read_bytes()) if settings.is_file() else {}
    return PlainLlama(
        load_model(folder, torch.float32), fields | {"max_position_embeddings": config.max_positions}, generation
    )


class PlainLlama(torch.nn.Module):
    """The trainer's Llama in the form that the evaluation knows of transformers' models.

    Args:
        fields, generation: of config.json and generation_config.json.
    """

    def __init__(self, llama: Llama, fields: Mapping[str, Any], generation: Mapping[str, Any]) -> None:
        super().__init__()
        self.llama = llama
        self.config = SimpleNamespace(**fields)
        self.generation_config = SimpleNamespace(**generation)
        for number, layer in enumerate(llama.model.present_layers()):
            attention = layer.self_attn
            attention.core = partial(_core, attention, attention.core, number)  # type: ignore[method-assign]

    def forward(
        self,
        input_ids: Tensor,
        *,
        position_ids: Tensor | None = None,
        logits_to_keep: Tensor | None = None,
        packed: Any = None,
        **unused: Any,
    ) -> SimpleNamespace:
        """`logits` (batch, places, vocabulary) at the places to keep; attention is causal, or as `packed` says.

        Args:
            input_ids: int64 (batch, ids); position_ids: (1, ids), else 0, 1, 2...
        """
        positions = torch.arange(input_ids.shape[1]) if position_ids is None else position_ids[0]
        frequencies = self.llama.rope_frequencies
        assert isinstance(frequencies, Tensor)
        cos, sin = (table[positions] for table in rope_tables(frequencies, int(positions.max()) + 1, self.llama.dtype))
        hidden = self.llama.model(input_ids, cos, sin, packed)
        assert self.llama.lm_head is not None
        kept = hidden if logits_to_keep is None else hidden[:, logits_to_keep]
        return SimpleNamespace(logits=self.llama.lm_head(kept))


def _core(
    attention: Attention,
    usual: Any,
    layer: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cos: Tensor,
    sin: Tensor,
    plan: Any,
) -> Tensor:
    """In the place of `Attention.core`, whose mask is the plan of the pass here."""
    if plan is None:
        found: Tensor = usual(query, key, value, cos, sin, None)
        return found
    batch, ids, _ = query.shape
    query, key, value = (x.view(batch, ids, -1, attention.head_dim).transpose(1, 2) for x in (query, key, value))
    out = plan.attend(layer, rotate(query, cos, sin), rotate(key, cos, sin), value, attention.head_dim**-0.5)
    return out.transpose(1, 2).reshape(batch, ids, -1)

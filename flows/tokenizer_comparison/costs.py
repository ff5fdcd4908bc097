"""What a model computes for a text under each tokenizer: fewer tokens, but a larger softmax.

In: the shape of a model, and the tokens that each tokenizer makes of each text. Out: per tokenizer and text

- training operations per byte: `model_causal` of `trainer.flops` (forward and backward, two per multiply-add, attention
  under the causal mask) of a token in a full sequence, times tokens per byte;
- decoding operations per character: the forward pass of one token after `context` others whose keys and values are
  kept, times tokens per character. That is a third of `model_non_causal`: backward costs twice forward, and the last
  token attends to all;
- decoding steps per 1,000 characters: each reads all weights once, which is what a small batch waits for.

The vocabulary of the model is the tokenizer's, so its output layer grows with it. The mixture is the text that the
run's weights, in tokens of the reference tokenizer, stand for: the same text for every tokenizer. If source s has
weight w_s, its text makes w_s * tokens_s / reference_tokens_s tokens under another tokenizer.

    costs = model_costs(shape, vocab={"none": 32000, "16k": 43176}, texts=texts, weights=weights, reference="none")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from flows.config import ConfigError, RunConfig
from flows.tokenizer_comparison.config import PRESETS
from storage.uri import is_local
from trainer.flops import flops_per_step
from trainer.llama_config import LlamaConfig, llama_config, read_llama_config

BYTES_PER_PARAMETER = 2  # bfloat16
MIXTURE = "the mixture"  # beside the texts' names; no source's has a space


@dataclass(frozen=True)
class ModelShape:
    """A model to count for; `context` tokens make a training sequence, and stand before a decoded token."""

    name: str
    config: LlamaConfig
    context: int


@dataclass(frozen=True)
class TextTokens:
    """A text and the tokens that each tokenizer, by name, makes of it."""

    characters: int
    bytes: int
    tokens: Mapping[str, int]


def training_flops_per_token(shape: ModelShape, vocab: int) -> float:
    """Forward and backward of one token of a full sequence, attention under the causal mask."""
    config = replace(shape.config, vocab_size=vocab)
    return flops_per_step("model_causal", config, shape.context, 1) / shape.context


def decoding_flops_per_token(shape: ModelShape, vocab: int) -> float:
    """Forward of one token after `shape.context` others, keys and values kept."""
    config = replace(shape.config, vocab_size=vocab)
    return flops_per_step("model_non_causal", config, shape.context, 1) / shape.context / 3


def vocabulary_parameters(config: LlamaConfig, vocab: int) -> int:
    """Of the input embedding and the output layer; a tied model has one matrix for both."""
    return vocab * config.hidden_size * (1 if config.tied else 2)


def model_costs(
    shape: ModelShape,
    vocab: Mapping[str, int],
    texts: Mapping[str, TextTokens],
    weights: Mapping[str, float],
    reference: str,
) -> dict[str, Any]:
    """Figures of one model, JSON-like.

    Args:
        vocab: tokenizer -> size of its vocabulary.
        weights: text -> its weight in the mixture, in tokens of the reference; empty where there is no mixture.
    """
    everything = dict(texts)
    if weights:
        everything[MIXTURE] = _mixture(vocab, texts, weights, reference)
    rows: dict[str, dict[str, Any]] = {}
    for name, size in vocab.items():
        training, decoding = training_flops_per_token(shape, size), decoding_flops_per_token(shape, size)
        own = vocabulary_parameters(shape.config, size)
        rows[name] = {
            "parameters": replace(shape.config, vocab_size=size).num_parameters,
            "vocabulary_parameters": own,
            "vocabulary_bytes": own * BYTES_PER_PARAMETER,
            "training_flops_per_token": training,
            "decoding_flops_per_token": decoding,
            "texts": {
                text: {
                    "training_flops_per_byte": training * found.tokens[name] / found.bytes,
                    "decoding_flops_per_character": decoding * found.tokens[name] / found.characters,
                    "steps_per_1000_characters": 1000 * found.tokens[name] / found.characters,
                }
                for text, found in everything.items()
            },
        }
    for row in rows.values():
        for text, figures in row["texts"].items():
            base = rows[reference]["texts"][text]
            figures["change"] = {key: value / base[key] - 1 for key, value in figures.items()}
    return {"name": shape.name, "context": shape.context, "tied": shape.config.tied, "tokenizers": rows}


def _mixture(
    vocab: Mapping[str, int], texts: Mapping[str, TextTokens], weights: Mapping[str, float], reference: str
) -> TextTokens:
    """The text behind a billion tokens of the mixture, in the reference's tokens."""
    total = sum(weights.values())
    scale = {text: 1e9 * weight / total / texts[text].tokens[reference] for text, weight in weights.items()}
    return TextTokens(
        round(sum(scale[text] * texts[text].characters for text in weights)),
        round(sum(scale[text] * texts[text].bytes for text in weights)),
        {name: round(sum(scale[text] * texts[text].tokens[name] for text in weights)) for name in vocab},
    )


def run_shape(run: RunConfig) -> ModelShape:
    """The shape of the run's own model, in the sequences that it trains on.

    Raises:
        ConfigError: the base model's folder holds none.
    """
    base = run.initialize.base_model
    if isinstance(base, str):
        if not is_local(base):
            raise ConfigError([f"initialize.base_model: {base} is no local folder; its shape is read from there"])
        return ModelShape(run.name, _read_folder(base), run.train.seq_len)
    from tokenizer.random_model import RandomModel

    model = RandomModel(**base.random.model_dump())
    config = LlamaConfig(
        vocab_size=0,  # the tokenizer's
        hidden_size=model.hidden_size,
        intermediate_size=model.intermediate,
        num_layers=model.num_layers,
        num_heads=model.num_heads,
        num_kv_heads=model.kv_heads,
        head_dim=model.hidden_size // model.num_heads,
        max_positions=model.max_position,
        rms_norm_eps=model.norm_eps,
        rope_theta=model.rope_theta,
        rope_scaling=None,
        tied=model.tie_embeddings,
    )
    return ModelShape(run.name, config, run.train.seq_len)


def named_shape(name: str, context: int) -> ModelShape:
    """The shape of a preset (`llama-2-7b`), a config.json, a YAML file of its fields, or a model folder.

    Raises:
        ConfigError: it is none of these, or no Llama.
    """
    path = Path(name)
    if path.is_dir():
        return ModelShape(path.name, _read_folder(name), context)
    preset = PRESETS / f"{name}.yaml"
    file = path if path.is_file() else preset
    if not file.is_file():
        presets = ", ".join(sorted(found.stem for found in PRESETS.glob("*.yaml"))) or "none here"
        raise ConfigError([f"--model {name}: no such file or folder, and no preset; presets are {presets}"])
    text = file.read_text(encoding="utf-8")
    try:
        fields = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
        if not isinstance(fields, dict):
            raise ValueError(f"expected the fields of a config.json, got {type(fields).__name__}")
        return ModelShape(file.parent.name if file.name == "config.json" else file.stem, llama_config(fields), context)
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise ConfigError([f"--model {name}: {error}"]) from error


def _read_folder(folder: str) -> LlamaConfig:
    try:
        return read_llama_config(folder)
    except ValueError as error:
        raise ConfigError([str(error)]) from error

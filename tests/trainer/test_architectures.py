"""Llama 2 and 3, SmolLM and Mistral as transformers makes them: read, computed and written as transformers does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from trainer.config import TrainConfig
from trainer.hf import copy_other_files, load_model, open_weights, write_weights
from trainer.llama_config import LinearRopeScaling, Llama3RopeScaling, read_llama_config
from trainer.problems import problems

SIZES: dict[str, Any] = {
    "vocab_size": 99, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 6,
    "max_position_embeddings": 64, "initializer_range": 0.2,
}  # fmt: skip
LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
MODELS: dict[str, tuple[type, type, dict[str, Any]]] = {
    "Llama 2 7B": (LlamaConfig, LlamaForCausalLM, {"rms_norm_eps": 1e-5}),
    "Llama 2 70B": (LlamaConfig, LlamaForCausalLM, {"rms_norm_eps": 1e-5, "num_key_value_heads": 2}),
    "Llama 3.1": (
        LlamaConfig, LlamaForCausalLM, {"num_key_value_heads": 2, "rope_parameters": LLAMA_3 | {"factor": 8.0}},
    ),
    "Llama 3.2": (
        LlamaConfig,
        LlamaForCausalLM,
        {
            "num_key_value_heads": 2, "rope_parameters": LLAMA_3 | {"factor": 32.0}, "tie_word_embeddings": True,
            "head_dim": 16,
        },
    ),
    "SmolLM2": (
        LlamaConfig,
        LlamaForCausalLM,
        {
            "num_key_value_heads": 3, "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
        },
    ),
    "Llama 2 32K": (
        LlamaConfig, LlamaForCausalLM,
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 8.0}},
    ),
    "Mistral 7B v0.1": (MistralConfig, MistralForCausalLM, {"num_key_value_heads": 2, "sliding_window": 40}),
    "Mistral 7B v0.3": (
        MistralConfig, MistralForCausalLM,
        {
            "num_key_value_heads": 2, "sliding_window": None,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
    ),
}  # fmt: skip


def made(folder: Path, name: str) -> Path:
    """A random model, saved by transformers; in norms, too, no weight is 1."""
    config, model, changes = MODELS[name]
    torch.manual_seed(0)
    theirs = model(config(**SIZES | changes))
    for parameter in theirs.parameters():
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    theirs.save_pretrained(folder)
    return folder


@torch.no_grad()
def their_logits(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(tokens, use_cache=False).logits


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_transformers_before_and_after_a_round_trip(tmp_path: Path, name: str) -> None:
    folder = made(tmp_path / "theirs", name)
    tokens = torch.randint(0, 99, (2, 40), generator=torch.Generator().manual_seed(1))
    expected = their_logits(folder, tokens)
    with torch.no_grad():
        assert torch.equal(load_model(folder, torch.float32)(tokens), expected)
    copy_other_files(folder, tmp_path / "ours")
    (tmp_path / "ours/config.json").write_text((folder / "config.json").read_text())
    with open_weights(folder) as weights:
        write_weights(tmp_path / "ours", dict(weights), max_shard_bytes=30_000)
    assert torch.equal(their_logits(tmp_path / "ours", tokens), expected)


def test_the_fields_that_compute_are_read(tmp_path: Path) -> None:
    read = {name: read_llama_config(made(tmp_path / name, name)) for name in MODELS}
    assert read["Llama 3.2"].rope_scaling == Llama3RopeScaling(32.0, 1.0, 4.0, 16)
    assert read["Llama 2 32K"].rope_scaling == LinearRopeScaling(8.0)
    assert (read["Llama 3.2"].head_dim, read["SmolLM2"].head_dim) == (16, 8)
    assert read["SmolLM2"].tied
    assert [read[f"Mistral 7B v0.{version}"].sliding_window for version in (1, 3)] == [40, None]
    assert {config.sliding_window for name, config in read.items() if "Mistral" not in name} == {None}


def test_a_mistral_sees_no_further_than_its_window(tmp_path: Path) -> None:
    """Up to the window's length its attention is a Llama's; beyond, it is not, and training is refused."""
    folder = made(tmp_path, "Mistral 7B v0.1")
    tokens = torch.randint(0, 99, (1, 60), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        different = (load_model(folder, torch.float32)(tokens) - their_logits(folder, tokens)).abs().amax((0, 2)) > 1e-4
    assert different.nonzero().flatten()[0] == 40
    settings = {"global_batch": 1, "warmup_steps": 0}
    assert problems(TrainConfig(seq_len=40, **settings), read_llama_config(folder)) == []
    (found,) = problems(TrainConfig(seq_len=41, **settings), read_llama_config(folder))
    assert "seq_len 41 is longer than the model's sliding_window 40" in found
    assert "use at most 40" in found


def test_what_a_mistral_leaves_out_is_transformers_default(tmp_path: Path) -> None:
    folder = made(tmp_path, "Mistral 7B v0.1")
    fields = json.loads((folder / "config.json").read_text())
    for name in ("sliding_window", "num_key_value_heads", "max_position_embeddings"):
        del fields[name]
    (folder / "config.json").write_text(json.dumps(fields))
    theirs, ours = MistralConfig.from_pretrained(folder), read_llama_config(folder)
    assert (ours.sliding_window, ours.num_kv_heads, ours.max_positions) == (
        theirs.sliding_window, theirs.num_key_value_heads, theirs.max_position_embeddings
    )  # fmt: skip

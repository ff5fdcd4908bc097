"""The base model run layer by layer gives what transformers gives with the whole model in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from tokenizer.base_model import weight_files
from tokenizer.hidden_states import final_hidden_states, log_partition
from tokenizer.random_model import EMBEDDING, HEAD

SIZES: dict[str, Any] = {
    "vocab_size": 150,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SEQUENCES = [[3, 9, 120, 7, 7, 88], [149, 0], [5] * 40]


def save(folder: Path, kind: str, *, tied: bool, dtype: torch.dtype, shard: str = "1GB") -> None:
    torch.manual_seed(3)
    if kind == "llama":
        scaling = {
            "rope_type": "llama3",
            "rope_theta": 1e4,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        }
        config = LlamaConfig(**SIZES, tie_word_embeddings=tied, rope_parameters=scaling, initializer_range=0.2)
        model: Any = LlamaForCausalLM(config)
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=tied, initializer_range=0.2))
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)


@pytest.mark.parametrize(
    ("kind", "tied", "dtype", "shard"),
    [
        ("llama", True, torch.bfloat16, "1GB"),
        ("llama", False, torch.float32, "20KB"),
        ("qwen2", False, torch.float16, "1GB"),  # with biases: the layers are transformers' own
    ],
)
def test_states_and_partition_are_the_whole_models(
    tmp_path: Path, kind: str, tied: bool, dtype: torch.dtype, shard: str
) -> None:
    save(tmp_path, kind, tied=tied, dtype=dtype, shard=shard)
    files = weight_files(tmp_path)
    assert (len(files) > 2) == (shard == "20KB")
    found = final_hidden_states(tmp_path, files, SEQUENCES)
    whole = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.no_grad():
        expected = torch.cat([whole.model(torch.tensor([ids])).last_hidden_state[0] for ids in SEQUENCES])
        logits = expected @ whole.lm_head.weight[:140].T
    assert found.dtype == np.float32
    assert np.array_equal(found, expected.numpy())
    name = EMBEDDING if tied else HEAD
    source = next(source for source in files.values() if name in source)
    partition = log_partition(found, source.rows(name), source[name].dtype, num_rows=140)
    assert np.allclose(partition, logits.logsumexp(-1).numpy(), atol=1e-5)


def test_models_that_cannot_be_run_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "llama", tied=False, dtype=torch.float32)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(ValueError, match=r"no tensor model.layers.3"):
        final_hidden_states(tmp_path, weight_files(tmp_path), SEQUENCES)
    gpt2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 150}
    (tmp_path / "config.json").write_text(json.dumps(gpt2))
    with pytest.raises(ValueError, match="is a gpt2, which has no model"):
        final_hidden_states(tmp_path, weight_files(tmp_path), SEQUENCES)

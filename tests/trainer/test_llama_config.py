"""config.json of transformers 4 and 5 is read alike; what the trainer would compute wrongly is refused."""

from __future__ import annotations

import pytest

from tests.trainer.ranks import TINY
from trainer.llama_config import Llama3RopeScaling, llama_config, read_llama_config

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
OLD = {name: value for name, value in TINY.items() if name != "rope_parameters"}


def test_rope_of_transformers_4_and_5_is_the_same() -> None:
    new = llama_config(OLD | {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}})
    old = llama_config(OLD | {"rope_theta": 5e5, "rope_scaling": {"type": "llama3", **LLAMA3}})
    assert new == old
    assert new.rope_theta == 5e5
    assert new.rope_scaling == Llama3RopeScaling(8.0, 1.0, 4.0, 32)


def test_defaults_of_an_early_llama() -> None:
    config = llama_config({name: OLD[name] for name in OLD if name != "num_key_value_heads"} | {"rope_scaling": None})
    assert (config.num_kv_heads, config.head_dim, config.rope_theta, config.rope_scaling) == (4, 8, 10000.0, None)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model_type": "qwen2"}, "model_type"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "yarn"),
    ],
)
def test_other_architectures_are_refused(change: dict, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        llama_config(TINY | change)


def test_a_folder_without_config_is_named(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"no config\.json"):
        read_llama_config(tmp_path)


def test_parameter_count_of_llama_2_7b() -> None:
    fields = {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32,
    }  # fmt: skip
    assert llama_config(fields).num_parameters == 6_738_415_616

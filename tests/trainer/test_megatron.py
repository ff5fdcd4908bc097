"""Megatron's files hold a model's tensors where Megatron-core expects them, and give them back byte for byte."""

from __future__ import annotations

import random
import shutil
import sys
import types
from argparse import Namespace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainer.ranks import write_tiny_model
from trainer.hf import open_weights, tensors_digest
from trainer.llama_config import read_llama_config
from trainer.megatron import MegatronLayout, layout_problems, padded_vocab
from trainer.megatron_export import write_megatron
from trainer.megatron_import import read_megatron, read_rank

LAYERS = "decoder.layers."
LOCAL = {
    "input_layernorm.weight",
    "self_attention.linear_qkv.weight",
    "self_attention.linear_proj.weight",
    "pre_mlp_layernorm.weight",
    "mlp.linear_fc1.weight",
    "mlp.linear_fc2.weight",
}
TRANSFORMER_ENGINE = {
    "self_attention.linear_qkv.layer_norm_weight",
    "self_attention.linear_qkv.weight",
    "self_attention.linear_proj.weight",
    "mlp.linear_fc1.layer_norm_weight",
    "mlp.linear_fc1.weight",
    "mlp.linear_fc2.weight",
}


def digest(folder: Path) -> str:
    with open_weights(folder) as weights:
        return tensors_digest((name, weights[name]) for name in weights)


def rank(folder: Path, name: str, step: int = 7) -> dict[str, Any]:
    return read_rank(folder / f"iter_{step:07}" / name / "model_optim_rng.pt")


@pytest.mark.parametrize(
    ("tp", "pp", "spec", "changes"),
    [
        (1, 1, "local", {}),
        (2, 2, "local", {"tie_word_embeddings": False, "vocab_size": 97}),
        (
            4,
            1,
            "transformer_engine",
            {"vocab_size": 97},
        ),  # four ranks, two key-value heads: ranks hold parts of a group
        (1, 2, "transformer_engine", {}),
        (2, 1, "transformer_engine", {"num_key_value_heads": 1, "head_dim": 16, "tie_word_embeddings": False}),
    ],
)
def test_there_and_back_changes_no_byte(tmp_path: Path, tp: int, pp: int, spec: Any, changes: dict[str, Any]) -> None:
    folder = write_tiny_model(tmp_path / "model", dtype="bfloat16", **changes)
    (folder / "tokenizer.json").write_text("{}")
    write_megatron(folder, tmp_path / "megatron", 7, tp, pp, spec)
    files = read_megatron(tmp_path / "megatron", folder, tmp_path / "back")
    assert files == ["config.json", "model.safetensors", "tokenizer.json"]
    assert digest(tmp_path / "back") == digest(folder)
    assert read_llama_config(tmp_path / "back") == read_llama_config(folder)


def test_rows_of_query_key_and_value_lie_in_groups(tmp_path: Path) -> None:
    """Four heads of two rows, two groups: q0 q1 k0 v0, q2 q3 k1 v1; and gate over up on each rank, not over all."""
    folder = write_tiny_model(tmp_path / "model", hidden_size=8, intermediate_size=4)
    write_megatron(folder, tmp_path / "megatron", 7, tp=2, spec="local", vocab_multiple=1)
    with open_weights(folder) as weights:
        layer = "model.layers.1."
        q, k, v = (weights[f"{layer}self_attn.{name}_proj.weight"] for name in "qkv")
        gate, up = weights[f"{layer}mlp.gate_proj.weight"], weights[f"{layer}mlp.up_proj.weight"]
        out, down = weights[f"{layer}self_attn.o_proj.weight"], weights[f"{layer}mlp.down_proj.weight"]
    for number in (0, 1):
        state = rank(tmp_path / "megatron", f"mp_rank_0{number}")["model"]
        rows, columns = slice(4 * number, 4 * number + 4), slice(2 * number, 2 * number + 2)
        qkv = torch.cat([q[rows], k[columns], v[columns]])
        assert torch.equal(state[f"{LAYERS}1.self_attention.linear_qkv.weight"], qkv)
        assert torch.equal(state[f"{LAYERS}1.self_attention.linear_proj.weight"], out[:, rows])
        assert torch.equal(state[f"{LAYERS}1.mlp.linear_fc1.weight"], torch.cat([gate[columns], up[columns]]))
        assert torch.equal(state[f"{LAYERS}1.mlp.linear_fc2.weight"], down[:, columns])


@pytest.mark.parametrize(("spec", "names"), [("local", LOCAL), ("transformer_engine", TRANSFORMER_ENGINE)])
def test_names_and_arguments_are_megatrons(tmp_path: Path, spec: Any, names: set[str]) -> None:
    folder = write_tiny_model(tmp_path / "model", tie_word_embeddings=False, vocab_size=97)
    write_megatron(folder, tmp_path / "megatron", 7, pp=2, spec=spec)
    assert (tmp_path / "megatron/latest_checkpointed_iteration.txt").read_text() == "7\n"
    assert {path.name for path in (tmp_path / "megatron/iter_0000007").iterdir()} == {
        "mp_rank_00_000",
        "mp_rank_00_001",
    }
    first, last = (rank(tmp_path / "megatron", f"mp_rank_00_00{number}") for number in (0, 1))
    assert (first["iteration"], first["checkpoint_version"]) == (7, 3.0)
    tensors = [{name for name in saved["model"] if not name.endswith("_extra_state")} for saved in (first, last)]
    layer = {f"{LAYERS}0.{name}" for name in names}
    assert tensors[0] == layer | {"embedding.word_embeddings.weight"}
    assert tensors[1] == layer | {"decoder.final_layernorm.weight", "output_layer.weight"}
    extra = [name for name in last["model"] if name.endswith("_extra_state")]
    assert len(extra) == (5 if spec == "transformer_engine" else 0)
    assert all(last["model"][name] is None for name in extra)
    args = vars(first["args"])
    assert {name: args[name] for name in ("num_layers", "num_query_groups", "ffn_hidden_size", "kv_channels")} == {
        "num_layers": 2, "num_query_groups": 2, "ffn_hidden_size": 48, "kv_channels": 8,
    }  # fmt: skip
    assert (args["padded_vocab_size"], args["params_dtype"], args["bf16"]) == (128, torch.float32, False)
    assert (args["position_embedding_type"], args["rotary_base"], args["normalization"]) == ("rope", 10000, "RMSNorm")


def test_padding_is_zero_and_on_the_last_ranks(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model", vocab_size=97)
    write_megatron(folder, tmp_path / "megatron", 7, tp=2, vocab_multiple=64)
    first, last = (rank(tmp_path / "megatron", f"mp_rank_0{n}")["model"] for n in (0, 1))
    name = "embedding.word_embeddings.weight"
    assert first[name].shape == last[name].shape == (64, 32)
    assert last[name][32].any()
    assert not last[name][33:].any()
    assert padded_vocab(43176, tp=8, vocab_multiple=1) == 43176, "Swallow's, aligned to 8: no padding"
    assert padded_vocab(32000, tp=8, vocab_multiple=128) == 32768


def test_a_tied_matrix_is_written_twice_only_on_a_pipeline(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    write_megatron(folder, tmp_path / "one", 7)
    write_megatron(folder, tmp_path / "two", 7, pp=2)
    assert "output_layer.weight" not in rank(tmp_path / "one", "mp_rank_00")["model"]
    embedding = rank(tmp_path / "two", "mp_rank_00_000")["model"]["embedding.word_embeddings.weight"]
    assert torch.equal(rank(tmp_path / "two", "mp_rank_00_001")["model"]["output_layer.weight"], embedding)


def test_what_megatron_cannot_hold_is_refused_with_all_reasons(tmp_path: Path) -> None:
    folder = write_tiny_model(
        tmp_path / "model",
        num_hidden_layers=3,
        rope_parameters={
            "rope_type": "llama3", "rope_theta": 10000.5, "factor": 8.0, "low_freq_factor": 2.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
        },
    )  # fmt: skip
    found = layout_problems(read_llama_config(folder), MegatronLayout(3, 2, "local", 96))
    for part in (
        "tp 3 does not divide the model's 4 attention heads",
        "3 is neither",
        "pp 2",
        "low_freq_factor=2.0",
        "10000.5",
    ):
        assert sum(part in problem for problem in found) == 1, part
    with pytest.raises(ValueError, match=r"cannot become a Megatron checkpoint: tp 3 .*pp 2"):
        write_megatron(folder, tmp_path / "megatron", 7, tp=3, pp=2)
    assert not (tmp_path / "megatron").exists()


def test_an_iteration_is_not_written_over(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    write_megatron(folder, tmp_path / "megatron", 7)
    with pytest.raises(ValueError, match="iter_0000007 is there already"):
        write_megatron(folder, tmp_path / "megatron", 7, tp=2)
    write_megatron(folder, tmp_path / "megatron", 8, tp=2)
    read_megatron(tmp_path / "megatron", folder, tmp_path / "newest")
    read_megatron(tmp_path / "megatron", folder, tmp_path / "older", step=7)
    assert digest(tmp_path / "newest") == digest(tmp_path / "older") == digest(folder)


class Attack:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path(Attack.path),)

    path = ""


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    write_megatron(folder, tmp_path / "megatron", 7)
    path = tmp_path / "megatron/iter_0000007/mp_rank_00/model_optim_rng.pt"
    Attack.path = str(tmp_path / "touched")
    torch.save({"args": Namespace(tokenizer=Attack()), "model": {}}, path)
    with pytest.raises(ValueError, match=r"could run code: .*Path"):
        read_megatron(tmp_path / "megatron", folder, tmp_path / "back")
    assert not (tmp_path / "touched").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "touched").exists(), "the attack itself works"


def test_what_megatron_saves_while_training_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enums of Megatron's in the arguments, numpy's random state, an optimizer, and stages interleaved."""

    class ModelType(Enum):
        encoder_or_decoder = 1

    ModelType.__module__, ModelType.__qualname__ = "megatron.core.enums", "ModelType"
    for name in ("megatron", "megatron.core", "megatron.core.enums"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    vars(sys.modules["megatron.core.enums"])["ModelType"] = ModelType
    folder = write_tiny_model(tmp_path / "model", num_hidden_layers=4)
    write_megatron(folder, tmp_path / "four", 7, pp=4, spec="local")
    stages = [rank(tmp_path / "four", f"mp_rank_00_{number:03}") for number in range(4)]
    for number in (0, 1):
        saved = {
            "args": Namespace(**vars(stages[0]["args"]) | {"model_type": ModelType.encoder_or_decoder}),
            "model0": stages[number]["model"],
            "model1": stages[number + 2]["model"],
            "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]},
            "rng_state": [{"np_rng_state": np.random.get_state(), "random_rng_state": random.getstate()}],
        }
        path = tmp_path / f"theirs/iter_0000012/mp_rank_00_00{number}/model_optim_rng.pt"
        path.parent.mkdir(parents=True)
        torch.save(saved, path)
    (tmp_path / "theirs/latest_checkpointed_iteration.txt").write_text("12")
    read_megatron(tmp_path / "theirs", folder, tmp_path / "back")
    assert digest(tmp_path / "back") == digest(folder)


def test_what_does_not_fit_the_config_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    write_megatron(folder, tmp_path / "megatron", 7, tp=2, pp=2, vocab_multiple=1)
    for changes, message in (
        ({"num_hidden_layers": 4}, r"num_layers is 2, expected 4"),
        ({"rms_norm_eps": 1e-6}, r"norm_epsilon is 1e-05, expected 1e-06"),
        ({"intermediate_size": 64}, r"mlp.linear_fc1.weight of shape \(48, 32\), expected \(64, 32\)"),
        ({"vocab_size": 99}, r"its embedding has 96 rows, expected 99 or more"),
        ({"tie_word_embeddings": False}, r"untie_embeddings_and_output_weights is False, expected True"),
    ):
        other = write_tiny_model(tmp_path / "-".join(changes), **changes)
        with pytest.raises(ValueError, match=message):
            read_megatron(tmp_path / "megatron", other, tmp_path / "back")


def test_layers_are_counted_where_the_arguments_say_nothing(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model", num_hidden_layers=4)
    shorter = write_tiny_model(tmp_path / "shorter")
    write_megatron(shorter, tmp_path / "megatron", 7)
    saved = rank(tmp_path / "megatron", "mp_rank_00") | {"args": Namespace()}
    (tmp_path / "megatron/iter_0000008/mp_rank_00").mkdir(parents=True)
    torch.save(saved, tmp_path / "megatron/iter_0000008/mp_rank_00/model_optim_rng.pt")
    with pytest.raises(ValueError, match=r"it lacks model.layers.2.input_layernorm.weight"):
        read_megatron(tmp_path / "megatron", folder, tmp_path / "back", step=8)
    read_megatron(tmp_path / "megatron", shorter, tmp_path / "back", step=8)
    assert digest(tmp_path / "back") == digest(shorter)


def test_a_folder_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    with pytest.raises(ValueError, match="no Megatron checkpoint folder"):
        read_megatron(folder, folder, tmp_path / "back")
    write_megatron(folder, tmp_path / "megatron", 7, tp=2, pp=2)
    with pytest.raises(ValueError, match="only Megatron's format torch"):
        read_megatron(tmp_path / "megatron", folder, tmp_path / "back", step=8)
    shutil.rmtree(tmp_path / "megatron/iter_0000007/mp_rank_01_000")
    with pytest.raises(ValueError, match="not whole: mp_rank_01_000 of tp 2 x pp 2 missing"):
        read_megatron(tmp_path / "megatron", folder, tmp_path / "back")

"""Operations against hand arithmetic; presets against the sizes that their authors state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from flows.config import ConfigError, RunConfig, load_run
from flows.tokenizer_comparison.config import PRESETS
from flows.tokenizer_comparison.costs import (
    MIXTURE,
    ModelShape,
    TextTokens,
    decoding_flops_per_token,
    model_costs,
    named_shape,
    run_shape,
    training_flops_per_token,
    vocabulary_parameters,
)
from trainer.llama_config import LlamaConfig

# hidden 8, MLP 24, 2 layers, 4 heads of 2, 2 of them with keys and values; 16 tokens of context.
TINY = ModelShape("tiny", LlamaConfig(0, 8, 24, 2, 4, 2, 2, 64, 1e-5, 1e4, None, False), 16)
# Multiply-adds of a token: projections 8x8 (query) + 2 x 8x4 (key, value) + 8x8 (output), MLP 3 x 8x24.
LAYER = 8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 24


def test_training_and_decoding_are_what_one_counts_by_hand() -> None:
    vocab = 100
    attention = 2 * 8 * 16  # scores and values over all 16 tokens, 4 heads of 2
    decoding = 2 * (2 * (LAYER + attention) + 8 * vocab)
    training = 3 * 2 * (2 * (LAYER + attention / 2) + 8 * vocab)  # under the causal mask half of it; backward is twice
    assert decoding_flops_per_token(TINY, vocab) == pytest.approx(decoding)
    assert training_flops_per_token(TINY, vocab) == pytest.approx(training)
    wider = decoding_flops_per_token(TINY, vocab + 50) - decoding_flops_per_token(TINY, vocab)
    assert wider == pytest.approx(2 * 8 * 50), "the larger softmax, and nothing else"


def test_a_tied_model_has_one_matrix_for_both() -> None:
    assert vocabulary_parameters(TINY.config, 100) == 1600
    tied = LlamaConfig(0, 8, 24, 2, 4, 2, 2, 64, 1e-5, 1e4, None, True)
    assert vocabulary_parameters(tied, 100) == 800


def test_fewer_tokens_and_a_larger_softmax_are_both_counted() -> None:
    texts = {"ja": TextTokens(100, 300, {"none": 120, "16k": 60}), "en": TextTokens(400, 400, {"none": 80, "16k": 80})}
    costs = model_costs(TINY, {"none": 100, "16k": 150}, texts, {"ja": 3.0, "en": 1.0}, "none")
    base, expanded = costs["tokenizers"]["none"], costs["tokenizers"]["16k"]
    softmax = expanded["decoding_flops_per_token"] / base["decoding_flops_per_token"]
    assert softmax > 1
    japanese, english = expanded["texts"]["ja"], expanded["texts"]["en"]
    assert japanese["decoding_flops_per_character"] == pytest.approx(0.6 * expanded["decoding_flops_per_token"])
    assert japanese["change"]["decoding_flops_per_character"] == pytest.approx(0.5 * softmax - 1)
    assert english["change"]["decoding_flops_per_character"] == pytest.approx(softmax - 1), "only dearer"
    assert japanese["steps_per_1000_characters"] == 600
    assert japanese["training_flops_per_byte"] == pytest.approx(60 / 300 * expanded["training_flops_per_token"])
    assert base["vocabulary_bytes"] == 2 * 1600
    assert set(base["texts"]["ja"]["change"].values()) == {0}


def test_the_mixture_is_the_same_text_for_every_tokenizer() -> None:
    """3:1 in the base's tokens: of 4 tokens 3 are Japanese, which become 1.5; so 2.5 tokens of 4 are left."""
    texts = {"ja": TextTokens(100, 300, {"none": 120, "16k": 60}), "en": TextTokens(400, 400, {"none": 80, "16k": 80})}
    costs = model_costs(TINY, {"none": 100, "16k": 150}, texts, {"ja": 0.9, "en": 0.3}, "none")
    rows = costs["tokenizers"]
    assert rows["16k"]["texts"][MIXTURE]["change"]["steps_per_1000_characters"] == pytest.approx(2.5 / 4 - 1)
    bytes_per_token = 0.75 * 300 / 120 + 0.25 * 400 / 80
    training = rows["none"]["texts"][MIXTURE]["training_flops_per_byte"]
    assert training == pytest.approx(rows["none"]["training_flops_per_token"] / bytes_per_token)
    without = model_costs(TINY, {"none": 100}, texts, {}, "none")
    assert list(without["tokenizers"]["none"]["texts"]) == ["ja", "en"]


@pytest.mark.parametrize(
    ("preset", "parameters"), [("llama-2-7b", 6.738e9), ("llama-2-13b", 13.016e9), ("llama-2-70b", 68.977e9)]
)
def test_presets_have_the_sizes_of_their_models(preset: str, parameters: float) -> None:
    shape = named_shape(preset, 4096)
    assert shape.config.num_parameters == pytest.approx(parameters, rel=1e-4)
    assert (shape.name, shape.context, shape.config.vocab_size) == (preset, 4096, 32000)


def test_every_preset_is_a_llama() -> None:
    for path in PRESETS.glob("*.yaml"):
        assert named_shape(path.stem, 2048).config.num_layers > 0


def test_a_shape_from_a_config_json_a_folder_or_yaml(tmp_path: Path) -> None:
    fields = yaml.safe_load((PRESETS / "llama-2-7b.yaml").read_text()) | {"num_hidden_layers": 3}
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(fields))
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(fields))
    for name, called in ((folder, "own"), (folder / "config.json", "own"), (tmp_path / "other.yaml", "other")):
        shape = named_shape(str(name), 128)
        assert (shape.name, shape.config.num_layers) == (called, 3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "presets are llama-2-13b"),
        ("{", "--model"),
        ("[]", "--model"),
        ("hidden_size: 8", "vocab_size is missing"),
    ],
)
def test_what_is_no_model_is_said(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "model.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=said):
        named_shape(str(path), 128)


def test_the_shape_of_a_run_with_a_random_model() -> None:
    root = Path(__file__).resolve().parents[3]
    run: RunConfig = load_run(root / "configs" / "swallow-mini.yaml")
    shape = run_shape(run)
    assert (shape.name, shape.context) == ("swallow-mini", 512)
    assert (shape.config.hidden_size, shape.config.num_kv_heads, shape.config.head_dim) == (256, 4, 32)

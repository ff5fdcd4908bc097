"""Breaks when the Llama that starts without transformers is another than that of transformers, or not without it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tasks.evaluate.encoding import fit_all
from tasks.evaluate.model import LanguageModel
from tasks.evaluate.plain_llama import PlainLlama, load_plain_llama
from tasks.evaluate.requests import Context, Generate, LogLikelihood
from tests.tasks.evaluate.conftest import ENGLISH, JAPANESE
from tokenizer.encoder import load_encoder

ROOT = Path(__file__).resolve().parents[3]
SHAPES: dict[str, dict[str, Any]] = {
    "grouped heads": {"num_key_value_heads": 2},
    "tied": {"tie_word_embeddings": True},
    "Llama 3.1": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        }
    },
}


def save(folder: Path, **shape: Any) -> Path:
    torch.manual_seed(5)
    sizes = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    config = LlamaConfig(**sizes, num_attention_heads=4, max_position_embeddings=64, initializer_range=0.3, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_its_logits_are_those_of_transformers(tmp_path: Path, shape: dict[str, Any]) -> None:
    folder = save(tmp_path / "model", **shape)
    module = load_plain_llama(folder)
    assert module is not None
    ids = torch.arange(60).reshape(2, 30)
    with torch.inference_mode():
        expected = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
        assert torch.equal(module(ids).logits, expected)
        assert torch.equal(module(ids, logits_to_keep=torch.tensor([3, 29])).logits, expected[:, [3, 29]])


def test_it_answers_as_the_model_of_transformers(byte_level_folder: Path) -> None:
    encoder = load_encoder(byte_level_folder)
    plain = LanguageModel.load(byte_level_folder, encoder=encoder, device="cpu")
    theirs = LanguageModel(AutoModelForCausalLM.from_pretrained(byte_level_folder), encoder)
    assert isinstance(plain._module, PlainLlama)
    assert (plain.name, plain.device, plain.max_length) == (theirs.name, theirs.device, theirs.max_length)
    shots = "".join(JAPANESE[:3])
    asked = fit_all(
        encoder,
        [LogLikelihood(Context(shots + own), end) for own in JAPANESE[3:] for end in ENGLISH],
        max_length=plain.max_length,
    )
    prefix = encoder.encode(shots)[:20]
    for ours, expected in zip(plain.loglikelihood(asked, prefix), theirs.loglikelihood(asked, prefix), strict=True):
        assert ours.log_likelihood == pytest.approx(expected.log_likelihood, abs=1e-4)
        assert ours.is_greedy == expected.is_greedy
    texts = fit_all(encoder, [Generate(Context(shots + own), max_tokens=12) for own in JAPANESE[3:]], plain.max_length)
    assert plain.generate_until(texts, prefix) == theirs.generate_until(texts, prefix)


@pytest.mark.parametrize(
    "other",
    [
        {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]},
        {"attention_bias": True},
        {"quantization_config": {"quant_method": "gptq"}},
    ],
)
def test_other_models_are_left_to_transformers(tmp_path: Path, other: dict[str, Any]) -> None:
    folder = save(tmp_path / "model")
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(fields | other))
    assert load_plain_llama(folder) is None


def test_a_llama_on_a_cpu_answers_without_transformers(byte_level_folder: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from tasks.evaluate.model import LanguageModel
from tasks.evaluate.requests import Context, Fitted, LogLikelihood
model = LanguageModel.load(Path({str(byte_level_folder)!r}), device="cpu")
model.loglikelihood([Fitted(LogLikelihood(Context("a"), "b"), [1, 2, 3], [4])])
print(sorted({{"transformers", "sympy", "torch._dynamo"}} & set(sys.modules)))
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"

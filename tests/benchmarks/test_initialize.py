"""The benchmark of new rows: strategies as they are written, and the untied copy of a tied model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from benchmarks.initialize import parse_strategy, untie
from tokenizer.new_rows import RowOptions


def test_strategies_are_written_in_the_run_files_words() -> None:
    assert parse_strategy("mean", 99) == RowOptions(calibration_tokens=99)
    assert parse_strategy("mean/leading:frequency", 99) == RowOptions(
        new_output_rows="leading", output_shift="frequency", calibration_tokens=99
    )
    assert parse_strategy("weighted:-3", 99).output_shift == -3.0
    with pytest.raises(ValueError, match="'sum'"):
        parse_strategy("mean/sum", 99)


@pytest.mark.parametrize("shard", ["1GB", "20KB"])
def test_an_untied_copy_computes_the_same(tmp_path: Path, shard: str) -> None:
    sizes = {"vocab_size": 90, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=2, tie_word_embeddings=True)  # type: ignore[arg-type]
    LlamaForCausalLM(config).save_pretrained(tmp_path / "tied", max_shard_size=shard)
    (tmp_path / "untied").mkdir()
    untie(tmp_path / "tied", tmp_path / "untied")
    assert json.loads((tmp_path / "untied/config.json").read_text())["tie_word_embeddings"] is False
    tied, untied = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("tied", "untied"))
    assert untied.lm_head.weight is not untied.model.embed_tokens.weight
    tokens = torch.tensor([[3, 8, 50, 7]])
    with torch.no_grad():
        assert torch.equal(tied(tokens).logits, untied(tokens).logits)

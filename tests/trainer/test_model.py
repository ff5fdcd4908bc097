"""The same weights give the same logits, losses and gradients as transformers' Llama, an independent implementation."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainer.ranks import write_tiny_model
from trainer.data import document_numbers
from trainer.hf import load_model
from trainer.loss import token_losses
from trainer.model import Llama
from trainer.precision import computes_bf16

LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "tied, grouped-query": {},
    "untied, multi-head": {"tie_word_embeddings": False, "num_key_value_heads": 4},
    "multi-query, llama3 rope": {"num_key_value_heads": 1, "rope_parameters": LLAMA3_ROPE},
    "head_dim of its own": {"head_dim": 16},
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_equal_transformers_to_the_bit(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    from transformers import AutoModelForCausalLM

    folder = write_tiny_model(tmp_path, **SHAPES[name])
    tokens = torch.randint(0, 96, (2, 40), generator=torch.Generator().manual_seed(3))
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)(tokens).logits
    ours = load_model(folder, dtype)(tokens)
    if dtype == torch.bfloat16 and not computes_bf16(tokens.device):
        torch.testing.assert_close(ours, theirs, rtol=2**-6, atol=2**-6)  # we multiply in fp32 there, they do not
    else:
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["untied", "tied", "theta500k_mha", "mqa_llama3rope"])
def test_oracle_logits_loss_and_gradients(shared_data: Path, name: str) -> None:
    folder = shared_data / "oracles/oracle_llama" / name
    described = json.loads((folder.parent / "description.json").read_text())["models"]
    expected = next(model for model in described if model["name"] == name)
    tokens = torch.from_numpy(np.load(folder / "input_ids.npy"))
    model = load_model(folder, torch.float32)
    logits = model(tokens)
    assert (logits - torch.from_numpy(np.load(folder / "logits_fp32.npy"))).abs().max() < 5e-6
    loss = token_losses(logits[:, :-1], tokens[:, 1:]).mean()
    assert loss.item() == pytest.approx(expected["loss_full"], abs=2e-6)
    loss.backward()
    norms = {name: p.grad.norm().item() for name, p in model.named_parameters() if p.grad is not None}
    assert norms == pytest.approx(expected["grad_norms_of_loss_full"], rel=1e-4)


def test_float64_computes_norms_in_float64(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    tokens = torch.randint(0, 96, (1, 12), generator=torch.Generator().manual_seed(1))
    exact = load_model(folder, torch.float64)(tokens)
    assert exact.dtype == torch.float64
    assert 0 < (exact - load_model(folder, torch.float32)(tokens)).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["tied, grouped-query", "multi-query, llama3 rope"])
def test_documents_packed_into_a_sequence_are_as_they_are_alone(tmp_path: Path, name: str) -> None:
    model = load_model(write_tiny_model(tmp_path, **SHAPES[name]), torch.float64)
    tokens = torch.randint(0, 96, (2, 40), generator=torch.Generator().manual_seed(5))
    starts = [[0, 7, 8, 25, 40], [0, 31, 40]]
    numbers = [document_numbers(np.array(begins[:-1]), 40) for begins in starts]
    packed = model(tokens, torch.from_numpy(np.stack(numbers)))
    for row, begins in enumerate(starts):
        for begin, end in itertools.pairwise(begins):
            alone = model(tokens[row : row + 1, begin:end])[0]
            assert (packed[row, begin:end] - alone).abs().max() < 1e-12, (row, begin)
    across = model(tokens)
    assert (packed - across)[0, :7].abs().max() < 1e-12
    assert (packed - across)[0, 8:].abs().max() > 1e-3, "the mask does nothing"


def test_one_document_a_sequence_is_plain_causal_attention(tmp_path: Path) -> None:
    model = load_model(write_tiny_model(tmp_path), torch.float64)
    tokens = torch.randint(0, 96, (2, 24), generator=torch.Generator().manual_seed(6))
    assert (model(tokens, torch.zeros_like(tokens)) - model(tokens)).abs().max() < 1e-12


def test_a_stage_is_cut_out_by_deleting_and_keeps_its_names(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path, tie_word_embeddings=False)
    tokens = torch.randint(0, 96, (2, 8), generator=torch.Generator().manual_seed(2))
    whole = load_model(folder, torch.float32)
    first: Llama = load_model(folder, torch.float32)
    del first.model.layers["1"]
    first.model.norm = first.lm_head = None
    last: Llama = load_model(folder, torch.float32)
    del last.model.layers["0"]
    last.model.embed_tokens = None
    assert torch.equal(last(first(tokens)), whole(tokens))
    names = [*dict(first.named_parameters()), *dict(last.named_parameters())]
    assert sorted(names) == sorted(dict(whole.named_parameters()))

"""What the base model said of text in its own vocabulary, the model with new rows says too, to the bit on a CPU.

The hidden states are equal because the rows they start from are. Logits are equal where the head is cut to the old
rows, so that both products have one shape. The whole head's product is a larger one, which a BLAS may cut into blocks
otherwise and add up in another order: there only closeness is promised, and `trainer.start_checks` masks by cutting.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tokenizer.encoder import load_encoder
from tokenizer.expand import expand
from tokenizer.expansion import ExpandOptions
from tokenizer.initialize import initialize
from tokenizer.new_rows import RowOptions
from tokenizer.random_model import RandomModel
from trainer.hf import load_model
from trainer.model import linear

ENGLISH = "The lighthouse keeper counts the ships that pass, and writes their names into a book."


@pytest.fixture(scope="module")
def tokenizer(smollm_like: Path, documents: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("expanded")
    expand(str(smollm_like), lambda: iter(documents), ExpandOptions(num_candidates=150), out=str(out), seed=1)
    return out / "tokenizer"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [False, True])
@torch.no_grad()
def test_logits_over_the_old_vocabulary_are_the_bases(
    tokenizer: Path, documents: list[str], tmp_path: Path, tied: bool, dtype: str
) -> None:
    sizes = RandomModel(
        hidden_size=64, num_layers=2, num_heads=4, num_kv_heads=2, max_position=256, tie_embeddings=tied, dtype=dtype
    )
    initialize(None, sizes, tokenizer=str(tokenizer), out=str(tmp_path / "random"), seed=2)
    shutil.copytree(tmp_path / "random/base", tmp_path / "base")
    options = RowOptions(output_shift="frequency", calibration_tokens=256)
    base_model, shards = str(tmp_path / "base"), [lambda: iter(documents)]
    initialize(base_model, None, tokenizer=str(tokenizer), out=str(tmp_path), seed=2, options=options, shards=shards)
    base_vocab = load_encoder(tokenizer / "base").vocab_size
    tokens = torch.tensor([load_encoder(tokenizer).encode(ENGLISH)])
    assert tokens.max() < base_vocab
    kind = getattr(torch, dtype)
    base: Any
    own: Any
    base, own = (load_model(tmp_path / name, kind, torch.device("cpu")).eval() for name in ("base", "model"))
    hidden = own.hidden(tokens)
    assert torch.equal(hidden, base.hidden(tokens))
    assert torch.equal(linear(hidden, own.lm_head.weight[:base_vocab]), base(tokens))
    rounding: dict[str, Any] = {"atol": 1e-5, "rtol": 0.0} if dtype == "float32" else {"atol": 1e-2, "rtol": 2**-7}
    assert torch.allclose(own(tokens)[..., :base_vocab], base(tokens), **rounding)
    base, own = (AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype=kind) for name in ("base", "model"))
    hidden = own.model(tokens).last_hidden_state
    cut = torch.nn.functional.linear(hidden, own.lm_head.weight[:base_vocab])
    assert torch.equal(cut, base(tokens).logits)
    assert torch.allclose(own(tokens).logits[..., :base_vocab], base(tokens).logits, **rounding)

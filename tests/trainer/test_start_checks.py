"""Training refuses to start from anything but the base model plus new vocabulary rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.trainer.ranks import run_ranks, tiny_job, train_job, write_tiny_model
from trainer.hf import load_model, open_weights, write_weights
from trainer.loss import token_losses
from trainer.sharding import EMBEDDING, HEAD
from trainer.start_checks import check_start

TEXTS = {"en": [[5, 9, 31, 2, 77], [95, 0, 14]], "ja": [[8, 8, 60, 61, 62, 3]]}
CPU = torch.device("cpu")


def expanded(
    tmp_path: Path, tied: bool = True, changes: dict[str, float] | None = None, **config: object
) -> tuple[Path, Path]:
    """A base model, and the same with eight more rows (the mean of the old ones), spoiled as `changes` says."""
    base = write_tiny_model(tmp_path / "base", tie_word_embeddings=tied)
    with open_weights(base) as weights:
        tensors = {name: weights[name] for name in weights}
    for name in {EMBEDDING, HEAD} & tensors.keys():
        mean = tensors[name].mean(dim=0, keepdim=True)
        tensors[name] = torch.cat((tensors[name], mean.expand(8, -1)))
    for name, amount in (changes or {}).items():
        tensors[name].view(-1)[40] += amount
    write_weights(tmp_path / "new", tensors)
    fields = json.loads((base / "config.json").read_text()) | {"vocab_size": 104} | config
    (tmp_path / "new/config.json").write_text(json.dumps(fields))
    return tmp_path / "new", base


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_old_text_costs_what_it_did_and_the_new_rows_rise_is_reported(
    tmp_path: Path, tied: bool, dtype: torch.dtype
) -> None:
    new, base = expanded(tmp_path, tied)
    report = check_start(new, base, TEXTS, dtype, CPU)
    assert (report["base_vocab"], report["vocab"], report["tolerance"]) == (96, 104, 0.0)
    for language, tokens in (("en", 6), ("ja", 5)):
        row = report["languages"][language]
        assert row["tokens"] == tokens
        assert row["masked_loss"] == row["base_loss"]
        assert row["unmasked_rise"] == row["unmasked_loss"] - row["base_loss"] > 0


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_layer_by_layer_the_loss_is_the_whole_models_to_the_bit(tmp_path: Path, tied: bool, num_layers: int) -> None:
    base = write_tiny_model(tmp_path, tie_word_embeddings=tied, num_hidden_layers=num_layers)
    model, tokens = load_model(base, torch.float32), torch.tensor([TEXTS["ja"][0]])
    losses = token_losses(model(tokens[:, :-1]), tokens[:, 1:])
    row = check_start(base, base, TEXTS, torch.float32, CPU)["languages"]["ja"]
    assert row["base_loss"] == row["unmasked_loss"] == losses.sum(dtype=torch.float64).item() / 5


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (EMBEDDING, r"embed_tokens.weight differs in 1 of its 96 old rows, first row 1"),
        (HEAD, r"lm_head.weight differs in 1 of its 96 old rows"),
        ("model.layers.1.mlp.up_proj.weight", r"layers.1.mlp.up_proj.weight differs"),
    ],
)
def test_a_changed_row_or_tensor_is_refused_by_name(tmp_path: Path, name: str, said: str) -> None:
    new, base = expanded(tmp_path, tied=False, changes={name: 1e-6})
    with pytest.raises(ValueError, match=said):
        check_start(new, base, TEXTS, torch.float32, CPU)


def test_new_rows_may_be_anything(tmp_path: Path) -> None:
    new, base = expanded(tmp_path)
    with open_weights(new) as weights:
        tensors = {name: weights[name].clone() for name in weights}
    tensors[EMBEDDING][96:] = 3.0
    write_weights(new, tensors)
    check_start(new, base, TEXTS, torch.float32, CPU)


def test_weights_stored_in_another_dtype_are_refused(tmp_path: Path) -> None:
    new, base = expanded(tmp_path)
    with open_weights(new) as weights:
        write_weights(new, {name: weights[name].bfloat16() for name in weights})
    with pytest.raises(ValueError, match=r"is torch.bfloat16, the base's torch.float32"):
        check_start(new, base, TEXTS, torch.float32, CPU)


def test_a_config_that_computes_otherwise_is_refused_by_its_loss(tmp_path: Path) -> None:
    new, base = expanded(tmp_path, rope_parameters={"rope_type": "default", "rope_theta": 10001.0})
    with pytest.raises(ValueError, match=r"config\.json differ in something that computes"):
        check_start(new, base, TEXTS, torch.float32, CPU)


def test_ids_outside_the_base_vocabulary_are_refused(tmp_path: Path) -> None:
    new, base = expanded(tmp_path)
    with pytest.raises(ValueError, match="ids below 96"):
        check_start(new, base, {"ja": [[1, 96]]}, torch.float32, CPU)


def test_every_rank_refuses_and_nothing_is_trained(tmp_path: Path) -> None:
    new, base = expanded(tmp_path, changes={EMBEDDING: 1e-3})
    job = tiny_job(tmp_path, model=str(new), base_model=str(base), check_texts=TEXTS, parallel={"dp": 2})
    with pytest.raises(AssertionError) as refused:
        run_ranks(2, train_job, job)
    assert str(refused.value).count("ValueError: training refuses to start") == 2
    assert not (tmp_path / "out").exists()


def test_the_report_is_written_before_the_first_step(tmp_path: Path) -> None:
    new, base = expanded(tmp_path)
    job = tiny_job(tmp_path, model=str(new), base_model=str(base), check_texts=TEXTS)
    run_ranks(1, train_job, job)
    report = json.loads((tmp_path / "out/start_checks.json").read_text())
    assert sorted(report["languages"]) == ["en", "ja"]

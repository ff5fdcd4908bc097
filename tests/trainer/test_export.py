"""What is exported is what was trained: transformers computes the same logits, and training starts from it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.ranks import run_ranks, tiny_job, train_job, write_tiny_model
from trainer import hf
from trainer.checkpoint import read_manifest
from trainer.dcp import read_tensors
from trainer.export import export
from trainer.hf import open_weights


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Folders with a trained tied and an untied model."""
    folders = {}
    for tied in (True, False):
        folders[tied] = tmp_path_factory.mktemp("trained")
        write_tiny_model(folders[tied] / "model", dtype="bfloat16", tie_word_embeddings=tied)
        (folders[tied] / "model/generation_config.json").write_text('{"eos_token_id": 2}')
        (folders[tied] / "model/tokenizer.json").write_text('{"old": true}')
        run_ranks(2, train_job, tiny_job(folders[tied], dtype="fp32", parallel={"dp": 2}))
    return folders


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_round_trip(trained: dict[bool, Path], tmp_path: Path, tied: bool, dtype: str) -> None:
    checkpoint = trained[tied] / "out/checkpoints/step-00000006"
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/tokenizer.json").write_text('{"new": true}')
    outcome = export(checkpoint, trained[tied] / "model", tmp_path / "tokenizer", tmp_path / "out", dtype)
    assert (outcome.details["compared"], outcome.details["max_logit_difference"]) == ("logits", 0.0)
    assert outcome.details["checkpoint_digest"] == read_manifest(checkpoint)["content_digest"]
    with open_weights(tmp_path / "out") as weights:
        assert ("lm_head.weight" in weights) is not tied
        for name, master in read_tensors(checkpoint, only_weights=True):
            assert torch.equal(weights[name], master.to(getattr(torch, dtype)))
    assert json.loads((tmp_path / "out/config.json").read_text())["dtype"] == dtype
    assert (tmp_path / "out/tokenizer.json").read_text() == '{"new": true}'
    names = {entry.path for entry in outcome.files}
    assert (
        names == {path.name for path in (tmp_path / "out").iterdir()} >= {"generation_config.json", "model.safetensors"}
    )


def test_same_checkpoint_same_bytes(trained: dict[bool, Path], tmp_path: Path) -> None:
    checkpoint, model = trained[True] / "out/checkpoints/step-00000006", trained[True] / "model"
    outcomes = [export(checkpoint, model, model, tmp_path / name) for name in ("a", "b")]
    assert outcomes[0].files == outcomes[1].files


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_too_large_to_run_is_compared_tensor_by_tensor(
    trained: dict[bool, Path], tmp_path: Path, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, model = trained[tied] / "out/checkpoints/step-00000006", trained[tied] / "model"
    outcome = export(checkpoint, model, model, tmp_path / "good", compare_logits_up_to=100)
    assert outcome.details["compared"] == "tensors"
    assert outcome.files == export(checkpoint, model, model, tmp_path / "small").files
    write = hf._save

    def write_wrongly(path: Path, tensors: Any) -> None:
        write(path, tensors)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

    monkeypatch.setattr(hf, "_save", write_wrongly)
    with pytest.raises(ValueError, match=r"1 tensors are not the checkpoint's.* first model.norm.weight"):
        export(checkpoint, model, model, tmp_path / "bad", compare_logits_up_to=100)


def test_another_architecture_is_refused(trained: dict[bool, Path], tmp_path: Path) -> None:
    other = write_tiny_model(tmp_path / "other", num_hidden_layers=3)
    with pytest.raises(ValueError, match="is not a checkpoint of"):
        export(trained[True] / "out/checkpoints/step-00000006", other, other, tmp_path / "out")


def test_a_damaged_checkpoint_is_refused(trained: dict[bool, Path], tmp_path: Path) -> None:
    checkpoint = trained[False] / "out/checkpoints/step-00000003"
    (checkpoint / ".metadata").unlink()
    with pytest.raises(ValueError, match=r"damaged: .metadata is missing"):
        export(checkpoint, trained[False] / "model", trained[False] / "model", tmp_path / "out")

"""The sharded optimizer does what AdamW on one process does, for any number of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.ranks import FakeMixture, run_ranks, tiny_config, write_tiny_model
from trainer.config import TrainConfig
from trainer.data import micro_batches
from trainer.hf import load_model, open_weights
from trainer.loss import LossSums, token_losses
from trainer.mesh import Mesh
from trainer.optimizer import ZeroOptimizer
from trainer.precision import compute_dtype
from trainer.schedule import learning_rate

STEPS = 4


def _zero_steps(mesh: Mesh, folder: Path, config: TrainConfig) -> dict[str, Any]:
    model = load_model(folder, compute_dtype(config.dtype))
    optimizer = ZeroOptimizer(model.named_parameters(), config, mesh)
    with open_weights(folder) as weights:
        optimizer.load_weights(weights)
    losses, norms = [], []
    for step in range(1, STEPS + 1):
        sums = LossSums(FakeMixture().languages, mesh.device)
        optimizer.zero_gradients()
        consumed = (step - 1) * config.global_batch
        for batch in micro_batches(FakeMixture(), consumed, config, mesh.place.dp, mesh.device):
            token_loss = token_losses(model(batch.inputs), batch.targets)
            (token_loss.sum() / config.tokens_per_step).backward()
            sums.add(token_loss, batch.targets, batch.sources)
        losses.append(sums.reduce(mesh)[0])
        norms.append(optimizer.reduce_gradients().item())
        optimizer.step(learning_rate(step, config, STEPS))
    parameters = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    return {"losses": losses, "norms": norms, "parameters": parameters, "bytes": optimizer.master.nbytes}


def _adamw_steps(folder: Path, config: TrainConfig) -> dict[str, Any]:
    """The plain loop: whole batches, torch's clipping and AdamW."""
    model = load_model(folder, compute_dtype(config.dtype))
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
    losses, norms, mixture = [], [], FakeMixture()
    for step in range(1, STEPS + 1):
        first = (step - 1) * config.global_batch
        tokens = torch.stack([torch.from_numpy(mixture[first + i].tokens) for i in range(config.global_batch)])
        loss = token_losses(model(tokens[:, :-1]), tokens[:, 1:]).mean()
        adam.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm).item())
        losses.append(loss.item())
        for group in adam.param_groups:
            group["lr"] = learning_rate(step, config, STEPS)
        adam.step()
    return {
        "losses": losses,
        "norms": norms,
        "parameters": {name: p.detach().double().numpy() for name, p in model.named_parameters()},
    }


@pytest.mark.parametrize(
    ("dtype", "tolerance", "tied", "layouts"),
    [
        ("float64", 1e-12, True, ((1, 4), (2, 2), (4, 1))),
        ("float64", 1e-12, False, ((2, 2),)),
        ("fp32", 2e-6, True, ((1, 4), (2, 2))),
    ],
)
def test_any_number_of_ranks_equals_adamw_on_one(
    tmp_path: Path, dtype: str, tolerance: float, tied: bool, layouts: tuple[tuple[int, int], ...]
) -> None:
    folder = write_tiny_model(tmp_path, tie_word_embeddings=tied)
    expected = _adamw_steps(folder, tiny_config(dtype=dtype))
    assert min(expected["norms"]) > 0.5, "clipping must be at work"
    for dp, micro_batch in layouts:
        config = tiny_config(dtype=dtype, micro_batch=micro_batch, parallel={"dp": dp})
        for found in run_ranks(dp, _zero_steps, folder, config):
            assert found["losses"] == pytest.approx(expected["losses"], rel=tolerance)
            assert found["norms"] == pytest.approx(expected["norms"], rel=tolerance * 10)
            for name, value in expected["parameters"].items():
                assert abs(found["parameters"][name] - value).max() < tolerance * 10, name


def test_state_is_split_over_the_ranks(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    whole = run_ranks(1, _zero_steps, folder, tiny_config())[0]["bytes"]
    halves = [found["bytes"] for found in run_ranks(2, _zero_steps, folder, tiny_config(parallel={"dp": 2}))]
    assert halves == [pytest.approx(whole / 2, rel=0.01)] * 2


def test_bf16_follows_fp32_and_all_ranks_hold_the_same_parameters(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    exact = _adamw_steps(folder, tiny_config())
    found = run_ranks(2, _zero_steps, folder, tiny_config(dtype="bf16", parallel={"dp": 2}))
    assert found[0]["losses"] == pytest.approx(exact["losses"], rel=5e-3)
    assert found[0]["norms"] == pytest.approx(exact["norms"], rel=3e-2)
    for name, value in found[0]["parameters"].items():
        assert (value == found[1]["parameters"][name]).all()


def _tiny_updates(mesh: Mesh, folder: Path) -> tuple[float, float]:
    config = tiny_config(dtype="bf16", weight_decay=0.0)
    model = load_model(folder, torch.bfloat16)
    optimizer = ZeroOptimizer(model.named_parameters(), config, mesh)
    before = optimizer.master.clone(), optimizer.parameters.clone()
    for _ in range(3):
        optimizer.gradients.fill_(1e-3)
        optimizer.reduce_gradients()
        optimizer.step(lr=1e-7)
    moved = (optimizer.master - before[0]).abs().median().item()
    return moved, (optimizer.parameters != before[1]).float().mean().item()


def test_updates_too_small_for_bf16_add_up_in_the_master_weights(tmp_path: Path) -> None:
    (moved, changed), *_ = run_ranks(1, _tiny_updates, write_tiny_model(tmp_path))
    assert moved == pytest.approx(3e-7, rel=0.05)
    assert changed < 0.05


def _norm_without_the_embedding(mesh: Mesh, folder: Path) -> tuple[float, float]:
    config = tiny_config(parallel={"dp": mesh.parallel.dp})
    norms = []
    for counted in (lambda name: True, lambda name: "embed" not in name):
        model = load_model(folder, torch.float32)
        optimizer = ZeroOptimizer(model.named_parameters(), config, mesh, counted)
        tokens = torch.arange(1, 34).view(1, 33) + mesh.rank
        token_losses(model(tokens[:, :-1]), tokens[:, 1:]).mean().backward()
        norms.append(optimizer.reduce_gradients().item())
    embedding = optimizer.slots[[slot.name for slot in optimizer.slots].index("model.embed_tokens.weight")]
    part = optimizer.gradients[embedding.start : embedding.end].double().norm().item()
    return norms[0] ** 2 - norms[1] ** 2, part**2


@pytest.mark.parametrize("world", [1, 2])
def test_a_parameter_counted_elsewhere_is_left_out_of_the_norm(tmp_path: Path, world: int) -> None:
    for difference, expected in run_ranks(world, _norm_without_the_embedding, write_tiny_model(tmp_path)):
        assert difference == pytest.approx(expected, rel=1e-6)


def _clipped(mesh: Mesh, folder: Path, size: float) -> float:
    model = load_model(folder, torch.float32)
    optimizer = ZeroOptimizer(model.named_parameters(), tiny_config(clip_norm=0.5), mesh)
    optimizer.gradients.fill_(size)
    optimizer.reduce_gradients()
    optimizer.step(lr=0.0)
    return optimizer.gradients.norm().item()


def test_clipping_shortens_long_gradients_and_leaves_short_ones(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    assert run_ranks(1, _clipped, folder, 1.0)[0] == pytest.approx(0.5, rel=1e-2)
    assert run_ranks(1, _clipped, folder, 1e-4)[0] == pytest.approx(1e-4 * 18624**0.5, rel=1e-2)

"""Both distributed optimizers, used alike: exact, deterministic, resumable; and the arithmetic they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainer.parity import Case, RankTrainer, RecordingMixture, Run, parallel_run, reference_run
from tests.trainer.ranks import run_ranks, tiny_config
from trainer.adamw import Run as AdamRun
from trainer.adamw import clip_scale, fused_adamw, global_norm, set_updates, sum_copies, update
from trainer.config import ParallelConfig, TrainConfig
from trainer.layout import Coordinates
from trainer.mesh import Mesh

STRATEGIES = ["zero1", "fsdp"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def expected(folder: Path) -> Run:
    case = Case(micro_batch=2)
    return reference_run(case.write_model(folder), case.config(), case.mixture())


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("dp", [1, pytest.param(2, marks=pytest.mark.slow), 4])
def test_any_number_of_ranks_equals_adamw_on_one_process(folder: Path, expected: Run, dp: int, strategy: Any) -> None:
    case = Case(dp=dp, micro_batch=2, data_parallel=strategy)
    assert min(expected.norms) > 0.5, "clipping must be at work"
    differences = parallel_run(case, folder, case.config()).difference(expected)
    assert max(differences.values()) < 1e-12, differences


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_bf16_follows_float64_and_is_the_same_each_time(folder: Path, expected: Run, strategy: Any) -> None:
    """bf16 has 8 bits of precision; sums and master weights have fp32's 24."""
    case = Case(dp=2, micro_batch=2, data_parallel=strategy)
    once, again = (parallel_run(case, folder, case.config(dtype="bf16")) for _ in range(2))
    assert once.unequal(again) == []
    assert {value.dtype for value in (*once.weights.values(), *once.gradients[0].values())} == {np.dtype(np.float32)}
    differences = once.difference(expected)
    assert differences["loss"] < 5e-3
    assert differences["norm"] < 3e-2


def _interrupted(mesh: Mesh, folder: Path, config: TrainConfig, mixture: RecordingMixture) -> list[str]:
    """Two steps; then the third by the same optimizer, and by a new one that takes over its state; what differs."""
    trainer, taking_over = (RankTrainer(mesh, folder, config, mixture) for _ in range(2))
    for _ in range(2):
        trainer.step()
    taking_over.evaluate()  # leaves parameters gathered that the state below makes stale
    for name, shard in taking_over.optimizer.shards().items():
        shard.data.copy_(trainer.optimizer.shards()[name].data)
    taking_over.optimizer.set_updates(2)
    taking_over.optimizer.publish()
    taking_over.steps = 2
    states = []
    for each in (trainer, taking_over):
        each.step()
        states.append({name: shard.data.clone() for name, shard in each.optimizer.shards().items()})
    differing = [name for name, data in states[0].items() if not torch.equal(data, states[1][name])]
    return differing + ["loss"] * (trainer.found.run.losses[-1] != taking_over.found.run.losses[-1])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_state_that_another_optimizer_takes_over_goes_on_bit_for_bit(folder: Path, strategy: Any) -> None:
    case = Case(dp=2, micro_batch=2, data_parallel=strategy)
    config = case.config(dtype="bf16")
    assert run_ranks(case.parallel, _interrupted, case.write_model(folder), config, case.mixture()) == [[], []]


# The arithmetic they share ---------------------------------------------------------------------------------------


def _alone() -> Mesh:
    return Mesh(ParallelConfig(), 0, Coordinates(0, 0, 0), torch.device("cpu"))


def test_the_norm_of_a_long_fp32_gradient_is_float64s() -> None:
    long = torch.full((1 << 24,), 1e-3)
    long[::3] = 3e-3
    short = torch.rand(700, generator=torch.Generator().manual_seed(0))
    norm = global_norm([long, short, torch.empty(0)], _alone())
    assert norm.dtype == torch.float64
    assert norm.item() == pytest.approx(torch.cat((long, short)).double().norm().item(), rel=1e-7)


def test_clipping_shortens_long_gradients_and_leaves_short_ones() -> None:
    assert clip_scale(torch.tensor(10.0, dtype=torch.float64), 0.5) == pytest.approx(0.05)
    assert clip_scale(torch.tensor(0.4, dtype=torch.float64), 0.5) == 1.0


def test_adamw_of_runs_is_torchs_and_only_decays_where_told() -> None:
    config = tiny_config(weight_decay=0.3)
    start, gradients = torch.rand(2, 50, dtype=torch.float64), torch.randn(3, 2, 50, dtype=torch.float64)
    plain = [nn.Parameter(start[i].clone()) for i in range(2)]
    groups = [{"params": [plain[i]], "weight_decay": decay} for i, decay in enumerate((0.3, 0.0))]
    reference = torch.optim.AdamW(groups, lr=1e-2, betas=(config.beta1, config.beta2), eps=config.eps, foreach=False)
    own = [nn.Parameter(start[i].clone()) for i in range(2)]
    adam = fused_adamw(
        [AdamRun(own[i], torch.zeros_like(start[i]), torch.zeros_like(start[i]), decay=i == 0) for i in range(2)],
        config,
    )
    for step in range(3):
        for parameters in (plain, own):
            for i in range(2):
                parameters[i].grad = gradients[step, i].clone()
        reference.step()
        update(adam, lr=1e-2)
    for i in range(2):
        assert torch.allclose(own[i], plain[i], rtol=0, atol=1e-14)


def test_the_first_update_after_many_is_not_corrected_as_a_first() -> None:
    """With moments of 0, Adam's first update is lr, its thousand-and-first (1 - beta1) / sqrt(1 - beta2) of it."""
    weights = nn.Parameter(torch.zeros(4))
    adam = fused_adamw([AdamRun(weights, torch.zeros(4), torch.zeros(4), decay=False)], tiny_config())
    set_updates(adam, 1000)
    weights.grad = torch.ones(4)
    update(adam, lr=1.0)
    assert weights.detach() == pytest.approx(-(1 - 0.9) / (1 - 0.95) ** 0.5, rel=1e-5)


def _sums(mesh: Mesh) -> list[list[float]]:
    one, many = [torch.full((3,), mesh.rank + 1.0)], [torch.full((n,), mesh.rank + 1.0) for n in (1, 0, 2)]
    sum_copies(one, mesh.world_group)
    sum_copies(many, mesh.world_group)
    sum_copies([], mesh.world_group)
    return [tensor.tolist() for tensor in (*one, *many)]


def test_copies_are_summed_in_place() -> None:
    assert run_ranks(2, _sums) == [[[3.0] * 3, [3.0], [], [3.0, 3.0]]] * 2

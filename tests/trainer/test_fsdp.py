"""FSDP2 and HSDP give what one process would, with everything split over the ranks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.distributed.tensor import DTensor

from tests.trainer.parity import Case, RankTrainer, RecordingMixture, parallel_run, reference_run
from tests.trainer.ranks import run_ranks
from trainer.config import ParallelConfig, TrainConfig
from trainer.mesh import Mesh

TOKENS = torch.arange(32).view(2, 16) % 60


@pytest.mark.parametrize(
    ("case", "shard"),
    [
        (Case(dp=2, data_parallel="fsdp"), 1),
        (Case(dp=4, data_parallel="hsdp", vocab=33), 2),
        (Case(dp=4, data_parallel="fsdp", vocab=5), None),
        pytest.param(
            Case(tp=2, dp=2, data_parallel="fsdp", kv_heads=1, vocab=33, recompute="full"), None, marks=pytest.mark.slow
        ),
        pytest.param(Case(tp=2, pp=2, dp=2, data_parallel="fsdp", vocab=33), None, marks=pytest.mark.slow),
    ],
    ids=["replicas alone", "hsdp", "a rank without rows", "inside tp", "inside tp and pp"],
)
def test_any_split_trains_as_one_process_does(tmp_path: Path, case: Case, shard: int | None) -> None:
    """Gradients, weights and moments after five clipped steps; the rows of all ranks tile every tensor once."""
    config = case.config(parallel=case.parallel.model_dump() | {"fsdp_shard": shard})
    expected = reference_run(case.write_model(tmp_path), config, case.mixture())
    assert min(expected.norms) > config.clip_norm, "clipping must be at work"
    differences = parallel_run(case, tmp_path, config).difference(expected)
    assert max(differences.values()) < 1e-12, differences


def _passes(mesh: Mesh, folder: Path, config: TrainConfig, mixture: RecordingMixture) -> list[bool]:
    """After each pass, whether any gradient has been exchanged; then whether all have."""
    trainer = RankTrainer(mesh, folder, config, mixture)
    (model,) = trainer.chunks
    exchanged = []
    trainer.optimizer.begin(num_passes=3)
    for _ in range(3):
        model(TOKENS, targets=TOKENS).sum().backward()
        exchanged.append(any(parameter.grad is not None for parameter in model.parameters()))
    return [*exchanged, all(isinstance(parameter.grad, DTensor) for parameter in model.parameters())]


def test_gradients_are_exchanged_in_the_last_pass_only(tmp_path: Path) -> None:
    case = Case(dp=2, data_parallel="fsdp")
    ranks = run_ranks(case.parallel, _passes, case.write_model(tmp_path), case.config(), case.mixture())
    assert ranks == [[False, False, True, True]] * 2


def _dropped(mesh: Mesh, folder: Path, config: TrainConfig, mixture: RecordingMixture) -> list[float]:
    trainer = RankTrainer(mesh, folder, config, mixture)
    (model,) = trainer.chunks
    norms = []
    for passes_before in (0, 1, 2):
        trainer.optimizer.begin(num_passes=3)
        for _ in range(passes_before):
            model(TOKENS + 1, targets=TOKENS).sum().backward()
        trainer.optimizer.begin(num_passes=1)
        model(TOKENS, targets=TOKENS).sum().backward()
        norms.append(trainer.optimizer.reduce_gradients().item())
    return norms


def test_a_step_that_was_dropped_leaves_nothing_behind(tmp_path: Path) -> None:
    """Unsharded sums of its passes would otherwise be added to the next step's."""
    case = Case(dp=2, data_parallel="fsdp")
    for norms in run_ranks(case.parallel, _dropped, case.write_model(tmp_path), case.config(), case.mixture()):
        assert norms == norms[:1] * 3


def _held(mesh: Mesh, folder: Path, config: TrainConfig, mixture: RecordingMixture) -> dict[str, tuple[int, bool]]:
    trainer = RankTrainer(mesh, folder, config, mixture)
    return {name: (len(shard.data), shard.stored) for name, shard in trainer.optimizer.shards().items()}


def test_rows_are_split_in_equal_chunks_and_replicas_are_not_stored(tmp_path: Path) -> None:
    case = Case(dp=4, data_parallel="hsdp", vocab=33, tied=False)
    ranks = run_ranks(case.parallel, _held, case.write_model(tmp_path), case.config(), case.mixture())
    rows = [(17, True), (16, True), (17, False), (16, False)]
    assert [rank["lm_head.weight"] for rank in ranks] == [(count * 32, stored) for count, stored in rows]
    assert [rank["exp_avg.model.norm.weight"] for rank in ranks] == [(16, True), (16, True), (16, False), (16, False)]


def _without_a_layer(mesh: Mesh, folder: Path, config: TrainConfig, mixture: RecordingMixture) -> str:
    trainer = RankTrainer(mesh, folder, config, mixture)
    (model,) = trainer.chunks
    trainer.optimizer.begin(num_passes=1)
    model.model.layers["1"].forward = lambda x, *_: x
    model(TOKENS, targets=TOKENS).sum().backward()
    with pytest.raises(AssertionError) as refusal:
        trainer.optimizer.reduce_gradients()
    return str(refusal.value)


def test_a_parameter_without_a_gradient_is_named(tmp_path: Path) -> None:
    case = Case(data_parallel="fsdp")
    parallel = ParallelConfig(data_parallel="fsdp")
    (message,) = run_ranks(parallel, _without_a_layer, case.write_model(tmp_path), case.config(), case.mixture())
    assert "model.layers.1.mlp.up_proj.weight" in message
    assert "model.layers.0.mlp.up_proj.weight" not in message

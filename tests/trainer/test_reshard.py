"""A checkpoint of any layout goes on in any other: weights and moments to the bit, the next loss as it would have been.

Saved at DP2 x TP2 x PP2, where everything is special at once: two key-value heads for up to four tensor-parallel
ranks, a vocabulary that does not divide, embedding and head tied across stages, ranges that begin in the middle of a
row of a column block.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainer.parity import RankTrainer, RecordingMixture, pieces, whole_tensors
from tests.trainer.ranks import FakeMixture, run_ranks, tiny_config, write_tiny_model
from trainer.checkpoint import TrainState, load, newest
from trainer.checkpoint_writer import CheckpointWriter
from trainer.config import ParallelConfig, TrainConfig
from trainer.dcp import read_tensors
from trainer.mesh import Mesh
from trainer.sharding import kv_copies

VOCAB, KV_HEADS, SAVED, LAST = 97, 2, 2, 4
ALL_AXES = ParallelConfig(dp=2, tp=2, pp=2)
FSDP = {"data_parallel": "fsdp"}


def configured(parallel: ParallelConfig) -> TrainConfig:
    """Micro-batches of one sequence, so that four of them fit every layout."""
    return tiny_config(parallel=parallel, global_batch=4, micro_batch=1, loss_chunk=7)


@dataclass
class Saved:
    """A training that was saved at step `SAVED` and went on to step `LAST`."""

    model: Path
    folder: Path
    losses: list[float]
    tensors: dict[str, Any]  # weights and moments as the ranks held them when it was saved

    @property
    def path(self) -> Path:
        return self.folder / f"step-{SAVED:08}"


def _train_and_save(mesh: Mesh, model: Path, folder: Path, config: TrainConfig) -> tuple[dict[str, Any], list[float]]:
    trainer = RankTrainer(mesh, model, config, RecordingMixture(FakeMixture(vocab=VOCAB)))
    with CheckpointWriter(folder, mesh, config, "d" * 64) as writer:
        for step in range(1, LAST + 1):
            trainer.step()
            if step in (SAVED, LAST):
                writer.save(TrainState(step, step * config.global_batch), trainer.optimizer)
            if step == SAVED:
                held = pieces(trainer.optimizer.shards())
    return held, trainer.found.run.losses


def _resume(mesh: Mesh, model: Path, folder: Path, config: TrainConfig, last: int) -> tuple[dict[str, Any], list]:
    """What the rank holds after loading, and the losses from there to step `last`, which is saved too."""
    trainer = RankTrainer(mesh, model, config, RecordingMixture(FakeMixture(vocab=VOCAB)))
    path = newest(folder, mesh)
    assert path is not None
    state = load(path, trainer.optimizer, mesh, "d" * 64)
    assert state == TrainState(SAVED, SAVED * config.global_batch)
    loaded, trainer.steps = pieces(trainer.optimizer.shards()), state.step
    with CheckpointWriter(folder.parent / "resumed", mesh, config, "d" * 64) as writer:
        for step in range(state.step + 1, last + 1):
            trainer.step()
            writer.save(TrainState(step, step * config.global_batch), trainer.optimizer)
    return loaded, trainer.found.run.losses


def saved_at(folder: Path, parallel: ParallelConfig, tied: bool) -> Saved:
    model = write_tiny_model(
        folder / "model", vocab_size=VOCAB, num_hidden_layers=4, tie_word_embeddings=tied, num_key_value_heads=KV_HEADS
    )
    copies = kv_copies(KV_HEADS, parallel.tp)
    checkpoints = folder / "checkpoints"
    ranks = run_ranks(parallel, _train_and_save, model, checkpoints, configured(parallel), kv_copies=copies)
    (checkpoints / f"step-{LAST:08}").rename(folder / "last")
    return Saved(model, checkpoints, ranks[0][1], whole_tensors([held for held, _ in ranks]))


def resumed_at(saved: Saved, parallel: ParallelConfig, last: int = SAVED + 1) -> tuple[dict[str, Any], list[float]]:
    """The whole tensors that the ranks hold after loading, and the losses."""
    copies = kv_copies(KV_HEADS, parallel.tp)
    ranks = run_ranks(parallel, _resume, saved.model, saved.folder, configured(parallel), last, kv_copies=copies)
    return whole_tensors([loaded for loaded, _ in ranks]), ranks[0][1]


def assert_goes_on(saved: Saved, parallel: ParallelConfig) -> None:
    stored = dict(read_tensors(saved.path, only_weights=False))
    held, losses = resumed_at(saved, parallel)
    assert held.keys() == stored.keys() == saved.tensors.keys()
    for key, tensor in held.items():
        assert np.array_equal(tensor, saved.tensors[key]), key
        assert np.array_equal(tensor, stored[key].numpy()), key
    assert losses[0] == pytest.approx(saved.losses[SAVED], rel=2e-6)


def described(parallel: ParallelConfig) -> str:
    changed = parallel.model_dump(exclude_defaults=True)
    return "-".join(f"{name}{value}" for name, value in changed.items()) or "single"


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return saved_at(tmp_path_factory.mktemp("tied"), ALL_AXES, tied=True)


@pytest.mark.parametrize("parallel", [ParallelConfig(tp=4), ParallelConfig(dp=2, **FSDP)], ids=described)
def test_another_layout_goes_on_from_all_axes_at_once(tied: Saved, parallel: ParallelConfig) -> None:
    assert_goes_on(tied, parallel)


@pytest.mark.slow
@pytest.mark.parametrize(
    "parallel",
    [
        ParallelConfig(),
        ParallelConfig(dp=2),
        ParallelConfig(pp=4),
        ParallelConfig(pp=2, virtual_stages=2, tp=2),
        ParallelConfig(dp=4, fsdp_shard=2, **FSDP),
        ParallelConfig(dp=2, tp=2, pp=2, **FSDP),
    ],
    ids=described,
)
def test_every_other_layout_does(tied: Saved, parallel: ParallelConfig) -> None:
    assert_goes_on(tied, parallel)


def test_the_same_layout_goes_on_to_the_bit(tied: Saved) -> None:
    _, losses = resumed_at(tied, ALL_AXES, LAST)
    assert losses == tied.losses[SAVED:]
    mine, theirs = (
        dict(read_tensors(path, only_weights=False))
        for path in (tied.folder.parent / f"resumed/step-{LAST:08}", tied.folder.parent / "last")
    )
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ParallelConfig(), ALL_AXES),
        (ParallelConfig(dp=2, tp=2, **FSDP), ParallelConfig(pp=2, dp=2)),
        (ParallelConfig(tp=4), ParallelConfig(dp=4, **FSDP)),
        (ParallelConfig(pp=2, virtual_stages=2), ParallelConfig(tp=2)),
        (ALL_AXES, ParallelConfig(tp=4, pp=2)),
    ],
    ids=described,
)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_any_layout_to_any_other(tmp_path: Path, before: ParallelConfig, after: ParallelConfig, tied: bool) -> None:
    assert_goes_on(saved_at(tmp_path, before, tied), after)

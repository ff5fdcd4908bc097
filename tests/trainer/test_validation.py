"""Validation says the same under any layout, whatever does not share out evenly, and what it cannot do."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from storage.mixture_plan import MixturePlan
from storage.mixture_writer import write_plan, write_split
from tests.storage.token_sources import Source, write_sources
from tests.trainer.ranks import FakeMixture, PackedMixture, run_ranks, tiny_config, tiny_job
from trainer.config import ParallelConfig, TrainJob
from trainer.loss import NO_TARGET
from trainer.mesh import Mesh
from trainer.validation import open_validation, validate, validation_batches, validation_ids


def held_out_losses(mesh: Mesh, job: TrainJob, mixture: FakeMixture) -> dict[str, dict[str, float]]:
    from trainer.start import set_up

    return validate(set_up(job, mesh, FakeMixture()).engine, mixture, job, mesh)


LAYOUTS: list[dict[str, Any]] = [
    {"dp": 2},
    {"tp": 2},
    {"pp": 2},
    {"dp": 2, "data_parallel": "fsdp"},
    pytest.param({"dp": 2, "tp": 2, "pp": 2}, marks=pytest.mark.slow),
    pytest.param({"dp": 3}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("parallel", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", ["float64", pytest.param("fp32", marks=pytest.mark.slow)])
def test_the_same_figures_under_any_layout(tmp_path: Path, parallel: dict[str, Any], dtype: str) -> None:
    """13 samples, of 2 per batch and rank: the last batch is filled up differently by each layout."""
    settings = {"dtype": dtype, "validation_samples": 13, "global_batch": 12, "num_steps": 4}
    mixture = PackedMixture(num_samples=40)
    bytes_per_token = {"ja": 3.0}
    one = tiny_job(tmp_path, **settings, bytes_per_token=bytes_per_token)
    (alone,) = run_ranks(1, held_out_losses, one, mixture)
    job = tiny_job(tmp_path, **settings, parallel=parallel, bytes_per_token=bytes_per_token)
    for found in run_ranks(ParallelConfig(**parallel), held_out_losses, job, mixture):
        assert found.keys() == alone.keys() == {"ja", "en"}
        for language in alone:
            assert found[language] == pytest.approx(alone[language], rel=1e-12 if dtype == "float64" else 2e-6)
    assert alone["ja"]["tokens"] + alone["en"]["tokens"] == mixture.num_targets(0, 13)
    assert alone["ja"]["bits_per_byte"] == pytest.approx(alone["ja"]["loss"] / math.log(2) / 3)
    assert "bits_per_byte" not in alone["en"], "its bytes per token are unknown"


def test_every_sample_is_read_once_and_ranks_have_as_many_batches() -> None:
    config = tiny_config(parallel={"dp": 2}, micro_batch=3, global_batch=6, validation_samples=10)
    parts = [validation_ids(FakeMixture(num_samples=64), config, rank) for rank in (0, 1)]
    assert parts == [[[0, 1, 2], [6, 7, 8]], [[3, 4, 5], [9, None, None]]]
    few = [validation_ids(FakeMixture(num_samples=2), config, rank) for rank in (0, 1)]
    assert few == [[[0, 1, None]], [[None, None, None]]]


def test_what_fills_up_has_no_targets() -> None:
    config = tiny_config(micro_batch=4, validation_samples=5)
    *_, last = validation_batches(PackedMixture(), config, 0, torch.device("cpu"))
    assert (last.targets[1:] == NO_TARGET).all()
    assert (last.targets[0] != NO_TARGET).any()
    assert last.documents is not None


def test_a_mixture_that_continues_another_begins_where_that_ended() -> None:
    config = tiny_config(validation_samples=4)
    assert validation_ids(FakeMixture(num_samples=64, first_sample=60), config, 0) == [[60, 61], [62, 63]]


def mixture_of(root: Path, **num_samples: int) -> str:
    binarized, out = str(root / "b"), str(root / "m")
    catalog = write_sources(binarized, [Source("corpus", "ja", [[1, 2, 3] * 20] * 9, [[1, 2, 3] * 20] * 9)])
    plan = MixturePlan(16, 1, {})
    for split, count in num_samples.items():
        plan.splits[split], _ = write_split(out, split, plan, binarized, catalog, [1.0], num_samples=count)
    write_plan(out, plan)
    return out


def test_a_mixture_without_held_out_text_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = tiny_job(tmp_path, mixture=mixture_of(tmp_path, train=8))
    first, second = (Mesh(ParallelConfig(dp=2), rank, None, torch.device("cpu")) for rank in (0, 1))  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        assert [open_validation(job, mesh) for mesh in (first, second)] == [None, None]
    assert len(caplog.records) == 1
    assert "set mix.validation_tokens to at least 16" in caplog.text


def test_nothing_is_opened_where_nothing_is_validated(tmp_path: Path) -> None:
    mesh = Mesh(ParallelConfig(), 0, None, torch.device("cpu"))  # type: ignore[arg-type]
    mixture = mixture_of(tmp_path, train=8, validation=4)
    assert open_validation(tiny_job(tmp_path, mixture=mixture, validate_every=0), mesh) is None
    opened = open_validation(tiny_job(tmp_path, mixture=mixture), mesh)
    assert opened is not None
    assert opened.num_samples >= 4

"""The probe's figures decide how long the demo trains: they must be put together as a step is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.trainer.ranks import run_ranks, tiny_config, write_tiny_model
from trainer.config import ParallelConfig
from trainer.llama_config import read_llama_config
from trainer.mesh import Mesh
from trainer.speed import SpeedProbe, idle_passes, measure
from trainer.zero import ZeroOptimizer


def measured(mesh: Mesh, probe: SpeedProbe) -> tuple[dict[str, float], list[int]]:
    """The probe's result, and the numbers of micro-batches that the optimizer was told of."""
    told: list[int] = []
    begin = ZeroOptimizer.begin

    def counted(self: ZeroOptimizer, num_passes: int) -> None:
        told.append(num_passes)
        begin(self, num_passes)

    ZeroOptimizer.begin = counted  # type: ignore[method-assign]
    return measure(probe, mesh), told


@pytest.mark.parametrize(
    ("parallel", "num_timed"),
    [(ParallelConfig(dp=2), 1), (ParallelConfig(pp=2), 2), (ParallelConfig(tp=2, pp=2, virtual_stages=2), 2)],
    ids=["dp2", "pp2", "tp2-pp2-interleaved"],
)
def test_a_step_is_put_together_from_its_parts(tmp_path: Path, parallel: ParallelConfig, num_timed: int) -> None:
    """One warm-up and two timed steps of as few micro-batches as the layout allows, for a global batch of 32."""
    config = tiny_config(parallel=parallel.model_dump(), global_batch=32)
    model = write_tiny_model(tmp_path / "model")
    probe = SpeedProbe(model=str(model), extra_rows=7, train=config, result="unused")
    ranks = run_ranks(parallel, measured, probe)
    found, told = ranks[0]
    assert told == [num_timed] * 3
    passes = 32 // (config.micro_batch * parallel.dp)
    expected = found["micro_batch_seconds"] * (passes + idle_passes(parallel)) + found["update_seconds"]
    assert found["seconds_per_step"] == pytest.approx(expected)
    assert found["tokens_per_second"] == pytest.approx(32 * config.seq_len / found["seconds_per_step"])
    assert min(found.values()) > 0
    timed = [{name: value for name, value in rank[0].items() if name != "memory_gib"} for rank in ranks]
    assert all(each == timed[0] for each in timed), "all ranks report the slowest one's"


def test_a_pipeline_idles_while_it_fills_and_drains() -> None:
    assert idle_passes(ParallelConfig(dp=4, tp=2)) == 0
    assert idle_passes(ParallelConfig(pp=4)) == 3
    assert idle_passes(ParallelConfig(pp=4, virtual_stages=2)) == 1.5


def test_rows_to_come_are_part_of_the_model(tmp_path: Path) -> None:
    model = str(write_tiny_model(tmp_path / "model"))
    probe = SpeedProbe(model=model, extra_rows=400, train=tiny_config(), result="unused")
    assert probe.shape() == replace(read_llama_config(model), vocab_size=read_llama_config(model).vocab_size + 400)

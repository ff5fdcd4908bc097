"""Every rank has its own place, and groups hold the ranks that differ in their axis only."""

from __future__ import annotations

from tests.trainer.ranks import run_ranks
from trainer.config import ParallelConfig
from trainer.layout import axis_ranks, coordinates
from trainer.mesh import Mesh


def test_ranks_are_numbered_tp_then_dp_then_pp() -> None:
    parallel = ParallelConfig(dp=3, tp=2, pp=2)
    for rank in range(parallel.world_size):
        place = coordinates(rank, parallel)
        assert rank == place.tp + 2 * (place.dp + 3 * place.pp)
    assert axis_ranks("tp", parallel)[:2] == [[0, 1], [2, 3]]
    assert axis_ranks("dp", parallel) == [[0, 2, 4], [1, 3, 5], [6, 8, 10], [7, 9, 11]]
    assert axis_ranks("pp", parallel)[0] == [0, 6]


def _talk(mesh: Mesh) -> tuple:
    mesh.barrier()
    return mesh.any(mesh.rank == 1), mesh.any(False), mesh.from_first(f"rank {mesh.rank}"), mesh.gathered([mesh.rank])


def test_hosts_agree() -> None:
    assert run_ranks(3, _talk) == [(True, False, "rank 0", [0, 1, 2])] * 3
    assert run_ranks(1, _talk) == [(False, False, "rank 0", [0])]

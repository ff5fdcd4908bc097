"""The rank grid as arithmetic: ranks are numbered `tp + T * (dp + D * pp)`; no torch, no process group.

Tensor parallel is fastest, so that it stays inside a node, pipeline slowest, so that it crosses nodes; Swallow mapped
ABCI so (Megatron-LM's `parallel_state`).

    coordinates(rank=5, parallel=ParallelConfig(dp=2, tp=2, pp=2))   # tp 1, dp 0, pp 1
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.config import ParallelConfig


@dataclass(frozen=True)
class Coordinates:
    """A rank's place on each axis."""

    tp: int
    dp: int
    pp: int


def coordinates(rank: int, parallel: ParallelConfig) -> Coordinates:
    return Coordinates(
        tp=rank % parallel.tp,
        dp=rank // parallel.tp % parallel.dp,
        pp=rank // (parallel.tp * parallel.dp),
    )


def rank_of(place: Coordinates, parallel: ParallelConfig) -> int:
    return place.tp + parallel.tp * (place.dp + parallel.dp * place.pp)


def axis_ranks(axis: str, parallel: ParallelConfig) -> list[list[int]]:
    """All groups of one axis ("tp", "dp" or "pp"), each its ranks in order of their place on that axis."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for rank in range(parallel.world_size):
        place = coordinates(rank, parallel)
        others = tuple(getattr(place, name) for name in ("tp", "dp", "pp") if name != axis)
        groups.setdefault(others, []).append(rank)
    return list(groups.values())


def runs(groups: list[list[int]], length: int) -> list[list[int]]:
    """Each group cut into runs of `length` neighbours: copies of key-value heads, FSDP's shards."""
    return [group[i : i + length] for group in groups for i in range(0, len(group), length)]


def strides(groups: list[list[int]], length: int) -> list[list[int]]:
    """The ranks at the same place of each run of `length`: FSDP's replicas."""
    return [group[i::length] for group in groups for i in range(length)]


def ends(groups: list[list[int]]) -> list[list[int]]:
    """The first and last of each group: the stages that share a tied matrix."""
    return [[group[0], group[-1]] for group in groups]

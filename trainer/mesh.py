"""The rank grid: which process holds which part, and who talks to whom.

Ranks are numbered `tp + T * (dp + D * pp)`: tensor parallel fastest, so that it stays inside a node, pipeline slowest,
so that it crosses nodes; Swallow mapped ABCI so (Megatron-LM's `parallel_state`). Each axis gives a process group of
the ranks that differ in that axis only. Tensors travel over NCCL on CUDA and gloo on CPU; flags, barriers and
checkpoint plans always travel over gloo, from host to host, and never wait for a device.

    with started(timeout_s=1800) as device:
        mesh = build_mesh(ParallelConfig(dp=2), device)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from trainer.config import ParallelConfig

Value = TypeVar("Value")


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


def axis_ranks(axis: str, parallel: ParallelConfig) -> list[list[int]]:
    """All groups of one axis ("tp", "dp" or "pp"), each its ranks in order of their place on that axis."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for rank in range(parallel.world_size):
        place = coordinates(rank, parallel)
        others = tuple(getattr(place, name) for name in ("tp", "dp", "pp") if name != axis)
        groups.setdefault(others, []).append(rank)
    return list(groups.values())


@dataclass(frozen=True)
class Mesh:
    """This process's view of the grid; a group is None where its axis has one rank."""

    parallel: ParallelConfig
    rank: int
    place: Coordinates
    device: torch.device
    tp_group: dist.ProcessGroup | None
    dp_group: dist.ProcessGroup | None
    pp_group: dist.ProcessGroup | None
    control: dist.ProcessGroup | None

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files of which there is one."""
        return self.rank == 0

    def barrier(self) -> None:
        if self.control is not None:
            dist.barrier(group=self.control)

    def any(self, flag: bool) -> bool:
        """Whether any rank raises its flag; all-reduce (max) of one byte between hosts."""
        if self.control is None:
            return flag
        flags = torch.tensor([flag], dtype=torch.uint8)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self.control)
        return bool(flags.item())

    def from_first(self, value: Value) -> Value:
        """Rank 0's value on every rank; broadcast of a small picklable object between hosts."""
        if self.control is None:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def gathered(self, values: list[Value]) -> list[Value]:
        """All ranks' lists in order of rank, on every rank; all-gather of small picklable objects between hosts."""
        if self.control is None:
            return values
        boxes: list[list[Value]] = [[] for _ in range(self.parallel.world_size)]
        dist.all_gather_object(boxes, values, group=self.control)
        return [value for box in boxes for value in box]


def build_mesh(parallel: ParallelConfig, device: torch.device) -> Mesh:
    """The grid over the default process group, which must have as many ranks as the layout."""
    world, rank = dist.get_world_size(), dist.get_rank()
    assert world == parallel.world_size, f"{world} ranks for a layout of {parallel.world_size}"
    groups: dict[str, dist.ProcessGroup | None] = {"tp": None, "dp": None, "pp": None}
    for axis in groups:
        if getattr(parallel, axis) == 1:
            continue
        for ranks in axis_ranks(axis, parallel):  # every rank takes part in creating every group
            group = dist.new_group(ranks)
            if rank in ranks:
                groups[axis] = group
    return Mesh(
        parallel=parallel,
        rank=rank,
        place=coordinates(rank, parallel),
        device=device,
        tp_group=groups["tp"],
        dp_group=groups["dp"],
        pp_group=groups["pp"],
        control=dist.new_group(backend="gloo") if world > 1 else None,
    )


@contextmanager
def started(timeout_s: float) -> Iterator[torch.device]:
    """Join the processes that torchrun started (or be the only one) for as long as the block lasts.

    The store is torchrun's own, under a prefix that changes with each restart: restarted gloo ranks otherwise read
    the addresses of dead ones and cannot connect. A clean end waits for all ranks before it closes connections.

    Args:
        timeout_s: how long a collective may wait for another rank.
    """
    timeout = timedelta(seconds=timeout_s)
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    store: dist.Store = dist.HashStore()
    if "MASTER_ADDR" in os.environ:
        agent_holds_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(address, port, world, is_master=rank == 0 and not agent_holds_store, timeout=timeout)
        store = dist.PrefixStore(f"trainer-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
    yield device
    # After an error the process just ends: tearing down connections to dead ranks can hang.
    dist.barrier()
    dist.destroy_process_group()

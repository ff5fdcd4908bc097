"""This process's place in the rank grid, and its process groups.

`trainer.layout` says which ranks form a group. Tensors travel over NCCL on CUDA and gloo on CPU; flags, barriers and
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

from trainer import collectives
from trainer.collectives import Group
from trainer.config import ParallelConfig
from trainer.layout import Coordinates, axis_ranks, coordinates, ends, runs, strides

Value = TypeVar("Value")


@dataclass(frozen=True)
class Mesh:
    """This process's view of the grid; a group is None where it would have one rank.

    Attributes:
        tp_group: the ranks that hold a layer together.
        dp_group: the ranks that hold the same parameters and read other samples.
        pp_group: the stages of one pipeline.
        world_group: all ranks, for sums of scalars.
        kv_group: neighbours in tp that hold copies of the same key-value heads.
        embedding_group: first and last pipeline rank, None on those between.
        shard_group: FSDP: the ranks of dp that parameters are split over.
        replica_group: FSDP: the ranks of dp that hold the same part.
        control: all ranks, gloo, used by the training loop alone.
        saving: all ranks, gloo, used by the thread that writes checkpoints alone.
    """

    parallel: ParallelConfig
    rank: int
    place: Coordinates
    device: torch.device
    tp_group: Group = None
    dp_group: Group = None
    pp_group: Group = None
    world_group: Group = None
    kv_group: Group = None
    embedding_group: Group = None
    shard_group: Group = None
    replica_group: Group = None
    control: Group = None
    saving: Group = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files of which there is one."""
        return self.rank == 0

    @property
    def is_last_stage(self) -> bool:
        return self.place.pp == self.parallel.pp - 1

    def barrier(self) -> None:
        collectives.barrier(self.control)

    def any(self, flag: bool) -> bool:
        """Whether any rank raises its flag."""
        return collectives.any_rank(flag, self.control)

    def from_first(self, value: Value) -> Value:
        """Rank 0's value on every rank; a small picklable object."""
        return collectives.from_first(value, self.control)

    def gathered(self, values: list[Value]) -> list[Value]:
        """All ranks' lists in order of rank, on every rank; small picklable objects."""
        return collectives.gathered_lists(values, self.control)


def build_mesh(
    parallel: ParallelConfig, device: torch.device, kv_copies: int = 1, timeout_s: float | None = None
) -> Mesh:
    """The grid over the default process group, which must have as many ranks as the layout.

    Args:
        kv_copies: tensor-parallel ranks that hold the same key-value heads (`trainer.sharding.kv_copies`).
        timeout_s: how long a collective may wait for another rank; none given: torch's own default.
    """
    world, rank = dist.get_world_size(), dist.get_rank()
    assert world == parallel.world_size, f"{world} ranks for a layout of {parallel.world_size}"
    tp, dp, pp = (axis_ranks(axis, parallel) for axis in ("tp", "dp", "pp"))
    shard = parallel.fsdp_shard or parallel.dp
    everyone = [list(range(world))]
    timeout = None if timeout_s is None else timedelta(seconds=timeout_s)

    def own(groups: list[list[int]], backend: str | None = None) -> Group:
        return _own_group(groups, backend, timeout)

    return Mesh(
        parallel=parallel,
        rank=rank,
        place=coordinates(rank, parallel),
        device=device,
        tp_group=own(tp),
        dp_group=own(dp),
        pp_group=own(pp),
        world_group=own(everyone),
        kv_group=own(runs(tp, kv_copies)),
        embedding_group=own(ends(pp)) if parallel.pp > 1 else None,
        shard_group=own(runs(dp, shard)) if parallel.data_parallel == "fsdp" else None,
        replica_group=own(strides(dp, shard)) if parallel.data_parallel == "fsdp" else None,
        control=own(everyone, backend="gloo"),
        saving=own(everyone, backend="gloo"),
    )


def _own_group(groups: list[list[int]], backend: str | None, timeout: timedelta | None) -> Group:
    """Create the groups, in which every rank must take part, and return this rank's; None where it has one rank."""
    own: Group = None
    for ranks in groups:
        if len(ranks) > 1:
            group = dist.new_group(ranks, timeout=timeout, backend=backend)
            own = group if dist.get_rank() in ranks else own
    return own


@contextmanager
def started(timeout_s: float) -> Iterator[torch.device]:
    """Join the processes that torchrun started (or be the only one) for as long as the block lasts.

    The store is torchrun's own, under a prefix that changes with each restart: restarted gloo ranks otherwise read
    the addresses of dead ones and cannot connect. Where torchrun keeps none (`trainer.torchrun`: several machines),
    rank 0 does, and it is a new one each time. A clean end waits for all ranks before it closes connections.

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
        if agent_holds_store:
            store = dist.PrefixStore(f"trainer-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
    yield device
    # After an error the process just ends: tearing down connections to dead ranks can hang.
    collectives.barrier(dist.group.WORLD if world > 1 else None)
    dist.destroy_process_group()

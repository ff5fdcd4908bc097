"""Flat shards in torch DCP: written and read without gathering anything.

In: `FlatShard`s, each a row-major range of a rank's rectangle of a tensor. Out: DCP files that hold true shapes under
the tensors' keys. Such a range is at most three rectangles, and rectangles are what DCP stores; so every rank writes
and reads its own, and whatever layout wrote a checkpoint, any other can load it. Of copies (replicated norms, shared
key-value heads, a tied matrix on two stages) one is written and all are read. Before anything is written, DCP's plan
proves that the rectangles of all ranks cover every tensor exactly once.

    save_shards(folder, optimizer.shards(), mesh.saving)
    load_shards(folder, optimizer.shards(), mesh.control)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import (
    LoadPlan,
    ReadItem,
    SavePlan,
    TensorWriteData,
    WriteItem,
    WriteItemType,
)
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list

from trainer.sharding import FlatShard

_READ_BYTES = 1 << 28

# DCP warns when it works without a process group, which one rank and export do on purpose. Once and for all, because
# `warnings.catch_warnings` in the thread that writes would change what the training loop sees.
warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)


def save_shards(folder: Path, shards: Mapping[str, FlatShard], group: dist.ProcessGroup | None) -> None:
    """Write every rank's `stored` shards, each file synced to the disk; None for the group of a single rank.

    Raises:
        CheckpointException: any rank could not; on all of them, with each failing rank's error.
    """
    dcp.save(
        dict(shards),
        storage_writer=FileSystemWriter(folder),
        planner=_SavePlanner(),
        process_group=group,
        no_dist=group is None,
    )


def load_shards(folder: Path, shards: Mapping[str, FlatShard], group: dist.ProcessGroup | None) -> None:
    """Fill every rank's shards in place.

    Raises:
        CheckpointException: a key is missing or has another shape; the message says which.
    """
    dcp.load(
        dict(shards),
        storage_reader=FileSystemReader(folder),
        planner=_LoadPlanner(),
        process_group=group,
        no_dist=group is None,
    )


def weight_shapes(path: Path) -> dict[str, list[int]]:
    """Name -> true shape of every weight that a checkpoint holds; nothing but its metadata is read."""
    metadata = FileSystemReader(path).read_metadata().state_dict_metadata
    shapes = {key: stored.size for key, stored in metadata.items() if isinstance(stored, TensorStorageMetadata)}
    return {key: list(shape) for key, shape in shapes.items() if not key.startswith(("rng.", "exp_avg"))}


def read_tensors(path: Path, *, only_weights: bool) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a checkpoint in true shapes, sorted by key, a few at a time; no process group needed.

    Args:
        only_weights: the master weights alone, else Adam's moments too.
    """
    metadata = FileSystemReader(path).read_metadata().state_dict_metadata
    keys = [key for key in sorted(metadata) if not key.startswith("rng.")]
    if only_weights:
        keys = [key for key in keys if not key.startswith("exp_avg")]
    while keys:
        batch: dict[str, Tensor] = {}
        while keys and (not batch or sum(tensor.nbytes for tensor in batch.values()) < _READ_BYTES):
            stored = metadata[key := keys.pop(0)]
            assert isinstance(stored, TensorStorageMetadata)
            batch[key] = torch.empty(stored.size, dtype=stored.properties.dtype)
        dcp.load(dict(batch), storage_reader=FileSystemReader(path), no_dist=True)
        yield from batch.items()


class _SavePlanner(DefaultSavePlanner):
    """Plans a state of `FlatShard`s: one write per rectangle."""

    def __init__(self) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)

    def create_local_plan(self) -> SavePlan:
        items = [
            WriteItem(
                index=MetadataIndex(key, chunk.offsets),
                type=WriteItemType.SHARD,
                tensor_data=TensorWriteData(
                    chunk, TensorProperties.create_from_tensor(shard.data), torch.Size(shard.shape)
                ),
            )
            for key, shard in self.state_dict.items()
            if shard.stored
            for chunk in rectangles(shard)
        ]
        self.plan = SavePlan(items)
        return self.plan

    def lookup_object(self, index: MetadataIndex) -> Tensor:
        return _rectangle_data(self.state_dict[index.fqn], index)


class _LoadPlanner(DefaultLoadPlanner):
    """Plans reads into `FlatShard`s from whatever rectangles were stored."""

    def __init__(self) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)

    def set_up_planner(
        self, state_dict: dict[str, Any], metadata: Metadata | None = None, is_coordinator: bool = False
    ) -> None:
        # The default also replaces what it takes for placeholders: everything that is no tensor.
        self.state_dict = self.original_state_dict = state_dict
        self.metadata = metadata
        self.is_coordinator = is_coordinator

    def create_local_plan(self) -> LoadPlan:
        assert self.metadata is not None
        items: list[ReadItem] = []
        for key, shard in self.state_dict.items():
            stored = self.metadata.state_dict_metadata.get(key)
            if not isinstance(stored, TensorStorageMetadata) or tuple(stored.size) != shard.shape:
                size = list(stored.size) if isinstance(stored, TensorStorageMetadata) else "nothing"
                raise ValueError(
                    f"the checkpoint holds {size} for {key}, the model has {list(shard.shape)}: it is of another model"
                )
            items += create_read_items_for_chunk_list(key, stored, rectangles(shard))
        return LoadPlan(items)

    def lookup_tensor(self, index: MetadataIndex) -> Tensor:
        return _rectangle_data(self.state_dict[index.fqn], index)


def rectangles(shard: FlatShard) -> list[ChunkStorageMetadata]:
    """The at most three rectangles of the whole tensor that a shard of a vector or matrix consists of, in order.

    Within the rank's rectangle: the rest of a row that was begun, whole rows, the beginning of the last one.
    """
    begin, end = shard.start, shard.start + shard.data.numel()
    if begin == end:
        return []
    assert end <= math.prod(shard.size), f"a range up to {end} of a rectangle of {shard.size}"
    spans: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((begin,), (end - begin,))]
    if len(shard.size) > 1:
        assert len(shard.size) == 2, f"a parameter of shape {shard.shape}"
        width = shard.size[1]
        # Cut after the first started row and before the last unfinished one.
        cuts = sorted({begin, min(end, -(-begin // width) * width), max(begin, end // width * width), end})
        spans = [
            ((a // width, a % width), ((b - a) // width, width) if (b - a) >= width else (1, b - a))
            for a, b in pairwise(cuts)
        ]
    return [
        ChunkStorageMetadata(torch.Size(a + b for a, b in zip(at, shard.offset, strict=True)), torch.Size(size))
        for at, size in spans
    ]


def _rectangle_data(shard: FlatShard, index: MetadataIndex) -> Tensor:
    """The part of a shard's data that is the rectangle beginning at `index.offset` of the whole tensor."""
    assert index.offset is not None
    size = next(chunk.sizes for chunk in rectangles(shard) if chunk.offsets == index.offset)
    strides = [math.prod(shard.size[dim + 1 :]) for dim in range(len(shard.size))]
    within = [at - first for at, first in zip(index.offset, shard.offset, strict=True)]
    begin = sum(at * stride for at, stride in zip(within, strides, strict=True)) - shard.start
    return shard.data[begin : begin + size.numel()].view(size)

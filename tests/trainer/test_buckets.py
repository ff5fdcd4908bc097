"""Buckets hold every parameter once, and what copies are summed over lies at one place on all ranks that hold them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import nn

from tests.trainer.ranks import TINY
from trainer.buckets import ALIGNMENT, Bucket, Slot, cut
from trainer.config import ParallelConfig
from trainer.layout import coordinates
from trainer.llama_config import LlamaConfig, llama_config
from trainer.sharding import Block, rank_blocks

SMALL = 4000


def _model(**changes: object) -> LlamaConfig:
    return llama_config(TINY | {"num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 33} | changes)


def _cut(model: LlamaConfig, parallel: ParallelConfig, rank: int, max_elements: int = SMALL) -> list[list[Slot]]:
    return cut(rank_blocks(model, parallel, coordinates(rank, parallel)).items(), max_elements)


def _bucket(slots: list[Slot], dp: int = 1, dp_rank: int = 0, dtype: torch.dtype = torch.float32) -> Bucket:
    return Bucket(
        slots, {slot.name: nn.Parameter(torch.zeros(slot.block.local, dtype=dtype)) for slot in slots}, dp, dp_rank
    )


def test_every_parameter_has_one_place_and_none_overlap() -> None:
    blocks = rank_blocks(_model(), ParallelConfig(), coordinates(0, ParallelConfig()))
    buckets = cut(blocks.items(), SMALL)
    assert sorted(slot.name for slots in buckets for slot in slots) == sorted(blocks)
    for slots in buckets:
        assert all(one.end <= next_one.start for one, next_one in pairwise(slots))
        assert all(slot.start % ALIGNMENT == 0 for slot in slots)
        assert [slot.decay for slot in slots] == sorted((slot.decay for slot in slots), reverse=True)


def test_buckets_follow_forward_and_are_as_large_as_allowed() -> None:
    names = list(rank_blocks(_model(), ParallelConfig(), coordinates(0, ParallelConfig())))
    buckets = _cut(_model(), ParallelConfig(), 0)
    spans = [sorted(names.index(slot.name) for slot in slots) for slots in buckets]
    assert [number for span in spans for number in span] == list(range(len(names)))
    sizes = [sum(slot.numel for slot in slots) for slots in buckets]
    firsts = [min(slots, key=lambda slot: names.index(slot.name)).numel for slots in buckets]
    assert len(buckets) > 3
    assert max(sizes) <= SMALL
    assert all(size + next_first > SMALL for size, next_first in zip(sizes, firsts[1:], strict=False))


def test_a_parameter_larger_than_a_bucket_has_one_of_its_own() -> None:
    block = Block("large", (100, 100), (0, 0), (100, 100), (100, 100))
    small = Block("small", (4,), (0,), (4,), (4,))
    buckets = cut([("a", small), ("large", block), ("b", small)], max_elements=SMALL)
    assert [[slot.name for slot in slots] for slots in buckets] == [["a"], ["large"], ["b"]]


@pytest.mark.parametrize("dp", [1, 2, 3])
def test_what_is_summed_over_copies_lies_alike_on_the_ranks_that_hold_them(dp: int) -> None:
    """Else a sum over tp, or over first and last stage, would add different parameters' gradients up."""
    parallel = ParallelConfig(dp=dp, tp=4, pp=2)
    runs: dict[tuple[str, int, int], set[tuple[tuple[int, int], ...]]] = {}
    for rank in range(parallel.world_size):
        place = coordinates(rank, parallel)
        for kind in ("tp", "kv_copies", "embedding"):
            found = tuple(
                (run.begin, run.end)
                for slots in _cut(_model(), parallel, rank)
                for run in _bucket(slots, dp, place.dp).runs
                if run.summed_over == kind
            )
            # Copies over stages must agree whatever the stage, copies over tp on each stage.
            runs.setdefault((kind, place.dp, 0 if kind == "embedding" else place.pp), set()).add(found)
    assert all(len(layouts) == 1 for layouts in runs.values())
    assert any(layout for (kind, *_), layouts in runs.items() if kind == "embedding" for layout in layouts)


def test_a_matrix_tied_across_stages_is_alone_in_its_bucket() -> None:
    parallel = ParallelConfig(pp=2)
    first, last = (_cut(_model(), parallel, rank, max_elements=10**6) for rank in (0, 1))
    assert [slot.name for slot in first[0]] == ["model.embed_tokens.weight"]
    assert [slot.name for slot in last[-1]] == ["lm_head.weight"]


@pytest.mark.parametrize("dp", [1, 2, 3])
def test_shards_of_all_ranks_are_each_tensor_once_without_padding(dp: int) -> None:
    parallel = ParallelConfig(tp=8)  # the last rank's five rows of 33 are padding
    for rank in (0, 6, 7):
        for slots in _cut(_model(), parallel, rank):
            pieces: dict[str, list[tuple[int, int]]] = {slot.block.name: [] for slot in slots}
            for bucket in (_bucket(slots, dp, dp_rank) for dp_rank in range(dp)):
                for name, shard in bucket.shards(bucket.master):
                    pieces[name].append((shard.start, shard.start + len(shard.data)))
            for slot in slots:
                covered = [at for begin, end in pieces[slot.block.name] for at in range(begin, end)]
                assert covered == list(range(torch.Size(slot.block.size).numel()))


def test_shards_are_views_of_the_ranks_own_elements() -> None:
    slots = _cut(_model(), ParallelConfig(dp=2), 0, max_elements=10**6)[0]
    buckets = [_bucket(slots, 2, dp_rank, torch.float64) for dp_rank in range(2)]
    values = {slot.block.name: torch.rand(slot.block.size, dtype=torch.float64) for slot in slots}
    for bucket in buckets:
        for slot in slots:
            bucket.load(slot, values[slot.block.name])
        for name, shard in bucket.shards(bucket.master):
            assert torch.equal(shard.data, values[name].view(-1)[shard.start :][: len(shard.data)])
            shard.data.zero_()
        assert not bucket.master.any()


def _gradients() -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        # Not contiguous, and more elements than are widened at a time.
        yield torch.randn(1100, 1000, generator=generator).bfloat16().t()


def test_bf16_gradients_are_summed_in_fp32_and_a_new_step_starts_from_zero() -> None:
    bucket = _bucket([Slot("w", Block("w", (1000, 1100), (0, 0), (1000, 1100), (1000, 1100)), 0)], dtype=torch.bfloat16)
    expected = sum(gradient.float() for gradient in _gradients())
    for _ in range(2):
        bucket.begin()
        for gradient in _gradients():
            bucket.add_gradient(0, gradient)
        assert bucket.gradients.dtype == torch.float32
        assert torch.equal(bucket.gradients[: 1000 * 1100].view(1000, 1100), expected)

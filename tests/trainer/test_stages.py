"""A split that forgets the head, or a layer, makes a slow pipeline or a wrong model."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import pytest

from trainer.config import ParallelConfig
from trainer.llama_config import LlamaConfig
from trainer.stages import EMBEDDING_SHARE, Stage, head_layers, split_stages


def model(num_layers: int, vocab: int = 32000, hidden: int = 4096, inner: int = 11008, heads: int = 32) -> LlamaConfig:
    return LlamaConfig(
        vocab, hidden, inner, num_layers, heads, heads, hidden // heads, 4096, 1e-5, 10000.0, None, tied=False
    )


def counts(shape: LlamaConfig, pp: int, virtual_stages: int = 1) -> list[int]:
    return [len(stage.layers) for stage in split_stages(shape, ParallelConfig(pp=pp, virtual_stages=virtual_stages))]


def rank_work(layers: Sequence[int], shape: LlamaConfig, pp: int) -> list[float]:
    """What each pipeline rank does for a token, in layers."""
    work = [float(count) for count in layers]
    work[0] += EMBEDDING_SHARE * head_layers(shape)
    work[-1] += head_layers(shape)
    return [sum(work[rank::pp]) for rank in range(pp)]


def all_splits(num_layers: int, num_stages: int) -> Iterator[list[int]]:
    """Every contiguous split in which stages without embedding or head have a layer."""
    for cuts in itertools.combinations_with_replacement(range(num_layers + 1), num_stages - 1):
        split = [end - begin for begin, end in itertools.pairwise((0, *cuts, num_layers))]
        if all(split[1:-1]):
            yield split


def random_cases(num_cases: int, most_layers: int, most_stages: int) -> Iterator[tuple[LlamaConfig, int, int]]:
    draw = random.Random(11)
    while num_cases:
        vocab, hidden, inner = (draw.choice(sizes) for sizes in ((500, 8000, 32000, 128256), (256, 2048), (512, 8192)))
        shape = model(draw.randint(1, most_layers), vocab, hidden, inner)
        pp, virtual = draw.randint(2, 8), draw.randint(1, 3)
        if pp * virtual <= min(most_stages, shape.num_layers + 2):
            num_cases -= 1
            yield shape, pp, virtual


def test_every_layer_is_on_one_stage_in_order() -> None:
    for shape, pp, virtual in random_cases(200, most_layers=100, most_stages=24):
        stages = split_stages(shape, ParallelConfig(pp=pp, virtual_stages=virtual))
        assert [layer for stage in stages for layer in stage.layers] == list(range(shape.num_layers))
        assert [stage.index for stage in stages] == list(range(pp * virtual))
        assert [stage.pp_rank for stage in stages] == [index % pp for index in range(pp * virtual)]
        assert [stage.has_embedding for stage in stages] == [True] + [False] * (len(stages) - 1)
        assert [stage.has_head for stage in stages] == [False] * (len(stages) - 1) + [True]
        assert all(len(stage.layers) for stage in stages[1:-1]), "a stage with nothing on it"


def test_no_split_gives_the_busiest_rank_less() -> None:
    """Against all splits there are, with heads that are worth from a fiftieth of a layer to fifty layers."""
    for shape, pp, virtual in random_cases(60, most_layers=9, most_stages=6):
        best = min(max(rank_work(split, shape, pp)) for split in all_splits(shape.num_layers, pp * virtual))
        assert max(rank_work(counts(shape, pp, virtual), shape, pp)) == pytest.approx(best, rel=1e-12)


def test_a_larger_vocabulary_never_puts_layers_on_the_last_rank() -> None:
    for pp in (2, 4, 8):
        last = [counts(model(24, vocab=vocab), pp)[-1] for vocab in (1000, 32000, 64000, 128000, 256000, 1024000)]
        assert last == sorted(last, reverse=True)
        assert last[0] > last[-1]


def test_more_layers_leave_no_stage_with_fewer() -> None:
    for pp, virtual in ((2, 1), (4, 1), (4, 2)):
        for layers in range(8, 40):
            ranks = [counts(model(count), pp, virtual) for count in (layers, layers + 1)]
            fewer, more = ([sum(split[rank::pp]) for rank in range(pp)] for split in ranks)
            assert all(a <= b for a, b in zip(fewer, more, strict=True))


def test_swallow_s_models_split_evenly() -> None:
    """7B over 2, 13B over 4, 70B over 8 (Swallow's layouts): the head is less than a layer there."""
    vocab = 43176
    assert counts(model(32, vocab), 2) == [16, 16]
    assert counts(model(40, vocab, 5120, 13824, 40), 4) == [10, 10, 10, 10]
    assert counts(model(80, vocab, 8192, 28672, 64), 8) == [10] * 8


def test_a_small_model_with_a_large_vocabulary_has_few_layers_beside_the_head() -> None:
    """SmolLM2-135M: the head is worth 8 of the 30 layers."""
    shape = LlamaConfig(49152, 576, 1536, 30, 9, 3, 64, 8192, 1e-5, 1e5, None, tied=True)
    assert head_layers(shape) == 8
    assert counts(shape, 2) == [19, 11]
    assert counts(shape, 4) == [9, 9, 10, 2]


def test_layers_per_stage_overrides() -> None:
    parallel = ParallelConfig(pp=2, virtual_stages=2, layers_per_stage=[2, 1, 1, 1])
    assert split_stages(model(5), parallel) == [
        Stage(0, 4, 0, range(2)),
        Stage(1, 4, 1, range(2, 3)),
        Stage(2, 4, 0, range(3, 4)),
        Stage(3, 4, 1, range(4, 5)),
    ]

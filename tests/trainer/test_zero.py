"""ZeRO-1 reduces while backward runs, gathers while forward does, and gives what one process would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.parity import Case, RankRun, RecordingMixture, _train_rank, put_together, reference_run
from tests.trainer.ranks import TINY, run_ranks, tiny_config
from trainer import buckets, zero
from trainer.collectives import Group
from trainer.config import ParallelConfig, TrainConfig
from trainer.layout import Coordinates
from trainer.llama_config import llama_config
from trainer.mesh import Mesh
from trainer.model import Llama
from trainer.parallelize import build_chunks
from trainer.sharding import Block, kv_copies, rank_blocks
from trainer.zero import ZeroOptimizer

SMALL = 2000
TOKENS = torch.arange(32).view(2, 16) % 90


def _train_in_small_buckets(mesh: Mesh, folder: Path, config: TrainConfig, mixture: RecordingMixture) -> RankRun:
    zero.bucket_elements = lambda dp: SMALL
    return _train_rank(mesh, folder, config, mixture)


@pytest.mark.parametrize(
    "case",
    [
        Case(dp=4, tied=False),
        Case(tp=2, dp=2, kv_heads=1, vocab=33),
        Case(pp=2, dp=2, virtual_stages=2),
        pytest.param(Case(tp=2, pp=2, dp=2, kv_heads=1, vocab=33), marks=pytest.mark.slow),
    ],
    ids=lambda case: case.name,
)
def test_many_buckets_train_as_one_process_does(tmp_path: Path, case: Case) -> None:
    """Gradients, weights and moments after five clipped steps; the shards of all ranks tile every tensor once."""
    config, model = case.config(), case.write_model(tmp_path)
    copies = kv_copies(case.kv_heads, case.tp)
    ranks = run_ranks(case.parallel, _train_in_small_buckets, model, config, case.mixture(), kv_copies=copies)
    expected = reference_run(model, config, case.mixture())
    assert min(expected.norms) > config.clip_norm, "clipping must be at work"
    differences = put_together(ranks, case.parallel).difference(expected)
    assert max(differences.values()) < 1e-12, differences


def _mesh(dp: int = 1, dp_rank: int = 0) -> Mesh:
    """A rank's view without process groups: nothing is exchanged."""
    return Mesh(ParallelConfig(dp=dp), dp_rank, Coordinates(tp=0, dp=dp_rank, pp=0), torch.device("cpu"))


def _build(
    mesh: Mesh | None = None, dtype: str = "fp32", largest: int = SMALL, **changes: object
) -> tuple[Llama, ZeroOptimizer]:
    """A tiny model with random weights, and its optimizer, in at least five buckets unless they may be larger."""
    mesh, shape = mesh or _mesh(), llama_config(TINY)
    config = tiny_config(dtype=dtype, parallel=mesh.parallel.model_dump(), **changes)
    blocks = rank_blocks(shape, mesh.parallel, mesh.place)
    (model,) = build_chunks(shape, config, mesh)
    optimizer = ZeroOptimizer([model], blocks, config, mesh, max_bucket_elements=largest)
    optimizer.load_weights(_weights)
    return model, optimizer


def _weights(block: Block) -> Tensor:
    generator = torch.Generator().manual_seed(len(block.name))
    return torch.randn(block.size, generator=generator, dtype=torch.float64) * 0.08 + (len(block.size) == 1)


def _backward(model: Llama, shift: int = 0) -> None:
    model(TOKENS + shift, targets=TOKENS).mean().backward()


# Overlap ---------------------------------------------------------------------------------------------------------


@dataclass
class Exchanges:
    """Stands in for the collectives: remembers which bucket's exchange began when, and was waited for when."""

    events: list[tuple[str, int, int]] = field(default_factory=list)
    seen: dict[str, list[int]] = field(default_factory=dict)
    clock: Callable[[], int] = lambda: 0

    def reduce(self, own: Tensor, whole: Tensor, group: Group) -> _Work:
        return self._start("reduce", whole)

    def gather(self, whole: Tensor, own: Tensor, group: Group) -> _Work:
        return self._start("gather", whole)

    def _start(self, kind: str, whole: Tensor) -> _Work:
        self.events.append((kind, whole.data_ptr(), self.clock()))
        return _Work(self, kind, whole.data_ptr())

    def buckets(self, kind: str) -> list[int]:
        return [address for event, address, _ in self.events if event == kind]

    def times(self, kind: str) -> list[int]:
        return [time for event, _, time in self.events if event == kind]


@dataclass
class _Work:
    exchanges: Exchanges
    kind: str
    address: int

    def wait(self) -> None:
        self.exchanges.events.append((f"{self.kind} waited for", self.address, self.exchanges.clock()))


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> Exchanges:
    found = Exchanges()
    monkeypatch.setattr(buckets, "start_reduce_scatter", found.reduce)
    monkeypatch.setattr(buckets, "start_all_gather", found.gather)
    return found


def _count_gradients(model: nn.Module, exchanges: Exchanges) -> list[str]:
    """Names of parameters in the order in which backward finishes them; the exchanges' clock is their number."""
    finished: list[str] = []
    for name, parameter in model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: finished.append(name))
    exchanges.clock = lambda: len(finished)
    return finished


def test_reductions_start_while_backward_runs_last_bucket_first(exchanges: Exchanges) -> None:
    model, optimizer = _build()
    finished = _count_gradients(model, exchanges)
    in_forward_order = [bucket.gradients.data_ptr() for bucket in optimizer.buckets]
    optimizer.begin(num_passes=2)
    _backward(model)
    assert exchanges.buckets("reduce") == [], "gradients of later passes were not there yet"
    finished.clear()
    _backward(model, shift=1)
    assert exchanges.buckets("reduce") == in_forward_order[::-1]
    starts = exchanges.times("reduce")
    assert starts[0] < len(finished) / 3, "the last bucket is reduced while most of backward is still to come"
    assert len(set(starts)) > len(starts) / 2, "the others follow as backward gets to them"
    assert exchanges.buckets("reduce waited for") == []
    optimizer.reduce_gradients()
    assert exchanges.buckets("reduce waited for") == in_forward_order[::-1]


def test_reductions_start_in_one_order_whatever_order_gradients_come_in(exchanges: Exchanges) -> None:
    """Ranks match collectives by their order; two that start them differently wait for each other for ever."""
    model, optimizer = _build()
    in_forward_order = [bucket.gradients.data_ptr() for bucket in optimizer.buckets]
    optimizer.begin(num_passes=1)
    for parameter in model.parameters():  # the opposite of what backward does
        assert exchanges.buckets("reduce") == []
        parameter.square().sum().backward()
    assert exchanges.buckets("reduce") == in_forward_order[::-1]


def test_parameters_are_waited_for_by_the_layer_that_needs_them(exchanges: Exchanges) -> None:
    model, optimizer = _build()
    in_forward_order = [bucket.parameters.data_ptr() for bucket in optimizer.buckets]
    reached: list[str] = []
    for name in ("model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "lm_head"):
        model.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: reached.append(name))
    optimizer.begin(num_passes=1)
    _backward(model)
    optimizer.reduce_gradients()
    optimizer.step(lr=1e-3)
    assert exchanges.buckets("gather") == in_forward_order
    assert exchanges.buckets("gather waited for") == []
    reached.clear()
    exchanges.clock = lambda: len(reached)  # modules whose forward has begun: these hooks come after the optimizer's
    with torch.no_grad():
        model(TOKENS)
    assert exchanges.buckets("gather waited for") == in_forward_order
    waits = exchanges.times("gather waited for")
    assert waits[0] == 0
    assert waits[-1] >= 2, "the last layer's parameters may still be on their way when the first one runs"


@pytest.mark.parametrize("read", ["shards", "finish", "publish"])
def test_readers_wait_for_parameters_too(exchanges: Exchanges, read: str) -> None:
    _, optimizer = _build()
    optimizer.publish()
    assert exchanges.buckets("gather waited for") == []
    getattr(optimizer, read)()
    assert len(exchanges.buckets("gather waited for")) == len(optimizer.buckets)


# What could silently go wrong ------------------------------------------------------------------------------------


def test_a_parameter_without_a_gradient_is_named() -> None:
    model, optimizer = _build()
    optimizer.begin(num_passes=2)
    _backward(model)
    model.model.layers["1"].mlp.requires_grad_(False)
    _backward(model)
    with pytest.raises(AssertionError, match=r"of 2 gradients each: .*layers\.1\.mlp\.gate_proj\.weight got 1"):
        optimizer.reduce_gradients()


def test_more_passes_than_were_announced_are_refused() -> None:
    model, optimizer = _build()
    optimizer.begin(num_passes=1)
    _backward(model)
    with pytest.raises(AssertionError, match=r"more gradients than the 1 passes"):
        _backward(model)


def test_a_step_that_was_dropped_leaves_nothing_behind() -> None:
    norms = []
    for passes_before in (0, 1, 2):
        model, optimizer = _build()
        optimizer.begin(num_passes=2)
        for _ in range(passes_before):
            _backward(model, shift=3)
        optimizer.begin(num_passes=1)
        _backward(model)
        norms.append(optimizer.reduce_gradients().item())
    assert norms == norms[:1] * 3


def test_gradients_are_freed_as_soon_as_they_are_summed() -> None:
    model, optimizer = _build()
    optimizer.begin(num_passes=1)
    _backward(model)
    assert all(parameter.grad is None for parameter in model.parameters())


# Memory and precision --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "fixed", "shared"), [("bf16", 6, 12), ("fp32", 8, 8), ("float64", 16, 16)])
@pytest.mark.parametrize("dp", [1, 2, 4])
def test_bytes_per_parameter(dtype: str, fixed: int, shared: int, dp: int) -> None:
    model, optimizer = _build(_mesh(dp, dp_rank=dp - 1), dtype, largest=10**6)
    elements = sum(parameter.numel() for parameter in model.parameters())
    assert optimizer.num_bytes / elements == pytest.approx(fixed + shared / dp, rel=0.02)
    held = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    assert held == {bucket.parameters.untyped_storage().data_ptr() for bucket in optimizer.buckets}


def test_master_weights_keep_what_bf16_rounds_away_and_small_updates_add_up() -> None:
    model, optimizer = _build(dtype="bf16", weight_decay=0.0)
    name = "model.layers.0.mlp.up_proj.weight"
    expected = _weights(rank_blocks(llama_config(TINY), ParallelConfig(), Coordinates(0, 0, 0))[name]).float()
    master, parameter = optimizer.shards()[name].data.view_as(expected), model.get_parameter(name)
    assert torch.equal(master, expected)
    assert torch.equal(parameter, expected.bfloat16())
    for _ in range(3):
        optimizer.begin(num_passes=1)
        _backward(model)
        optimizer.reduce_gradients()
        optimizer.step(lr=1e-7)
    moved = (optimizer.shards()[name].data.view_as(expected) - expected).abs()
    assert moved.median().item() == pytest.approx(3e-7, rel=0.2)
    assert (parameter != expected.bfloat16()).float().mean() < 0.05


def test_matrices_decay_and_vectors_do_not() -> None:
    model, optimizer = _build(weight_decay=0.5)
    before = {name: shard.data.clone() for name, shard in optimizer.shards().items()}
    optimizer.begin(num_passes=1)
    for parameter in model.parameters():
        (parameter * 0).sum().backward()
    optimizer.reduce_gradients()
    optimizer.step(lr=0.1)
    for name, shard in optimizer.shards().items():
        factor = 0.95 if len(shard.shape) == 2 else 1.0
        assert torch.allclose(shard.data, before[name] * factor), name

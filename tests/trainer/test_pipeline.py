"""A pipeline gives the losses and gradients of one process, to rounding in float64, and holds no more than it must."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributed.pipelining import Schedule1F1B, ScheduleInterleaved1F1B
from torch.distributed.pipelining.schedules import ScheduleInterleavedZeroBubble
from torch.multiprocessing.reductions import StorageWeakRef

from tests.trainer.ranks import TINY, run_ranks
from trainer.config import TrainConfig
from trainer.data import Batch
from trainer.llama_config import LlamaConfig, llama_config
from trainer.loss import NO_TARGET, LossSums
from trainer.mesh import Mesh
from trainer.model import Llama
from trainer.parallelize import build_chunks
from trainer.pipeline import Pipeline, _stage
from trainer.problems import problems
from trainer.sharding import EMBEDDING, HEAD, rank_blocks

EXACT = 1e-10
SEQ, MICRO = 16, 2


def shape_of(tied: bool, num_layers: int = 4) -> LlamaConfig:
    return llama_config(TINY | {"tie_word_embeddings": tied, "num_hidden_layers": num_layers})


def config_of(**parallel: Any) -> TrainConfig:
    return TrainConfig(seq_len=SEQ, micro_batch=MICRO, dtype="float64", loss_chunk=12, parallel=parallel)


def seeded_model(shape: LlamaConfig) -> Llama:
    generator = torch.Generator().manual_seed(3)
    model = Llama(shape, torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.08, generator=generator).add_(parameter.dim() == 1)
    return model


def make_batches(count: int, documents: bool) -> list[Batch]:
    """Random micro-batches, some with padding; with documents, another boundary in each."""
    generator = torch.Generator().manual_seed(count)
    batches = []
    for number in range(count):
        tokens = torch.randint(0, TINY["vocab_size"], (MICRO, SEQ + 1), generator=generator)
        targets = tokens[:, 1:].clone()
        targets[0, SEQ - number % 3 :] = NO_TARGET
        sources = torch.randint(0, 2, (MICRO,), generator=generator)
        starts = (torch.arange(SEQ) >= 3 + number).long().expand(MICRO, -1) if documents else None
        batches.append(Batch(tokens[:, :-1], targets, sources, starts))
    return batches


def expected(shape: LlamaConfig, count: int, documents: bool) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Loss sums per language, and gradients, of the plain model."""
    model, losses = seeded_model(shape), LossSums(["ja", "en"], torch.device("cpu"))
    for batch in make_batches(count, documents):
        logits = model(batch.inputs, batch.documents)
        token_losses = nn.functional.cross_entropy(logits.transpose(1, 2), batch.targets, reduction="none")
        (token_losses.sum() / 77).backward()
        losses.add(token_losses, batch.targets, batch.sources)
    return losses._sums.numpy(), {name: p.grad.numpy() for name, p in model.named_parameters()}


def build(mesh: Mesh, shape: LlamaConfig, config: TrainConfig) -> list[Llama]:
    """This rank's chunks, with its part of the seeded model's weights."""
    whole, blocks = dict(seeded_model(shape).named_parameters()), rank_blocks(shape, config.parallel, mesh.place)
    chunks = build_chunks(shape, config, mesh)
    with torch.no_grad():
        for chunk in chunks:
            for name, parameter in chunk.named_parameters():
                block = blocks[name]
                part = zip(block.offset, block.size, strict=True)
                parameter.copy_(whole[block.name][tuple(slice(at, at + length) for at, length in part)])
    return chunks


def run_steps(
    mesh: Mesh, shape: LlamaConfig, config: TrainConfig, counts: Sequence[int], documents: bool
) -> list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
    """For each number of micro-batches: loss sums of a step and of an evaluation, and the step's gradients."""
    chunks = build(mesh, shape, config)
    pipeline, found = Pipeline(shape, chunks, config, mesh), []
    for count in counts:
        losses, evaluated = (LossSums(["ja", "en"], mesh.device) for _ in range(2))
        for chunk in chunks:
            chunk.zero_grad()
        pipeline.train(make_batches(count, documents), 77, losses)
        with torch.no_grad():
            pipeline.evaluate(make_batches(count + 1, documents), evaluated)
        gradients = {name: p.grad.numpy().copy() for chunk in chunks for name, p in chunk.named_parameters()}
        found.append((losses._sums.numpy(), evaluated._sums.numpy(), gradients))
    return found


def together(ranks: Sequence[dict[str, np.ndarray]], tied: bool) -> dict[str, np.ndarray]:
    """The gradients of all stages; those of a tied matrix's two copies added."""
    total: dict[str, np.ndarray] = {}
    for gradients in ranks:
        for name, gradient in gradients.items():
            name = EMBEDDING if tied and name == HEAD else name
            total[name] = total[name] + gradient if name in total else gradient
    return total


@pytest.mark.parametrize(
    ("parallel", "tied", "documents"),
    [
        ({"pp": 2}, False, True),
        ({"pp": 4}, True, False),
        ({"pp": 2, "virtual_stages": 2}, True, True),
        pytest.param({"pp": 2}, True, False, marks=pytest.mark.slow),
        pytest.param({"pp": 4}, False, True, marks=pytest.mark.slow),
        pytest.param({"pp": 2, "virtual_stages": 3}, False, False, marks=pytest.mark.slow),
        pytest.param({"pp": 4, "layers_per_stage": [0, 2, 2, 0]}, True, True, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_losses_and_gradients_are_those_of_one_process(parallel: dict[str, Any], tied: bool, documents: bool) -> None:
    """With more micro-batches, fewer, and more again: a batch ramp must not mix the schedules up."""
    shape, config, counts = shape_of(tied), config_of(**parallel), (8, 4, 8)
    ranks = run_ranks(config.parallel, run_steps, shape, config, counts, documents)
    for step, count in enumerate(counts):
        sums, gradients = expected(shape, count, documents)
        evaluated, _ = expected(shape, count + 1, documents)
        found = together([rank[step][2] for rank in ranks], tied)
        assert found.keys() == gradients.keys()
        for name, gradient in gradients.items():
            assert np.linalg.norm(found[name] - gradient) <= EXACT * np.linalg.norm(gradient), name
        np.testing.assert_allclose(ranks[-1][step][0], sums, rtol=EXACT)
        np.testing.assert_allclose(ranks[-1][step][1], evaluated, rtol=EXACT)
        assert not any(rank[step][0].any() or rank[step][1].any() for rank in ranks[:-1]), "only the last stage knows"


@torch.no_grad()
def evaluate_each(mesh: Mesh, shape: LlamaConfig, config: TrainConfig, counts: Sequence[int]) -> list[np.ndarray]:
    pipeline, found = Pipeline(shape, build(mesh, shape, config), config, mesh), []
    for count in counts:
        losses = LossSums(["ja", "en"], mesh.device)
        pipeline.evaluate(make_batches(count, documents=False), losses)
        found.append(losses._sums.numpy())
    return found


@torch.no_grad()
def test_any_number_of_batches_can_be_evaluated() -> None:
    """Fewer than there are ranks, one more than a multiple of them, and more than go through at a time."""
    shape, config, counts = shape_of(tied=False), config_of(pp=2), (1, 3, 8, 9, 17)
    last = run_ranks(config.parallel, evaluate_each, shape, config, counts)[-1]
    for count, sums in zip(counts, last, strict=True):
        np.testing.assert_allclose(sums, expected_losses(shape, count), rtol=EXACT)


def expected_losses(shape: LlamaConfig, count: int) -> np.ndarray:
    model, losses = seeded_model(shape), LossSums(["ja", "en"], torch.device("cpu"))
    for batch in make_batches(count, documents=False):
        losses.add(model(batch.inputs, None, batch.targets), batch.targets, batch.sources)
    return losses._sums.numpy()


def count_held(mesh: Mesh, shape: LlamaConfig, config: TrainConfig, num_micro_batches: int) -> tuple[int, int, int]:
    """At most, while a step runs: hidden states received and not freed, gradients' buffers, micro-batches in flight."""
    pipeline = Pipeline(shape, build(mesh, shape, config), config, mesh)
    (stage,) = pipeline._stages
    received: list[StorageWeakRef] = []
    counts: list[tuple[int, int, int]] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not stage.is_first:
            received.append(StorageWeakRef(inputs[0].untyped_storage()))
        gradients = [info.buffer for infos in stage.grad_recv_info.values() for info in infos]
        buffers = sum(buffer is not None and not buffer.is_meta for buffer in gradients)
        counts.append((sum(not each.expired() for each in received), buffers, len(stage.fwd_cache) + 1))

    stage.submod.register_forward_pre_hook(look)
    pipeline.train(make_batches(num_micro_batches, documents=False), 77, LossSums(["ja", "en"], mesh.device))
    received_at_most, gradients_at_most, in_flight_at_most = (max(kind) for kind in zip(*counts, strict=True))
    return received_at_most, gradients_at_most, in_flight_at_most


def test_memory_is_bounded_by_the_stages_not_by_the_micro_batches() -> None:
    """torch's stage would hold what it receives for all 12 micro-batches, both ways.

    The last stage has one micro-batch at a time, and the one before it for as long as its gradient is on its way.
    """
    config = config_of(pp=2)
    first, last = run_ranks(config.parallel, count_held, shape_of(tied=False, num_layers=2), config, 12)
    assert first == (0, 0, 2)
    assert last[0] <= 2
    assert last[1:] == (0, 1)


def stage_metas(mesh: Mesh, shape: LlamaConfig, config: TrainConfig) -> list[tuple[int, ...]]:
    chunk = SimpleNamespace(stage=SimpleNamespace(index=1, num_stages=3, has_embedding=False, has_head=False))
    group = replace(mesh, pp_group=mesh.world_group, parallel=config.parallel)
    stage = _stage(chunk, shape, config, group)  # type: ignore[arg-type]
    return [tuple(meta.shape) for metas in (stage._user_meta.inputs, stage._user_meta.outputs) for meta in metas]


@pytest.mark.parametrize(("sequence_parallel", "seq"), [(True, SEQ // 2), (False, SEQ)])
def test_stages_exchange_a_part_of_the_sequence_where_it_is_split(sequence_parallel: bool, seq: int) -> None:
    config = config_of(tp=2, pp=3, sequence_parallel=sequence_parallel)
    expected_shape = (MICRO, seq, TINY["hidden_size"])
    assert run_ranks(2, stage_metas, shape_of(tied=False), config) == [[expected_shape] * 2] * 2


def count_hooks(mesh: Mesh, shape: LlamaConfig, config: TrainConfig, kind: type[Any]) -> set[int]:
    """How many gradients the hooks of the parameters were given in a step of four micro-batches."""
    chunks, calls = build(mesh, shape, config), {}
    for number, parameter in enumerate(p for chunk in chunks for p in chunk.parameters()):
        calls[number] = 0

        def count(_: Tensor, number: int = number) -> None:
            calls[number] += 1

        parameter.register_post_accumulate_grad_hook(count)
    tokens = torch.cat([batch.inputs for batch in make_batches(4, documents=False)])
    stages = [_stage(chunk, shape, config, mesh) for chunk in chunks]
    schedule = kind(stages, 4, loss_fn=lambda logits, _: logits.logsumexp(-1).sum(), scale_grads=False)
    schedule.step(*([tokens] if mesh.place.pp == 0 else []), target=tokens, return_outputs=False)
    return set(calls.values())


def test_zero_bubble_schedules_lose_gradients() -> None:
    """Why they are refused: the optimizer's hooks see none of most weights' gradients, and nothing fails.

    When this fails, torch has changed it and they can be offered.
    """
    shape, config = shape_of(tied=False), config_of(pp=2, virtual_stages=2)
    assert run_ranks(config.parallel, count_hooks, shape, config, ScheduleInterleaved1F1B) == [{4}, {4}]
    assert 0 in set.union(*run_ranks(config.parallel, count_hooks, shape, config, ScheduleInterleavedZeroBubble))


def test_asking_for_one_says_why_not() -> None:
    with pytest.raises(ValueError, match="Zero-bubble schedules are refused, because they write weight gradients past"):
        config_of(pp=2, schedule="zero_bubble")


@pytest.mark.parametrize("pp", [2, 3, 4])
@pytest.mark.parametrize("virtual_stages", [1, 2])
def test_what_a_schedule_refuses_is_found_before(pp: int, virtual_stages: int) -> None:
    """Numbers of micro-batches that torch's schedules do not take are problems, and no others."""
    stage: Any = SimpleNamespace(
        is_last=False, num_stages=pp * virtual_stages, group_size=pp, group_rank=0, stage_index=0, device="cpu"
    )
    for count in range(1, 20):
        config = config_of(pp=pp, virtual_stages=virtual_stages).model_copy(update={"global_batch": MICRO * count})
        found = [problem for problem in problems(config) if "micro-batches" in problem]
        try:
            if virtual_stages == 1:
                Schedule1F1B(stage, count)
            else:
                ScheduleInterleaved1F1B([stage] * virtual_stages, count)
        except ValueError:
            assert len(found) == 1
            assert f" {count} micro-batches" in found[0]
        else:
            assert not found, found

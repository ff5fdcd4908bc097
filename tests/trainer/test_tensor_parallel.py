"""Layers split over ranks compute what one process computes: losses, logits and every gradient, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.ranks import TINY, run_ranks, tiny_config
from trainer.config import ParallelConfig, TrainConfig
from trainer.layout import coordinates
from trainer.llama_config import LlamaConfig, llama_config
from trainer.loss import NO_TARGET, token_losses
from trainer.mesh import Mesh
from trainer.model import Llama
from trainer.parallelize import build_chunks
from trainer.sharding import Block, kv_copies, rank_blocks

SEED = 3

Result = tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]


def tiny_shape(**changes: Any) -> LlamaConfig:
    return llama_config(TINY | changes)


def weights_of(shape: LlamaConfig) -> dict[str, Tensor]:
    """Random float64 weights, large enough that attention is far from uniform."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.device("meta"):
        sizes = {name: parameter.shape for name, parameter in Llama(shape).named_parameters()}
    return {
        name: torch.randn(size, generator=generator, dtype=torch.float64) * 0.3 + (len(size) == 1)
        for name, size in sizes.items()
    }


def batch_of(shape: LlamaConfig, packed: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Tokens, targets, documents; when packed, of two documents and some padding."""
    tokens = torch.randint(0, shape.vocab_size, (2, 17), generator=torch.Generator().manual_seed(SEED))
    targets = tokens[:, 1:].clone()
    if not packed:
        return tokens[:, :-1], targets, None
    targets[1, -3:] = NO_TARGET
    return tokens[:, :-1], targets, (torch.arange(16) >= 5).long().expand(2, -1).contiguous()


def one_process(shape: LlamaConfig, packed: bool) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Logits, token losses and gradients of their sum, by the plain model and torch's cross entropy."""
    model = Llama(shape, torch.float64)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights_of(shape)[name])
    tokens, targets, documents = batch_of(shape, packed)
    logits = model(tokens, documents)
    losses = token_losses(logits, targets)
    losses.sum().backward()
    return (
        logits.detach(),
        losses.detach(),
        {name: p.grad for name, p in model.named_parameters() if p.grad is not None},
    )


def load(chunk: Llama, blocks: dict[str, Block], weights: dict[str, Tensor]) -> None:
    """This rank's parts of the weights; rows that are padding stay 0."""
    with torch.no_grad():
        for name, parameter in chunk.named_parameters():
            block = blocks[name]
            part = cut(weights[block.name], block)
            parameter[: len(part)].copy_(part)


def cut(whole: Tensor, block: Block) -> Tensor:
    for dim, (begin, size) in enumerate(zip(block.offset, block.size, strict=True)):
        whole = whole.narrow(dim, begin, size)
    return whole


def on_ranks(mesh: Mesh, shape: LlamaConfig, config: TrainConfig, packed: bool) -> Result:
    """A rank's logits, its token losses and its gradients."""
    (chunk,) = build_chunks(shape, config, mesh)
    load(chunk, rank_blocks(shape, config.parallel, mesh.place), weights_of(shape))
    tokens, targets, documents = batch_of(shape, packed)
    with torch.no_grad():
        logits = chunk(tokens, documents)
    losses = chunk(tokens, documents, targets)
    losses.sum().backward()
    gradients = {}
    for name, parameter in chunk.named_parameters():
        assert parameter.grad is not None, name
        gradients[name] = parameter.grad.numpy()
    return logits.numpy(), losses.detach().numpy(), gradients


def assert_equal(results: list[Result], shape: LlamaConfig, parallel: ParallelConfig, packed: bool) -> None:
    logits, losses, gradients = one_process(shape, packed)
    assert distance(np.concatenate([own for own, _, _ in results], axis=-1), logits) < 1e-12
    copies = kv_copies(shape.num_kv_heads, parallel.tp)
    for rank, (_, own_losses, _) in enumerate(results):
        assert distance(own_losses, losses) < 1e-12
        first = rank - rank % copies
        groups = {"none": [rank], "tp": range(parallel.tp), "kv_copies": range(first, first + copies)}
        for name, block in rank_blocks(shape, parallel, coordinates(rank, parallel)).items():
            gradient = np.sum([results[other][2][name] for other in groups[block.summed_over]], axis=0)
            expected = cut(gradients[block.name], block)
            assert not gradient[len(expected) :].any(), f"{name}: padding has a gradient"
            assert distance(gradient[: len(expected)], expected) < 1e-10, (name, rank)


def distance(found: np.ndarray, expected: Tensor) -> float:
    """Relative L2."""
    return float(np.linalg.norm(found - expected.numpy()) / max(expected.norm().item(), 1e-30))


@pytest.mark.parametrize(
    ("tp", "sequence_parallel", "changes", "packed"),
    [
        (2, True, {}, True),
        (2, False, {"vocab_size": 97, "num_key_value_heads": 1}, True),
        (4, True, {"vocab_size": 97, "tie_word_embeddings": False}, False),
        (4, False, {"num_key_value_heads": 4, "vocab_size": 99}, False),
        (4, True, {"num_key_value_heads": 1, "vocab_size": 5}, True),  # the last rank has padding only
    ],
)
def test_the_model_over_ranks_is_the_model(
    tp: int, sequence_parallel: bool, changes: dict[str, Any], packed: bool
) -> None:
    shape, parallel = tiny_shape(**changes), ParallelConfig(tp=tp, sequence_parallel=sequence_parallel)
    config = tiny_config(parallel=parallel, dtype="float64", loss_chunk=7)
    results = run_ranks(parallel, on_ranks, shape, config, packed, kv_copies=kv_copies(shape.num_kv_heads, tp))
    assert_equal(results, shape, parallel, packed)

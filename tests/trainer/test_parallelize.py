"""A rank gets its stages of the model, with the parameters that its blocks name, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch._dynamo.utils
from torch import Tensor

from tests.trainer.ranks import TINY, run_ranks, tiny_config
from trainer.config import ParallelConfig
from trainer.layout import coordinates
from trainer.llama_config import LlamaConfig, llama_config
from trainer.loss import token_losses
from trainer.mesh import Mesh
from trainer.model import Llama
from trainer.parallelize import build_chunks
from trainer.sharding import rank_blocks

CPU = torch.device("cpu")


def rank_chunks(shape: LlamaConfig, parallel: ParallelConfig, rank: int, **changes: Any) -> list[Llama]:
    """A rank's chunks, without any process group."""
    mesh = Mesh(parallel, rank, coordinates(rank, parallel), CPU)
    return build_chunks(shape, tiny_config(parallel=parallel, **changes), mesh)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("parallel", [ParallelConfig(pp=3), ParallelConfig(pp=2, virtual_stages=2)], ids=str)
def test_stages_one_after_another_are_the_model(parallel: ParallelConfig, tied: bool) -> None:
    shape = llama_config(TINY | {"tie_word_embeddings": tied, "num_hidden_layers": 5})
    generator = torch.Generator().manual_seed(0)
    whole = Llama(shape, torch.float64)
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.2)
    weights = dict(whole.named_parameters())
    chunks = [c for rank in range(parallel.pp) for c in rank_chunks(shape, parallel, rank, dtype="float64")]
    for rank in range(parallel.pp):
        blocks = rank_blocks(shape, parallel, coordinates(rank, parallel))
        own = [chunk for chunk in chunks if chunk.stage.pp_rank == rank]
        assert {name for chunk in own for name, _ in chunk.named_parameters()} == blocks.keys()
        for chunk in own:
            for name, parameter in chunk.named_parameters():
                assert not parameter.any(), "storage begins as zeros"
                with torch.no_grad():
                    parameter.copy_(weights[blocks[name].name])
    chunks.sort(key=lambda chunk: chunk.stage.index)
    tokens = torch.randint(0, 96, (2, 13), generator=generator)
    documents = (torch.arange(12) > 6).long().expand(2, -1).contiguous()
    x: Tensor = tokens[:, :-1]
    for chunk in chunks:
        assert chunk.stage.num_stages == len(chunks)
        x = chunk(x, documents, tokens[:, 1:])
    expected = token_losses(whole(tokens[:, :-1], documents), tokens[:, 1:])
    assert (x - expected).abs().max() < 1e-12
    x.sum().backward()
    expected.sum().backward()
    gradients: dict[str, Tensor] = {}  # by the name in checkpoints, the two copies of a tied matrix summed
    for chunk in chunks:
        blocks = rank_blocks(shape, parallel, coordinates(chunk.stage.pp_rank, parallel))
        for name, parameter in chunk.named_parameters():
            assert parameter.grad is not None
            gradients[blocks[name].name] = gradients.get(blocks[name].name, 0) + parameter.grad
    for name, parameter in weights.items():
        assert parameter.grad is not None
        assert (gradients[name] - parameter.grad).norm() < 1e-12 * parameter.grad.norm(), name


@pytest.mark.parametrize(
    ("changes", "dtype"),
    [
        ({"dtype": "bf16"}, torch.bfloat16),
        ({"dtype": "float64"}, torch.float64),
        ({"dtype": "bf16", "parallel": ParallelConfig(data_parallel="fsdp")}, torch.float32),
    ],
)
def test_parameters_are_in_the_format_that_the_optimizer_expects(changes: dict[str, Any], dtype: torch.dtype) -> None:
    parallel = changes.pop("parallel", ParallelConfig())
    (chunk,) = rank_chunks(llama_config(TINY), parallel, 0, **changes)
    assert {parameter.dtype for parameter in chunk.parameters()} == {dtype}
    assert chunk.dtype == (torch.bfloat16 if changes["dtype"] == "bf16" else dtype)
    assert chunk.lm_head is not None
    assert chunk.model.embed_tokens is not None
    assert chunk.lm_head.weight is chunk.model.embed_tokens.weight, "tied"


def _losses_and_gradients(mesh: Mesh, recompute: str, compiled: bool) -> list[list[float]]:
    config = tiny_config(parallel=mesh.parallel, recompute=recompute, compile=compiled)
    (chunk,) = build_chunks(llama_config(TINY), config, mesh)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in chunk.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    tokens = torch.randint(0, 96, (2, 17), generator=generator)
    losses = chunk(tokens[:, :-1], None, tokens[:, 1:])
    losses.sum().backward()
    frames = torch._dynamo.utils.counters["frames"]["ok"]
    assert (frames > 0) == compiled, "nothing was compiled" if compiled else "compiled where it was not asked for"
    gradients = [parameter.grad for parameter in chunk.parameters() if parameter.grad is not None]
    assert len(gradients) == len(list(chunk.parameters()))
    return [losses.flatten().tolist(), *(gradient.flatten().tolist() for gradient in gradients)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parallel", "recompute"),
    [
        (ParallelConfig(), "none"),
        (ParallelConfig(), "full"),
        (ParallelConfig(tp=2), "selective"),
        (ParallelConfig(tp=2), "full"),
    ],
)
def test_compiled_layers_compute_the_same(parallel: ParallelConfig, recompute: str) -> None:
    expected = run_ranks(parallel, _losses_and_gradients, recompute, False)
    compiled = run_ranks(parallel, _losses_and_gradients, recompute, True)
    for rank, own in enumerate(compiled):
        for found, exact in zip(own, expected[rank], strict=True):
            torch.testing.assert_close(torch.tensor(found), torch.tensor(exact), rtol=2e-5, atol=2e-5)

"""What is computed again in backward is not kept, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

import trainer.precision
from tests.trainer.ranks import TINY, run_ranks, tiny_config
from trainer.config import ParallelConfig
from trainer.layout import coordinates
from trainer.llama_config import llama_config
from trainer.mesh import Mesh
from trainer.model import Llama
from trainer.parallelize import build_chunks

SHAPE = llama_config(TINY | {"num_hidden_layers": 3})
TOKENS = torch.randint(0, 96, (2, 65), generator=torch.Generator().manual_seed(0))


def chunk_on(mesh: Mesh, recompute: str, dtype: str) -> Llama:
    config = tiny_config(parallel=mesh.parallel, recompute=recompute, dtype=dtype)
    (chunk,) = build_chunks(SHAPE, config, mesh)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in chunk.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return chunk


def alone() -> Mesh:
    parallel = ParallelConfig()
    return Mesh(parallel, 0, coordinates(0, parallel), torch.device("cpu"))


class _Kept(TorchDispatchMode):
    """Remembers every storage that an operation made, but for those that were there before."""

    def __init__(self, *before: Tensor) -> None:
        super().__init__()
        self.storages: dict[StorageWeakRef, int] = {}
        self.before = {tensor.untyped_storage().data_ptr() for tensor in before}

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = op(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple) else (out,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in self.before:
                self.storages[StorageWeakRef(tensor.untyped_storage())] = tensor.untyped_storage().nbytes()
        return out

    def num_bytes(self) -> int:
        return sum(size for storage, size in self.storages.items() if not storage.expired())


def kept_bytes(recompute: str, dtype: str) -> float:
    """Bytes that a layer's forward leaves behind for backward."""
    chunk = chunk_on(alone(), recompute, dtype)
    layer, cos = chunk.model.layers["1"], torch.ones(64, SHAPE.head_dim, dtype=chunk.dtype)
    x = torch.randn(2, 64, SHAPE.hidden_size).to(chunk.dtype).requires_grad_()
    with _Kept(x, cos, *layer.parameters()) as kept:
        y = layer(x, cos, cos)
    return kept.num_bytes() + x.nbytes - y.nbytes


def test_a_layer_keeps_what_it_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes a token in fp32: 4h(6 + 2g/a + 3f/h) without recomputation, 4h of a whole layer."""
    tokens, h, f, kv = 2 * 64, SHAPE.hidden_size, SHAPE.intermediate_size, SHAPE.num_kv_heads * SHAPE.head_dim
    small = tokens * 4 * (2 + SHAPE.num_heads)  # a scale a norm, a normaliser a head
    everything = tokens * 4 * (6 * h + 2 * kv + 3 * f)
    assert kept_bytes("none", "fp32") == everything + small
    assert kept_bytes("selective", "fp32") == everything + tokens * 4 * 2
    assert kept_bytes("full", "fp32") == tokens * 4 * h
    # Where bf16 products are made in fp32, attention's inputs and output are kept in fp32 too.
    monkeypatch.setattr(trainer.precision, "computes_bf16", lambda device: False)
    assert kept_bytes("none", "bf16") - kept_bytes("selective", "bf16") >= tokens * 2 * (2 * h + 2 * kv)


def gradients_on(mesh: Mesh, recompute: str) -> list[list[float]]:
    chunk = chunk_on(mesh, recompute, "float64")
    documents = (torch.arange(64) > 20).long().expand(2, -1).contiguous()
    chunk(TOKENS[:, :-1], documents, TOKENS[:, 1:]).sum().backward()
    return [parameter.grad.flatten().tolist() for parameter in chunk.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("parallel", [ParallelConfig(), ParallelConfig(tp=2)], ids=["one", "tp2"])
def test_gradients_are_the_same_bits(parallel: ParallelConfig) -> None:
    kept = run_ranks(parallel, gradients_on, "none")
    assert len(kept[0]) == len(list(Llama(SHAPE).parameters()))
    for recompute in ("selective", "full"):
        assert run_ranks(parallel, gradients_on, recompute) == kept

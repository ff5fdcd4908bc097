"""Predicted bytes are those of the buffers that training allocates; published models have the published formulas'."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch

from tests.trainer.ranks import TINY, run_ranks, tiny_config
from trainer.config import ParallelConfig, TrainConfig
from trainer.llama_config import LlamaConfig, llama_config
from trainer.memory import in_flight, largest_memory, layer_activations, predicted_memory
from trainer.mesh import Mesh
from trainer.model import Layer, rope_frequencies, rope_tables
from trainer.optimizer import build_optimizer
from trainer.parallelize import build_chunks
from trainer.precision import compute_dtype
from trainer.sharding import rank_blocks

SHAPE = llama_config(TINY | {"hidden_size": 128, "intermediate_size": 256, "vocab_size": 512, "num_hidden_layers": 4})
SWALLOW_7B = LlamaConfig(43176, 4096, 11008, 32, 32, 32, 128, 4096, 1e-5, 1e4, None, False)
SWALLOW_70B = LlamaConfig(43176, 8192, 28672, 80, 64, 8, 128, 4096, 1e-5, 1e4, None, False)


def held_bytes() -> int:
    """Of all tensors that exist in this process, memory that several share counted once."""
    gc.collect()
    tensors = [found for found in gc.get_objects() if type(found) in (torch.Tensor, torch.nn.Parameter)]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def allocated(mesh: Mesh, config: TrainConfig) -> int:
    before = held_bytes()
    chunks = build_chunks(SHAPE, config, mesh)
    optimizer = build_optimizer(chunks, rank_blocks(SHAPE, mesh.parallel, mesh.place), config, mesh)
    optimizer.begin(1)
    return held_bytes() - before


@pytest.mark.parametrize(
    ("dtype", "parallel", "per_parameter"),
    [
        ("bf16", {"dp": 1}, 18),
        ("fp32", {"dp": 2, "tp": 2}, 8 + 8 / 2),
        ("bf16", {"dp": 2, "pp": 2}, 6 + 12 / 2),
    ],
)
def test_the_distributed_optimizer_holds_what_is_predicted(
    dtype: str, parallel: dict[str, Any], per_parameter: float
) -> None:
    config = tiny_config(dtype=dtype, parallel=parallel)
    for rank, held in enumerate(run_ranks(config.parallel, allocated, config)):
        pp_rank = rank * config.parallel.pp // config.parallel.world_size
        predicted = predicted_memory(SHAPE, config, pp_rank)
        state = predicted.parameters + predicted.gradients + predicted.optimizer
        assert held == pytest.approx(state, rel=0.02)  # alignment, RoPE frequencies
        numel = predicted.parameters / (2 if dtype == "bf16" else 4)
        assert state / numel == pytest.approx(per_parameter, rel=1e-3)


def test_fsdp_holds_its_part_of_weights_and_moments_between_steps() -> None:
    config = tiny_config(parallel={"dp": 2, "data_parallel": "fsdp"})
    held = run_ranks(config.parallel, allocated, config)[0]
    predicted = predicted_memory(SHAPE, config)
    assert held == pytest.approx(4 * SHAPE.num_parameters / 2 + predicted.optimizer, rel=0.02)
    assert predicted.parameters > 4 * SHAPE.num_parameters / 2


@pytest.mark.parametrize("dtype", ["fp32", "float64"])
def test_a_layer_keeps_what_is_predicted(dtype: str) -> None:
    """Counted by torch's hooks on what autograd saves; bf16 is no different on hardware that multiplies it."""
    wide, seq, batch = compute_dtype(dtype), 48, 2
    layer = Layer(SHAPE, wide)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    cos, sin = rope_tables(rope_frequencies(SHAPE), seq, wide)
    constants = {tensor.untyped_storage().data_ptr() for tensor in (*layer.parameters(), cos, sin)}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    x = torch.randn(batch, seq, SHAPE.hidden_size, dtype=wide, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(x, cos, sin)
    counted = sum(tensor.untyped_storage().nbytes() for at, tensor in kept.items() if at not in constants)
    config = tiny_config(dtype=dtype, seq_len=seq, micro_batch=batch)
    assert counted == pytest.approx(layer_activations(SHAPE, config), rel=0.02)  # and sums of squares


@pytest.mark.parametrize(("shape", "coefficient"), [(SWALLOW_7B, 32.1), (SWALLOW_70B, 33.5)])
def test_published_coefficients_of_a_dropout_free_layer(shape: LlamaConfig, coefficient: float) -> None:
    config = TrainConfig(dtype="bf16", seq_len=4096, micro_batch=1)
    assert layer_activations(shape, config) / (4096 * shape.hidden_size) == pytest.approx(coefficient, abs=0.05)
    split = config.model_copy(update={"parallel": ParallelConfig(tp=8)})
    assert layer_activations(shape, split) * 8 == layer_activations(shape, config)
    whole = config.model_copy(update={"parallel": ParallelConfig(tp=8, sequence_parallel=False)})
    added = layer_activations(shape, whole) - layer_activations(shape, split)
    assert added == 8 * 4096 * shape.hidden_size * 7 // 8, "norms and residuals lie whole on every rank"


def test_micro_batches_that_are_under_way() -> None:
    """The first rank of a pipeline holds about all layers; interleaved (1 + (p - 1) / pv) of them."""
    one, two = ({"pp": 4, "virtual_stages": v} for v in (1, 2))
    plain, interleaved = (TrainConfig(parallel=ParallelConfig(**layout)) for layout in (one, two))
    assert [in_flight(plain, rank, 16) for rank in range(4)] == [4, 3, 2, 1]
    assert in_flight(plain, 0, 2) == 2
    assert in_flight(interleaved, 0, 16) == 4 * (1 + 3 / (4 * 2))


def test_swallows_layouts_fit_the_gpus_they_ran_on() -> None:
    """7B on 32 A100 of 40 GB as TP 2, PP 2, DP 8; without any split it would not."""
    split = TrainConfig(parallel=ParallelConfig(tp=2, pp=2, dp=8), recompute="selective")
    assert largest_memory(SWALLOW_7B, split).total < 40e9
    assert largest_memory(SWALLOW_7B, TrainConfig()).total > 100e9
    seventy = TrainConfig(parallel=ParallelConfig(tp=8, pp=8, dp=4), recompute="selective")
    assert largest_memory(SWALLOW_70B, seventy).total < 40e9


def test_full_recomputation_keeps_inputs_and_one_layer() -> None:
    kept = TrainConfig(seq_len=4096, recompute="none")
    again = kept.model_copy(update={"recompute": "full"})
    all_layers, inputs = (predicted_memory(SWALLOW_7B, c).activations for c in (kept, again))
    layer = layer_activations(SWALLOW_7B, kept)
    assert all_layers == 32 * layer
    assert inputs == 32 * 2 * 4096 * 4096 + layer

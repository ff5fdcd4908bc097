"""From a model's shape to this rank's stages of it, ready to take weights: every transformation, in order.

In: the shape, the configuration, the mesh. Out: one `Llama` for each of this rank's pipeline stages. A chunk is built
whole on the meta device, where it takes no memory; only what is left of it gets storage, all zeros. The distributed
optimizer and FSDP2 come after this (`trainer.optimizer`).

    chunks = build_chunks(shape, config, mesh)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from trainer.config import TrainConfig
from trainer.llama_config import LlamaConfig
from trainer.mesh import Mesh
from trainer.model import Llama, rope_frequencies
from trainer.precision import at_least_fp32, compute_dtype
from trainer.recompute import recompute_in_backward
from trainer.sharding import Block, stage_blocks
from trainer.stages import Stage, split_stages
from trainer.tensor_parallel import shard_layers


def build_chunks(shape: LlamaConfig, config: TrainConfig, mesh: Mesh) -> list[Llama]:
    """This rank's stages, in the model's order."""
    stages = split_stages(shape, mesh.parallel)
    return [_build_chunk(shape, config, mesh, stage) for stage in stages if stage.pp_rank == mesh.place.pp]


def _build_chunk(shape: LlamaConfig, config: TrainConfig, mesh: Mesh, stage: Stage) -> Llama:
    dtype = compute_dtype(config.dtype)
    blocks = stage_blocks(shape, mesh.parallel, mesh.place, stage)
    with torch.device("meta"):
        chunk = Llama(shape, dtype)
    cut_to_stage(chunk, stage)
    if chunk.lm_head is not None:
        chunk.lm_head.loss_chunk = config.loss_chunk
    shard_layers(chunk, blocks, mesh)
    if mesh.device.type == "cuda" if config.compile is None else config.compile:
        compile_layers(chunk)
    recompute_in_backward(chunk, config.recompute)
    # FSDP2 keeps the master weights in the parameters themselves and casts what it gathers.
    in_parameters = at_least_fp32(dtype) if config.parallel.data_parallel == "fsdp" else dtype
    materialize(chunk, blocks, in_parameters, mesh.device)
    return chunk


def cut_to_stage(chunk: Llama, stage: Stage) -> None:
    """Delete what other stages hold."""
    chunk.stage = stage
    for number in range(chunk.config.num_layers):
        if number not in stage.layers:
            del chunk.model.layers[str(number)]
    if not stage.has_embedding:
        chunk.model.embed_tokens = None
    if not stage.has_head:
        chunk.model.norm = chunk.lm_head = None


def compile_layers(chunk: Llama) -> None:
    """Compile each layer's forward by itself: layers are alike, so one is compiled and the others use its code.

    Hooks of a layer stay outside: they wait for communication, which a compiled graph cannot hold. For the same reason
    projections over several ranks run as they are, and what lies between them is compiled. So does recomputation of
    whole layers, which is put on afterwards; that of attention's core is part of the graph.
    """
    for layer in chunk.model.present_layers():
        layer.forward = torch.compile(layer.forward)  # type: ignore[method-assign]


def materialize(chunk: Llama, blocks: Mapping[str, Block], dtype: torch.dtype, device: torch.device) -> None:
    """Give parameters their storage: zeros of this rank's part of each. A tied matrix stays one parameter."""
    parameters = {
        name: nn.Parameter(torch.zeros(blocks[name].local, dtype=dtype, device=device))
        for name, _ in chunk.named_parameters()
    }
    names = {id(parameter): name for name, parameter in chunk.named_parameters()}
    for module in chunk.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, parameters[names[id(parameter)]])
    chunk.rope_frequencies = rope_frequencies(chunk.config).to(device)

"""Final hidden states of a model on a few texts, one decoder layer in memory at a time.

In: a Hugging Face folder with safetensors weights, and texts as token ids. Out: for every position the vector that the
output head multiplies, and the logarithm of the softmax's denominator over the base vocabulary. The layers are
transformers' own, made without memory (on the meta device) and filled one after the other from the files, so that the
architecture may be any that transformers holds as `model.embed_tokens`, `model.layers`, `model.norm`. Computed in
float32, on CUDA where there is a device, else on the CPU.

Memory: the largest of a decoder layer in float32 and a block of head rows, plus about 12 bytes x tokens x hidden size
(Llama 2 70B: 3.4 GB for a layer). Time: 2 x parameters operations a token: 4,096 tokens take SmolLM2-135M 20 s on one
core of 60 GFLOPS, and would take Llama 2 7B 15 minutes; on a GPU the reading of the files takes longest.

    states = final_hidden_states(folder, files, sequences)
    partition = log_partition(states, rows, "BF16", num_rows=49_152)
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from tokenizer.base_model import source_of
from tokenizer.random_model import EMBEDDING
from tokenizer.safetensors_stream import MatrixRows, SafetensorsFile, to_float32

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 4096
_POSITIONS_AT_ONCE = 1024


@torch.no_grad()
def final_hidden_states(
    folder: Path, files: Mapping[str, SafetensorsFile], sequences: Sequence[Sequence[int]]
) -> np.ndarray:
    """The normed hidden states of all positions, float32 `(positions, hidden)`, sequence after sequence.

    Args:
        files: the folder's weight files.
        sequences: token ids; each attends to itself alone.

    Raises:
        ValueError: transformers has no such architecture, or lays its layers out otherwise, or a weight is missing.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = {tensor.name: source.path for source in files.values() for tensor in source.tensors}
    body, rotary = _empty_body(folder)
    rotary = rotary.to(device)
    states = [_embedded(files, ids).to(device) for ids in sequences]
    for number, layer in enumerate(body.layers):
        _fill(layer, where, f"model.layers.{number}.", device)
        for index, state in enumerate(states):
            positions = torch.arange(state.shape[1], device=device).unsqueeze(0)
            out = layer(state, position_embeddings=rotary(state, positions), position_ids=positions)
            states[index] = out[0] if isinstance(out, tuple) else out
        layer.to("meta")
        logger.debug("layer %d of %d", number + 1, len(body.layers))
    _fill(body.norm, where, "model.norm.", device)
    return torch.cat([body.norm(state)[0] for state in states]).cpu().numpy()


def log_partition(states: np.ndarray, rows: MatrixRows, dtype: str, *, num_rows: int) -> np.ndarray:
    """log of the sum over the first `num_rows` ids of exp(logit), float32 `(positions,)`; head rows in blocks.

    Args:
        states: float32 `(positions, hidden)`.
        rows: the output head's, of safetensors dtype `dtype`.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    hidden = torch.from_numpy(states).to(device)
    total = torch.full((len(states),), -torch.inf, device=device)
    for start in range(0, num_rows, _ROWS_AT_ONCE):
        block = torch.from_numpy(to_float32(rows[start : min(start + _ROWS_AT_ONCE, num_rows)], dtype)).to(device)
        for first in range(0, len(states), _POSITIONS_AT_ONCE):
            part = slice(first, first + _POSITIONS_AT_ONCE)
            total[part] = torch.logaddexp(total[part], (hidden[part] @ block.T).logsumexp(-1))
    return total.cpu().numpy()


def _empty_body(folder: Path) -> tuple[Any, nn.Module]:
    """The model below its head without weights, and its rotary embedding, which is computed, not stored."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa")
    body: Any = getattr(model, "model", None)
    parts = ("embed_tokens", "layers", "norm", "rotary_emb")
    missing = [name for name in parts if getattr(body, name, None) is None]
    if missing:
        raise ValueError(
            f"{folder} is a {config.model_type}, which has no model.{missing[0]}: expected a Llama-like model; choose "
            "an initialisation that needs no calibration (initialize.output_shift: none)"
        )
    return body.eval(), type(body.rotary_emb)(config)


def _embedded(files: Mapping[str, SafetensorsFile], ids: Sequence[int]) -> Tensor:
    source = source_of(files, EMBEDDING)
    rows = to_float32(source.rows(EMBEDDING)[np.asarray(ids)], source[EMBEDDING].dtype)
    return torch.from_numpy(rows).unsqueeze(0)


def _fill(module: nn.Module, where: Mapping[str, Path], prefix: str, device: torch.device) -> None:
    """Give a module on the meta device its weights."""
    names = [prefix + name for name in module.state_dict()]
    if absent := [name for name in names if name not in where]:
        raise ValueError(f"the base model has no tensor {absent[0]}, which its config.json calls for")
    weights: dict[str, Tensor] = {}
    for path in sorted({where[name] for name in names}):
        with safe_open(path, "pt") as opened:
            inside = (name for name in names if where[name] == path)
            weights |= {name.removeprefix(prefix): _wide(opened.get_tensor(name), device) for name in inside}
    module.load_state_dict(weights, assign=True)


def _wide(weight: Tensor, device: torch.device) -> Tensor:
    if not weight.is_floating_point():
        raise ValueError(f"the base model has weights of {weight.dtype}; quantised models must be dequantised")
    return weight.to(device).float()

"""A checkpoint of Megatron-LM becomes a Hugging Face folder.

In: a folder in Megatron's format `torch` (see `trainer.megatron_export`), Megatron-LM's own too, of any tensor- and
pipeline-parallel size, split evenly or not, interleaved or not; and a Hugging Face folder of the same shape, from which
config.json, the true vocabulary and the tokenizer come, as Megatron's files hold them in part only. Out: safetensors in
the files' dtype, one shard in memory at a time; the files are memory-mapped, optimizer states stay in them unread.

torch.load builds nothing but tensors, plain values and the few classes in `_ALLOWED`: a checkpoint cannot run code.

    read_megatron(Path("megatron"), model=Path("model"), out=Path("back"))
"""

from __future__ import annotations

import json
import math
import pickle
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PosixPath
from signal import Signals
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.hf import copy_other_files, parameter_shapes, stream_weights
from trainer.llama_config import LlamaConfig, llama_config, read_config_json
from trainer.megatron import FILE, TRACKER, MegatronLayout, arguments, rank_folder, rank_parameters
from trainer.sharding import NORM, Block
from trainer.stages import Stage

_EMBEDDING = "embedding.word_embeddings.weight"
_LAYER = re.compile(r"decoder\.layers\.(\d+)\.")
_RANK = re.compile(r"mp_rank_(\d{2,})(?:_(\d{3,}))?")
# With another value in a checkpoint's arguments, the model is no Llama of the shape that config.json says.
_CHECKED = (
    *("num_layers", "hidden_size", "ffn_hidden_size", "kv_channels", "vocab_size"),
    *("num_attention_heads", "group_query_attention", "num_query_groups", "add_bias_linear", "add_qkv_bias"),
    *("position_embedding_type", "rotary_base", "rotary_percent", "rotary_interleaved", "use_rope_scaling"),
    "rotary_seq_len_interpolation_factor",
    *("normalization", "norm_epsilon", "layernorm_epsilon", "apply_layernorm_1p", "layernorm_zero_centered_gamma"),
    *("swiglu", "num_experts", "untie_embeddings_and_output_weights"),
)


class _Opaque:
    """Stands for a class of Megatron's in pickled arguments; nothing reads it."""

    def __init__(self, *_: Any) -> None: ...


_rebuild_array = np.zeros(0).__reduce__()[0]  # numpy names its module differently in each version
# Beside tensors and plain values, what Megatron-LM puts into a checkpoint's arguments and random states.
_ALLOWED: list[Any] = [
    Namespace,
    SimpleNamespace,
    PosixPath,
    Signals,
    np.ndarray,
    np.dtype,
    type(np.dtype(np.uint32)),
    (_rebuild_array, "numpy._core.multiarray._reconstruct"),
    (_rebuild_array, "numpy.core.multiarray._reconstruct"),
    (_Opaque, "megatron.core.enums.ModelType"),
    (_Opaque, "megatron.core.transformer.enums.AttnBackend"),
    (_Opaque, "megatron.core.transformer.enums.CudaGraphModule"),
    (_Opaque, "megatron.core.transformer.enums.CudaGraphScope"),
    (_Opaque, "megatron.core.transformer.enums.InferenceCudaGraphScope"),
    (_Opaque, "megatron.core.rerun_state_machine.RerunDiagnostic"),
    (_Opaque, "megatron.core.rerun_state_machine.RerunMode"),
    (_Opaque, "megatron.core.rerun_state_machine.RerunState"),
]


@dataclass(frozen=True)
class _Loaded:
    """A pipeline stage as its files hold it.

    Attributes:
        args: Megatron's arguments at the time of saving.
        states: of each tensor-parallel rank, parameter name -> tensor.
    """

    stage: Stage
    args: Namespace
    states: list[dict[str, Tensor]]


@dataclass(frozen=True)
class _Part:
    """A rectangle of a Hugging Face tensor, and the rows that hold it in a rank's file."""

    block: Block
    rows: Tensor


def read_megatron(folder: Path, model: Path, out: Path, step: int | None = None) -> list[str]:
    """Write an iteration of a Megatron checkpoint folder as a Hugging Face folder; the names of its files.

    Args:
        model: a Hugging Face folder of the same shape; its config.json and tokenizer files are copied.
        step: the iteration; none given: the newest.

    Raises:
        ValueError: a file is missing, holds what is not allowed, or does not fit `model`'s config.json (all reasons).
    """
    fields = read_config_json(model)
    parts = _parts(llama_config(fields), _open(_iteration_folder(folder, step)), model)
    dtype = parts[NORM][0].rows.dtype
    sizes = {name: math.prod(found[0].block.shape) * found[0].rows.itemsize for name, found in parts.items()}
    files = copy_other_files(model, out)
    files += stream_weights(out, ((name, _join(parts[name])) for name in sorted(parts)), sizes)
    named = str(dtype).removeprefix("torch.")
    config = {**fields, "dtype": named} | ({"torch_dtype": named} if "torch_dtype" in fields else {})
    (out / "config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True) + "\n", "utf-8")
    return sorted([*files, "config.json"])


def _join(parts: Sequence[_Part]) -> Tensor:
    """A Hugging Face tensor of its parts."""
    tensor = parts[0].rows.new_empty(parts[0].block.shape)
    for part in parts:
        where = zip(part.block.offset, part.block.size, strict=True)
        tensor[tuple(slice(first, first + size) for first, size in where)] = part.rows
    return tensor


def _iteration_folder(folder: Path, step: int | None) -> Path:
    tracker = folder / TRACKER
    if step is None and not tracker.is_file():
        raise ValueError(f"{folder} is no Megatron checkpoint folder: it has no {TRACKER}; name an iteration")
    named = f"{step}" if step is not None else tracker.read_text(encoding="utf-8").strip()
    found = folder / (named if named == "release" else f"iter_{int(named):07}")
    if not any(_RANK.fullmatch(path.name) for path in found.glob("mp_rank_*")):
        raise ValueError(
            f"{found} has no mp_rank_* folders; only Megatron's format torch is read: save with --ckpt-format "
            f"torch, or convert with --ckpt-convert-format torch"
        )
    return found


def _open(folder: Path) -> list[_Loaded]:
    """The stages of an iteration in the model's order, their tensors left in the files until they are read."""
    files: dict[tuple[int, int], dict[str, Any]] = {}
    for path in sorted(folder.glob("mp_rank_*")):
        if not (rank := _RANK.fullmatch(path.name)):
            raise ValueError(f"{path} is not of a dense model's rank; expert parallelism is not read")
        files[int(rank[1]), int(rank[2] or 0)] = read_rank(path / FILE)
    tp, pp = (1 + max(numbers) for numbers in zip(*files, strict=True))
    if missing := [rank_folder(t, p, pp) for t in range(tp) for p in range(pp) if (t, p) not in files]:
        raise ValueError(f"{folder} is not whole: {', '.join(missing)} of tp {tp} x pp {pp} missing; copy all of it")
    # Interleaved, a rank holds model0, model1...: stage s lies on rank s mod pp.
    chunks = sorted(
        (name for name in files[0, 0] if re.fullmatch(r"model\d*", name)), key=lambda name: int(name[5:] or 0)
    )
    loaded: list[_Loaded] = []
    first = 0
    for index, (chunk, pp_rank) in enumerate((chunk, pp_rank) for chunk in chunks for pp_rank in range(pp)):
        states = [
            {name: value for name, value in files[t, pp_rank][chunk].items() if not name.endswith("_extra_state")}
            for t in range(tp)
        ]
        layers = len({layer[1] for name in states[0] if (layer := _LAYER.match(name))})
        stage = Stage(index, len(chunks) * pp, pp_rank, range(first, first + layers))
        loaded.append(_Loaded(stage, files[0, pp_rank]["args"], states))
        first += layers
    return loaded


def read_rank(path: Path) -> dict[str, Any]:
    """A rank's file; nothing in it can run code."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; copy the whole checkpoint")
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        raise ValueError(
            f"{path} is not read, as it names classes that a model's weights and arguments do not need and that could "
            f"run code: {', '.join(unknown)}; save it again by Megatron-LM with --no-save-optim --no-save-rng"
        ) from error


def _parts(config: LlamaConfig, loaded: Sequence[_Loaded], model: Path) -> dict[str, list[_Part]]:
    """Hugging Face's name -> what the files hold of the tensor; nothing is read."""
    layout = _layout(loaded)
    wrong = _wrong_arguments(config, layout, loaded[0].args)
    parts: dict[str, list[_Part]] = {}
    for part in loaded:
        for tp_rank, state in enumerate(part.states):
            expected = rank_parameters(config, layout, part.stage, tp_rank)
            wrong += _wrong_parameters(expected, state, rank_folder(tp_rank, part.stage.pp_rank, layout.pp))
            for name, blocks in () if wrong else expected.items():
                row = 0
                for block in blocks:
                    parts.setdefault(block.name, []).append(_Part(block, state[name][row : row + block.size[0]]))
                    row += block.local[0]
    if not wrong:
        wrong = [f"it lacks {name}" for name in sorted(parameter_shapes(config).keys() - parts.keys())]
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(
            f"the checkpoint is not of the shape of {model}/config.json: {'; '.join(wrong[:5])}{more}; give the folder "
            f"of the model that it was trained from"
        )
    return parts


def _layout(loaded: Sequence[_Loaded]) -> MegatronLayout:
    tp = len(loaded[0].states)
    pp = 1 + max(part.stage.pp_rank for part in loaded)
    local = any(name.endswith("input_layernorm.weight") for part in loaded for name in part.states[0])
    embedding = loaded[0].states[0].get(_EMBEDDING)
    return MegatronLayout(
        tp, pp, "local" if local else "transformer_engine", 0 if embedding is None else tp * len(embedding)
    )


def _wrong_arguments(config: LlamaConfig, layout: MegatronLayout, args: Namespace) -> list[str]:
    """What Megatron's arguments say that the model's config.json does not; what they leave out is not compared."""
    expected = arguments(config, layout)
    given = {name: getattr(args, name, None) for name in _CHECKED}
    if not given.pop("group_query_attention", True):
        given.pop("num_query_groups")  # Megatron's default 1 means nothing without the other
    wrong = []
    if layout.padded_vocab < config.vocab_size:
        wrong.append(f"its embedding has {layout.padded_vocab} rows, expected {config.vocab_size} or more")
    return wrong + [
        f"{name} is {value!r}, expected {expected[name]!r}"
        for name, value in given.items()
        if value is not None and value != expected[name]
    ]


def _wrong_parameters(expected: Mapping[str, Sequence[Block]], state: Mapping[str, Tensor], rank: str) -> list[str]:
    wrong = [f"{rank} lacks {name}" for name in expected if name not in state]
    wrong += [f"{rank} has {name}, which the model has not" for name in state if name not in expected]
    for name in expected.keys() & state.keys():
        shape = (sum(block.local[0] for block in expected[name]), *expected[name][0].local[1:])
        if tuple(state[name].shape) != shape:
            wrong.append(f"{rank} has {name} of shape {tuple(state[name].shape)}, expected {shape}")
    return wrong

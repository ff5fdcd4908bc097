"""Hugging Face folders: read and write safetensors, whole or in shards; never pickle.

In: a folder with `config.json` and `model.safetensors`, or `model.safetensors.index.json` and its shards.
Out: the same. Tensors are read one at a time from a memory map, and of each a rank reads its rectangle only, so no
process ever holds a second copy of its part. They are written as they come, at most one shard being in memory.
A tied output matrix is one tensor: `lm_head.weight` is left out on the way in and on the way out.

    with open_weights(folder) as weights:
        optimizer.load_weights(weights.block)
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainer.llama_config import LlamaConfig, llama_config, read_config_json
from trainer.model import Llama
from trainer.sharding import HEAD, Block

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000  # as transformers cuts


class Weights(Mapping[str, Tensor]):
    """Name -> tensor of an open folder, sorted by name, read when asked for."""

    def __init__(self, files: dict[str, Any]) -> None:
        self._files = dict(sorted(files.items()))

    def __getitem__(self, name: str) -> Tensor:
        return self._files[name].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def block(self, block: Block) -> Tensor:
        """A rank's rectangle, of shape `block.size`; nothing else of the tensor is read."""
        part = self._files[block.name].get_slice(block.name)
        return part[tuple(slice(at, at + size) for at, size in zip(block.offset, block.size, strict=True))]

    def shape(self, name: str) -> list[int]:
        return list(self._files[name].get_slice(name).get_shape())


@contextmanager
def open_weights(folder: str | Path) -> Iterator[Weights]:
    """Open the weights of a Hugging Face Llama folder.

    Raises:
        ValueError: no safetensors there, or tensors missing, unexpected or of another shape than config.json says.
    """
    folder = Path(folder)
    config = llama_config(read_config_json(folder))
    with ExitStack() as stack:
        files: dict[str, Any] = {}
        for path in _weight_files(folder):
            opened = stack.enter_context(safe_open(path, framework="pt"))
            files |= dict.fromkeys(opened.keys(), opened)
        if config.tied:
            files.pop(HEAD, None)
        weights = Weights(files)
        _check_shapes(folder, config, weights)
        yield weights


def parameter_shapes(config: LlamaConfig) -> dict[str, list[int]]:
    """Name -> shape of every parameter that a folder of this model holds."""
    with torch.device("meta"):
        shapes = {name: list(p.shape) for name, p in Llama(config).named_parameters()}
    return shapes


def load_model(folder: str | Path, dtype: torch.dtype, device: torch.device | str = "cpu") -> Llama:
    """The model of a Hugging Face folder, its weights rounded to `dtype`."""
    model = Llama(llama_config(read_config_json(folder)), dtype)
    with open_weights(folder) as weights, torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model.to(device)


def write_weights(folder: Path, tensors: Mapping[str, Tensor], *, max_shard_bytes: int = SHARD_BYTES) -> list[str]:
    """Write tensors (true names and shapes) that are all in memory; the names of the files written."""
    sizes = {name: tensor.nbytes for name, tensor in tensors.items()}
    return stream_weights(folder, sorted(tensors.items()), sizes, max_shard_bytes=max_shard_bytes)


def stream_weights(
    folder: Path,
    tensors: Iterable[tuple[str, Tensor]],
    sizes: Mapping[str, int],
    *,
    max_shard_bytes: int = SHARD_BYTES,
) -> list[str]:
    """Write tensors as they come, sorted by name, as safetensors; the names of the files written.

    One file where all fits into `max_shard_bytes`, else shards and an index as transformers names them. A file is
    written when its last tensor has come, so that one shard is in memory.

    Args:
        sizes: name -> bytes of every tensor that will come; they say which shard holds what.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = _planned_shards(sizes, max_shard_bytes)
    number = len(shards)
    files = [f"model-{i:05}-of-{number:05}.safetensors" for i in range(1, number + 1)] if number > 1 else [WEIGHTS]
    coming = iter(tensors)
    for file, names in zip(files, shards, strict=True):
        shard = dict(itertools.islice(coming, len(names)))
        assert list(shard) == names, f"{file} was to hold {names[:1]}..., {list(shard)[:1]}... came"
        _save(folder / file, shard)
    if number == 1:
        return files
    index = {
        "metadata": {"total_size": sum(sizes.values())},
        "weight_map": {name: file for file, names in zip(files, shards, strict=True) for name in names},
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return [*files, INDEX]


def _planned_shards(sizes: Mapping[str, int], max_shard_bytes: int) -> list[list[str]]:
    """Names in order, cut so that no shard of more than one tensor is larger than `max_shard_bytes`."""
    shards: list[list[str]] = [[]]
    used = 0
    for name in sorted(sizes):
        if shards[-1] and used + sizes[name] > max_shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += sizes[name]
    return shards


def copy_other_files(source: Path, target: Path) -> list[str]:
    """Copy what is neither weights nor config.json (tokenizer files, chat template...); the names copied."""
    target.mkdir(parents=True, exist_ok=True)
    copied = []
    for path in sorted(source.iterdir()):
        weights = path.suffix in {".safetensors", ".bin", ".pt", ".pth", ".gguf"} or path.name == INDEX
        if path.is_file() and not weights and path.name not in ("config.json", "manifest.json"):
            shutil.copyfile(path, target / path.name)
            copied.append(path.name)
    return copied


def tensor_bytes(tensor: Tensor) -> memoryview:
    """A tensor's bytes in memory order, whatever its dtype (numpy has no bfloat16)."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def tensors_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """sha256 over (name, dtype, shape, bytes) of tensors that come sorted by name."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name}\n{tensor.dtype}\n{list(tensor.shape)}\n".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})
    path.chmod(0o644)  # safetensors leaves it readable to its owner only


def _weight_files(folder: Path) -> list[Path]:
    if (folder / INDEX).is_file():
        weight_map = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        paths = [folder / name for name in sorted(set(weight_map.values()))]
    else:
        paths = [folder / WEIGHTS]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise ValueError(
            f"{folder} has no {', '.join(missing)}; weights are read from safetensors only: convert others with "
            f"transformers' save_pretrained"
        )
    return paths


def _check_shapes(folder: Path, config: LlamaConfig, weights: Weights) -> None:
    expected = parameter_shapes(config)
    wrong = [f"{name} is missing" for name in expected if name not in weights]
    wrong += [f"{name} is not a parameter of this model" for name in weights if name not in expected]
    wrong += [
        f"{name} has shape {weights.shape(name)}, expected {shape}"
        for name, shape in expected.items()
        if name in weights and weights.shape(name) != shape
    ]
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(f"{folder}: its weights do not fit its config.json: {'; '.join(wrong[:5])}{more}")

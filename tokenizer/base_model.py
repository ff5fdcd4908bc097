"""A base model's folder: what must hold of its files before they are read.

In: a Hugging Face folder with safetensors weights, one file or sharded. Out: its configuration, its weight files and
its embedding tables, or an error that says what is wrong with them. Never pickle, never remote code.

    files = weight_files(folder)
    tables = check_tables(files, read_config(folder), expansion)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tokenizer.expansion import Expansion
from tokenizer.random_model import EMBEDDING, HEAD
from tokenizer.safetensors_stream import SafetensorsFile, Tensor

INDEX = "model.safetensors.index.json"


def read_config(folder: Path) -> dict[str, object]:
    """The fields of config.json.

    Raises:
        ValueError: there is none.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no config.json: expected a Hugging Face model folder")
    fields: dict[str, object] = json.loads(path.read_bytes())
    return fields


def is_tied(config: dict[str, object]) -> bool:
    """Whether the output head is the input embedding."""
    return bool(config.get("tie_word_embeddings", False))


def weight_files(folder: Path) -> dict[str, SafetensorsFile]:
    """The folder's weight files by name, in a fixed order.

    Raises:
        ValueError: one is missing or damaged.
    """
    if (folder / INDEX).is_file():
        names = sorted(set(json.loads((folder / INDEX).read_bytes())["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{folder} has no {missing[0]}: expected safetensors weights. Pickled ones (.bin, .pt) are never "
            "read; convert them with transformers' save_pretrained"
        )
    return {name: SafetensorsFile(folder / name) for name in names}


def check_tables(
    files: dict[str, SafetensorsFile], config: dict[str, object], expansion: Expansion
) -> dict[str, Tensor]:
    """The embedding tables in the files, once they are known to fit configuration and tokenizer.

    Raises:
        ValueError: one is missing, or has another number of rows than it must.
    """
    tables = {name: source[name] for source in files.values() for name in (EMBEDDING, HEAD) if name in source}
    for name in (EMBEDDING,) if is_tied(config) else (EMBEDDING, HEAD):
        if name not in tables:
            raise ValueError(
                f"the base model has no tensor {name}: expected a Llama-like model with Hugging Face names"
            )
    for name, table in tables.items():
        if table.shape[0] != config.get("vocab_size"):
            raise ValueError(
                f"{name} has {table.shape[0]} rows, config.json says vocab_size {config.get('vocab_size')}"
            )
        if table.shape[0] < expansion.base_vocab:
            raise ValueError(
                f"{name} has {table.shape[0]} rows, but the base tokenizer has {expansion.base_vocab} ids; "
                "expected the tokenizer of this model (expand.base and initialize.base_model in the run file)"
            )
    return tables


def source_of(files: Mapping[str, SafetensorsFile], name: str) -> SafetensorsFile:
    """The file that holds a tensor."""
    return next(source for source in files.values() if name in source)

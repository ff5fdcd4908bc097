"""Embedding initialisation: a base model made to fit the expanded vocabulary.

In: a base model as a Hugging Face folder (safetensors, one file or sharded; never pickle, never remote
code) or the sizes of a random one, and the tokenizer folder that `expand` wrote. Out, below the artifact:
`model/`, the same folder with longer embedding tables and the new tokenizer, and for a random base also
`base/`, that base with its own tokenizer.

A new row, of the input embedding and of an untied output head alike, is the mean of the base rows of the
piece's segmentation by the base tokenizer (Yao et al. 2021; Swallow, Fujii et al. 2024, section 3.1):
float32 mean, rounded to the model's dtype. The base vocabulary's rows and all other tensors are copied byte
by byte, one block in memory at a time.

A base table may have more rows than its tokenizer has ids (padding for speed). No token uses those rows:
with an expansion they are left out and the new rows take their ids; without one the base's files are copied
as they are.

    outcome = initialize("SmolLM2-135M", None, tokenizer="runs/expand/x/tokenizer", out=out, seed=1234)
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from storage.artifact import FileEntry, Outcome, file_entries, new_file
from storage.uri import join, listing, localized, read_bytes, write_bytes
from tokenizer.encoder import load_encoder
from tokenizer.expansion import EXPANSION, Expansion, NewPiece
from tokenizer.random_model import EMBEDDING, HEAD, RandomModel, write_random_model
from tokenizer.safetensors_stream import SafetensorsFile, Tensor, from_float32, to_float32, write_safetensors

logger = logging.getLogger(__name__)

_INDEX = "model.safetensors.index.json"
_BESIDE = (
    "generation_config.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "NOTICE.txt",
    "USE_POLICY.md",
)
_ROWS_AT_ONCE = 256


def initialize(base_model: str | None, random: RandomModel | None, *, tokenizer: str, out: str, seed: int) -> Outcome:
    """Write `model/` (and `base/`) below `out`.

    Args:
        base_model: the base's folder; None with `random`.
        random: sizes of a random base; None with `base_model`.
        tokenizer: the folder that `expand` wrote for this base's tokenizer.
        seed: of the random base; nothing else is random.

    Raises:
        ValueError: the base is not a Llama-like safetensors folder, or does not fit the tokenizer.
    """
    if (base_model is None) == (random is None):
        raise ValueError("initialize: expected either a base model or the sizes of a random one")
    try:
        expansion = Expansion.from_json(read_bytes(join(tokenizer, EXPANSION)))
    except FileNotFoundError as error:
        raise ValueError(
            f"{tokenizer} has no {EXPANSION}: expected the tokenizer folder of the expand stage"
        ) from error
    written: list[str] = []
    if random is not None:
        base_model = join(out, "base")
        base_tokenizer = join(tokenizer, "base") if expansion.new_pieces else tokenizer
        encoder = load_encoder(base_tokenizer)
        names = write_random_model(
            random,
            vocab=expansion.base_vocab,
            bos_id=encoder.bos_id,
            eos_id=encoder.eos_id,
            out=base_model,
            seed=seed,
        )
        written += [f"base/{name}" for name in names + _copy_tokenizer(base_tokenizer, base_model)]
    assert base_model is not None
    with localized(base_model) as folder:
        outcome = _write_model(folder, expansion, out)
    copied = _copy_tokenizer(tokenizer, join(out, "model"))
    outcome.files += file_entries(out, written + [f"model/{name}" for name in copied])
    outcome.files.sort(key=lambda entry: entry.path)
    outcome.details["base"] = "random" if random else "given"
    return outcome


def new_rows(base_rows: np.ndarray, dtype: str, pieces: Sequence[NewPiece]) -> Iterator[bytes]:
    """The raw bytes of the pieces' rows, each the float32 mean of the base rows it is segmented into.

    Args:
        base_rows: `(rows, bytes per row)`, uint8.
        dtype: safetensors name of the table's dtype.

    Raises:
        ValueError: a base row that is needed holds an infinity or NaN, or the dtype is no floating one.
    """
    for start in range(0, len(pieces), _ROWS_AT_ONCE):
        block = pieces[start : start + _ROWS_AT_ONCE]
        needed, where = np.unique(np.concatenate([piece.base_ids for piece in block]), return_inverse=True)
        vectors = to_float32(base_rows[needed], dtype)
        if not np.isfinite(vectors).all():
            bad = needed[~np.isfinite(vectors).all(axis=1)]
            raise ValueError(f"embedding row {bad[0]} of the base model holds an infinity or NaN; check the download")
        bounds = np.cumsum([0, *(len(piece.base_ids) for piece in block)])
        # mean(axis=0) adds rows in order, everywhere alike; np.add.reduceat would not.
        means = [vectors[where[first:last]].mean(axis=0) for first, last in pairwise(bounds)]
        yield from_float32(np.stack(means), dtype)


def _write_model(folder: Path, expansion: Expansion, out: str) -> Outcome:
    """Copy the base's configuration and weights into `model/`, with longer tables."""
    config = _read_config(folder)
    files = _weight_files(folder)
    tables = _check_tables(files, config, expansion)
    unused = tables[EMBEDDING].shape[0] - expansion.base_vocab
    if unused and expansion.new_pieces:
        logger.info("the base has %d rows that no token uses; new rows take their place", unused)
    entries: list[FileEntry] = []
    total_bytes = parameters = 0
    for name, source in files.items():
        with new_file(out, f"model/{name}") as file:
            tensors = [_grown(tensor, expansion) for tensor in source.tensors]
            if expansion.new_pieces:
                total_bytes += write_safetensors(file, tensors, source.metadata, _Blocks(source, expansion))
            else:
                with open(source.path, "rb") as original:
                    while block := original.read(1 << 24):
                        file.write(block)
        parameters += sum(int(np.prod(tensor.shape)) for tensor in tensors)
        entries.append(FileEntry.of(f"model/{name}", file))
    texts = {
        name: (folder / name).read_bytes() for name in ("config.json", _INDEX, *_BESIDE) if (folder / name).is_file()
    }
    if expansion.new_pieces:
        texts["config.json"] = _json_bytes(config | {"vocab_size": expansion.vocab})
        if _INDEX in texts:
            index = json.loads(texts[_INDEX])
            index["metadata"] = index.get("metadata", {}) | {"total_size": total_bytes}
            texts[_INDEX] = _json_bytes(index)
    for name, data in texts.items():
        write_bytes(join(out, "model", name), data)
    entries += file_entries(out, [f"model/{name}" for name in texts])
    counts = {
        "base_vocab": expansion.base_vocab,
        "new_rows": len(expansion.new_pieces),
        "vocab": expansion.vocab,
        "parameters": parameters,
        "tensors": sum(len(source.tensors) for source in files.values()),
    }
    details = {
        "tables": sorted(tables),
        "dtype": tables[EMBEDDING].dtype,
        "base_rows_without_token": unused,
        "new_rows": "mean",
    }
    return Outcome(entries, counts, details)


class _Blocks:
    """The bytes of a tensor of the new model: copied; for a table, the base's rows and new ones."""

    def __init__(self, source: SafetensorsFile, expansion: Expansion) -> None:
        self.source = source
        self.expansion = expansion

    def __call__(self, tensor: Tensor) -> Iterator[bytes]:
        if tensor.name not in (EMBEDDING, HEAD):
            yield from self.source.blocks(tensor.name)
            return
        rows = self.source.rows(tensor.name)
        for start in range(0, self.expansion.base_vocab, _ROWS_AT_ONCE):
            yield rows[start : min(start + _ROWS_AT_ONCE, self.expansion.base_vocab)].tobytes()
        yield from new_rows(rows, tensor.dtype, self.expansion.new_pieces)


def _grown(tensor: Tensor, expansion: Expansion) -> Tensor:
    if tensor.name not in (EMBEDDING, HEAD) or not expansion.new_pieces:
        return tensor
    return replace(tensor, shape=(expansion.vocab, *tensor.shape[1:]))


def _read_config(folder: Path) -> dict[str, object]:
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no config.json: expected a Hugging Face model folder")
    return json.loads(path.read_bytes())


def _weight_files(folder: Path) -> dict[str, SafetensorsFile]:
    """The folder's weight files by name, in a fixed order."""
    if (folder / _INDEX).is_file():
        names = sorted(set(json.loads((folder / _INDEX).read_bytes())["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{folder} has no {missing[0]}: expected safetensors weights. Pickled ones (.bin, .pt) are never "
            "read; convert them with transformers' save_pretrained"
        )
    return {name: SafetensorsFile(folder / name) for name in names}


def _check_tables(
    files: dict[str, SafetensorsFile], config: dict[str, object], expansion: Expansion
) -> dict[str, Tensor]:
    """The embedding tables in the files, once they are known to fit configuration and tokenizer."""
    tables = {name: source[name] for source in files.values() for name in (EMBEDDING, HEAD) if name in source}
    tied = bool(config.get("tie_word_embeddings", False))
    for name in (EMBEDDING,) if tied else (EMBEDDING, HEAD):
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


def _copy_tokenizer(tokenizer: str, folder: str) -> list[str]:
    names = [name for name in listing(tokenizer) if "/" not in name]
    for name in names:
        write_bytes(join(folder, name), read_bytes(join(tokenizer, name)))
    return names


def _json_bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"

"""Embedding initialisation: a base model made to fit the expanded vocabulary.

In: a base model as a Hugging Face folder (safetensors, one file or sharded; never pickle, never remote
code) or the sizes of a random one, and the tokenizer folder that `expand` wrote. Out, below the artifact:
`model/`, the same folder with longer embedding tables and the new tokenizer, and for a random base also
`base/`, that base with its own tokenizer.

A new row combines the base rows of the piece's segmentation by the base tokenizer (`tokenizer.new_rows`), in the
input embedding and in an untied output head each in its own way; in the head, or a tied table, its logit may be
shifted (`tokenizer.calibration`). Computed in float32, rounded to the model's dtype. The base vocabulary's rows and
all other tensors are copied byte by byte, one block in memory at a time.

A base table may have more rows than its tokenizer has ids (padding for speed). No token uses those rows:
with an expansion they are left out and the new rows take their ids; without one the base's files are copied
as they are.

    outcome = initialize("SmolLM2-135M", None, tokenizer="runs/expand/x/tokenizer", out=out, seed=1234)
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from storage.artifact import FileEntry, Outcome, file_entries, new_file
from storage.uri import join, listing, localized, read_bytes, write_bytes
from tokenizer.base_model import INDEX, check_tables, is_tied, read_config, weight_files
from tokenizer.calibration import Shifter, Texts, calibrate, calibration_sequences
from tokenizer.encoder import load_encoder
from tokenizer.expansion import EXPANSION, Expansion
from tokenizer.new_rows import ROWS_AT_ONCE, Combination, RowOptions, combined_rows
from tokenizer.random_model import EMBEDDING, HEAD, RandomModel, write_random_model
from tokenizer.safetensors_stream import SafetensorsFile, Tensor, from_float32, write_safetensors

logger = logging.getLogger(__name__)

_BESIDE = (
    "generation_config.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "NOTICE.txt",
    "USE_POLICY.md",
)


def initialize(
    base_model: str | None,
    random: RandomModel | None,
    *,
    tokenizer: str,
    out: str,
    seed: int,
    options: RowOptions | None = None,
    shards: Sequence[Texts] = (),
) -> Outcome:
    """Write `model/` (and `base/`) below `out`.

    Args:
        base_model: the base's folder; None with `random`.
        random: sizes of a random base; None with `base_model`.
        tokenizer: the folder that `expand` wrote for this base's tokenizer.
        seed: of the random base, and of random rows; nothing else is random.
        options: how new rows begin; left out, all are means.
        shards: the corpus's texts, shard by shard without what is held out; read only where logits are shifted.

    Raises:
        ValueError: the base is not a Llama-like safetensors folder, does not fit the tokenizer, or the options ask for
            what a tied table cannot have.
    """
    if (base_model is None) == (random is None):
        raise ValueError("initialize: expected either a base model or the sizes of a random one")
    options = options or RowOptions()
    if random is not None and options.calibrated:
        raise ValueError(
            f"initialize.output_shift: {options.output_shift}, but a random base has nothing to calibrate on: its "
            "hidden states share no direction; set it to none"
        )
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
        outcome = _write_model(folder, _Start(expansion, options, seed, tokenizer, shards), out)
    copied = _copy_tokenizer(tokenizer, join(out, "model"))
    outcome.files += file_entries(out, written + [f"model/{name}" for name in copied])
    outcome.files.sort(key=lambda entry: entry.path)
    outcome.details["base"] = "random" if random else "given"
    return outcome


@dataclass(frozen=True)
class _Start:
    """What decides the new rows: `tokenizer` and `shards` as in `initialize`."""

    expansion: Expansion
    options: RowOptions
    seed: int
    tokenizer: str
    shards: Sequence[Texts]


def _write_model(folder: Path, start: _Start, out: str) -> Outcome:
    """Copy the base's configuration and weights into `model/`, with longer tables."""
    expansion = start.expansion
    config = read_config(folder)
    files = weight_files(folder)
    tables = check_tables(files, config, expansion)
    unused = tables[EMBEDDING].shape[0] - expansion.base_vocab
    if unused and expansion.new_pieces:
        logger.info("the base has %d rows that no token uses; new rows take their place", unused)
    blocks, details = _tables_to_write(folder, files, config, start)
    entries: list[FileEntry] = []
    total_bytes = parameters = 0
    for name, source in files.items():
        with new_file(out, f"model/{name}") as file:
            tensors = [_grown(tensor, expansion) for tensor in source.tensors]
            if expansion.new_pieces:
                total_bytes += write_safetensors(file, tensors, source.metadata, partial(blocks, source))
            else:
                with open(source.path, "rb") as original:
                    while block := original.read(1 << 24):
                        file.write(block)
        parameters += sum(int(np.prod(tensor.shape)) for tensor in tensors)
        entries.append(FileEntry.of(f"model/{name}", file))
    entries += _write_texts(folder, config, expansion, total_bytes, out)
    counts = {
        "base_vocab": expansion.base_vocab,
        "new_rows": len(expansion.new_pieces),
        "vocab": expansion.vocab,
        "parameters": parameters,
        "tensors": sum(len(source.tensors) for source in files.values()),
    }
    about = {"tables": sorted(tables), "dtype": tables[EMBEDDING].dtype, "base_rows_without_token": unused}
    return Outcome(entries, counts, about | details | blocks.shift_details())


def _tables_to_write(
    folder: Path, files: dict[str, SafetensorsFile], config: dict[str, object], start: _Start
) -> tuple[_Blocks, dict[str, Any]]:
    """What writes the tensors, calibrated where the options ask for it; and what the report says of it."""
    options, tied = start.options, is_tied(config)
    head = EMBEDDING if tied else HEAD
    output_rows = options.new_output_rows or options.new_rows
    if tied and output_rows != options.new_rows:
        raise ValueError(
            f"initialize.new_output_rows: {output_rows}, but this model's output head is its input embedding "
            f"(tie_word_embeddings), whose new rows are {options.new_rows}; leave new_output_rows out"
        )
    details: dict[str, Any] = {"tied": tied, "new_rows": options.new_rows, "new_output_rows": output_rows}
    details["output_shift"] = options.output_shift
    shifter = None
    if options.calibrated and start.expansion.new_pieces:
        base = load_encoder(join(start.tokenizer, "base"))
        text = calibration_sequences(start.shards, base, load_encoder(start.tokenizer), options.calibration_tokens)
        shifter = calibrate(folder, files, head, start.expansion, text, options)
        details["calibration"] = {
            "documents": len(text.sequences),
            "tokens": text.tokens,
            "new_pieces_per_base_token": round(text.new_share, 4),
            "direction_norm": round(float(np.linalg.norm(shifter.direction)), 4),
        }
    combinations = {EMBEDDING: options.new_rows} if tied else {EMBEDDING: options.new_rows, HEAD: output_rows}
    return _Blocks(start, combinations, head, shifter), details


def _write_texts(
    folder: Path, config: dict[str, object], expansion: Expansion, total_bytes: int, out: str
) -> list[FileEntry]:
    """Write the configuration, and copy what a base ships beside its weights."""
    texts = {
        name: (folder / name).read_bytes() for name in ("config.json", INDEX, *_BESIDE) if (folder / name).is_file()
    }
    if expansion.new_pieces:
        texts["config.json"] = _json_bytes(config | {"vocab_size": expansion.vocab})
        if INDEX in texts:
            index = json.loads(texts[INDEX])
            index["metadata"] = index.get("metadata", {}) | {"total_size": total_bytes}
            texts[INDEX] = _json_bytes(index)
    for name, data in texts.items():
        write_bytes(join(out, "model", name), data)
    return file_entries(out, [f"model/{name}" for name in texts])


class _Blocks:
    """The bytes of a tensor of the new model: copied; for a table, the base's rows and new ones."""

    def __init__(self, start: _Start, combinations: dict[str, Combination], head: str, shifter: Shifter | None) -> None:
        self.start = start
        self.combinations = combinations
        self.head = head
        self.shifter = shifter

    def __call__(self, source: SafetensorsFile, tensor: Tensor) -> Iterator[bytes]:
        if tensor.name not in (EMBEDDING, HEAD):
            yield from source.blocks(tensor.name)
            return
        expansion = self.start.expansion
        rows = source.rows(tensor.name)
        for start in range(0, expansion.base_vocab, ROWS_AT_ONCE):
            yield rows[start : min(start + ROWS_AT_ONCE, expansion.base_vocab)].tobytes()
        # A head stored beside a tied embedding is its copy, and is never read.
        combination = self.combinations.get(tensor.name, self.combinations[EMBEDDING])
        combined = combined_rows(
            rows, tensor.dtype, expansion.new_pieces, combination, table=tensor.name, seed=self.start.seed
        )
        for number, block in enumerate(combined):
            if self.shifter is not None and tensor.name == self.head:
                block = self.shifter(block, number * ROWS_AT_ONCE)
            yield from_float32(block, tensor.dtype)

    def shift_details(self) -> dict[str, Any]:
        """How far logits were shifted, nats."""
        if self.shifter is None:
            return {}
        shifts = np.concatenate(self.shifter.shifts)
        values = {"mean": shifts.mean(), "lowest": shifts.min(), "highest": shifts.max()}
        return {"shift": {name: round(float(value), 3) for name, value in values.items()}}


def _grown(tensor: Tensor, expansion: Expansion) -> Tensor:
    if tensor.name not in (EMBEDDING, HEAD) or not expansion.new_pieces:
        return tensor
    return replace(tensor, shape=(expansion.vocab, *tensor.shape[1:]))


def _copy_tokenizer(tokenizer: str, folder: str) -> list[str]:
    names = [name for name in listing(tokenizer) if "/" not in name]
    for name in names:
        write_bytes(join(folder, name), read_bytes(join(tokenizer, name)))
    return names


def _json_bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"

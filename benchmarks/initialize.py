"""How new embedding rows may begin, and what each way costs before the first training step.

In: a base model, the tokenizer folder that `expand` made for it, and texts per language. Out: a table with a line per
strategy, for the model as it is and, where its embeddings are tied, for an untied copy.

    rise, nats    by which the loss per base token rises when the text stays in base ids (what the start check reports)
    rise, bits    the same in bits per byte
    mass          mean probability of all new pieces together in those contexts
    new ids       bits per byte of the text in the expanded tokenizer's ids, beside the base model's in its own

On text that has new pieces, part of the rise is no fault: a model that has learned the expanded vocabulary gives new
pieces what probability they deserve, and base ids in their place lose it. What training starts from is the last column;
what is spoilt for other text is the rise there.

Every second document of a file is measured, the others are calibration text. A strategy is written as
`INPUT[/OUTPUT][:SHIFT]` in the run file's words: `mean`, `mean:frequency`, `mean/leading:frequency`, `mean:-3`.

    python -m benchmarks.initialize --model smollm2 --tokenizer runs/expand/x/tokenizer \
        --texts ja=ja.jsonl.gz --texts en=en.jsonl.gz --json
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np

from storage.artifact import new_file
from tokenizer.base_model import is_tied, read_config, source_of, weight_files
from tokenizer.encoder import Encoder, load_encoder
from tokenizer.expansion import EXPANSION, Expansion
from tokenizer.hidden_states import final_hidden_states, log_partition
from tokenizer.initialize import initialize
from tokenizer.new_rows import Combination, RowOptions
from tokenizer.random_model import EMBEDDING, HEAD
from tokenizer.safetensors_stream import SafetensorsFile, Tensor, to_float32, write_safetensors

STRATEGIES = ("mean", "weighted", "random", "mean:-3", "first:share", "mean:frequency")
UNTIED = ("mean", "mean/leading", "mean/first:share", "mean/leading:frequency")


@dataclass(frozen=True)
class Passages:
    """Texts of a language, in base ids and in the expanded tokenizer's; each list begins with a document's start."""

    num_bytes: int
    base: list[list[int]]
    expanded: list[list[int]]


@dataclass(frozen=True)
class BaseRun:
    """The base model on base ids: states `(positions, hidden)` that predict a token, log Z there, and its loss."""

    states: np.ndarray
    partition: np.ndarray
    bits_per_byte: float


@dataclass(frozen=True)
class Cost:
    """A line of the table: one strategy on one language."""

    model: str
    strategy: str
    language: str
    rise_nats: float
    rise_bits_per_byte: float
    mass: float
    base_bits_per_byte: float
    new_bits_per_byte: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _parser().parse_args(arguments)
    encoders = load_encoder(options.tokenizer / "base"), load_encoder(options.tokenizer)
    texts = {language: read_texts(path) for language, path in options.texts}
    passages = {
        language: cut_passages(found[1::2], *encoders, options.documents, options.characters)
        for language, found in texts.items()
    }
    calibration = texts[options.texts[0][0]][::2]
    costs: list[Cost] = []
    start = time.process_time()
    with tempfile.TemporaryDirectory(prefix="hibari-initialize-") as scratch:
        models = [("tied" if is_tied(read_config(options.model)) else "untied", options.model, options.strategies)]
        if models[0][0] == "tied" and options.untied:
            untie(options.model, Path(scratch, "untied"))
            models.append(("untied copy", Path(scratch, "untied"), options.untied))
        base = {
            language: run_base(options.model, found, encoders[0].vocab_size) for language, found in passages.items()
        }
        for name, folder, strategies in models:
            for strategy in strategies:
                out = Path(scratch, "made")
                rows = parse_strategy(strategy, options.calibration_tokens)
                shards = [lambda: iter(calibration)]
                initialize(
                    str(folder),
                    None,
                    tokenizer=str(options.tokenizer),
                    out=str(out),
                    seed=1,
                    options=rows,
                    shards=shards,
                )
                for language, found in passages.items():
                    costs.append(cost_of(out / "model", name, strategy, language, found, base[language]))
                    print(_line(costs[-1]), flush=True)
    print(f"CPU {time.process_time() - start:,.0f} s")
    print(_table(costs))
    if options.json:
        print(json.dumps([asdict(cost) for cost in costs]))


def read_texts(path: Path) -> list[str]:
    """The texts of a JSON-lines file, gzipped or not."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line)["text"] for line in data.splitlines()]


def cut_passages(texts: Sequence[str], base: Encoder, expanded: Encoder, documents: int, characters: int) -> Passages:
    """The middle `characters` of that many documents, evenly spaced among those long enough."""
    long = [text for text in texts if len(text) >= 2 * characters] or list(texts)
    chosen = long[:: max(1, len(long) // documents)][:documents]
    cut = [text[(len(text) - characters) // 2 :][:characters] if len(text) > characters else text for text in chosen]
    begin = list(base.policy.prefix or base.policy.suffix[-1:])
    return Passages(
        sum(len(text.encode()) for text in cut),
        [begin + base.encode(text) for text in cut],
        [begin + expanded.encode(text) for text in cut],
    )


def parse_strategy(written: str, calibration_tokens: int) -> RowOptions:
    """`INPUT[/OUTPUT][:SHIFT]`.

    Raises:
        ValueError: a name is not one of the run file's.
    """
    rows, _, shift = written.partition(":")
    input_rows, _, output_rows = rows.partition("/")
    for name in filter(None, (input_rows, output_rows)):
        if name not in get_args(Combination):
            raise ValueError(f"strategy {written!r}: expected one of {', '.join(get_args(Combination))}, got {name!r}")
    named = shift if shift in ("", "frequency", "share") else float(shift)
    return RowOptions(
        new_rows=input_rows,  # type: ignore[arg-type]
        new_output_rows=output_rows or None,  # type: ignore[arg-type]
        output_shift=named or "none",  # type: ignore[arg-type]
        calibration_tokens=calibration_tokens,
    )


def run_base(folder: Path, passages: Passages, base_vocab: int) -> BaseRun:
    """The base model on the passages in its own ids."""
    states, targets = _predictions(folder, passages.base)
    head = _head(folder)
    rows, dtype = head.rows(head_name(folder)), head[head_name(folder)].dtype
    partition = log_partition(states, rows, dtype, num_rows=base_vocab)
    own = (states * to_float32(rows[targets], dtype)).sum(axis=1)
    return BaseRun(states, partition, float((partition - own).sum()) / math.log(2) / passages.num_bytes)


def cost_of(folder: Path, model: str, strategy: str, language: str, passages: Passages, base: BaseRun) -> Cost:
    """What a model with new rows costs on a language's passages."""
    head = _head(folder)
    rows, dtype = head.rows(head_name(folder)), head[head_name(folder)].dtype
    base_vocab = Expansion.from_json((folder / EXPANSION).read_bytes()).base_vocab
    offset = rows.start + base_vocab * rows.row_bytes
    only_new = replace(rows, start=offset, num_rows=rows.num_rows - base_vocab)
    new = log_partition(base.states, only_new, dtype, num_rows=only_new.num_rows)
    both = np.logaddexp(base.partition, new)
    states, targets = _predictions(folder, passages.expanded)
    own = (states * to_float32(rows[targets], dtype)).sum(axis=1)
    nats = log_partition(states, rows, dtype, num_rows=rows.num_rows) - own
    rise = float((both - base.partition).sum())
    return Cost(
        model,
        strategy,
        language,
        rise / len(both),
        rise / math.log(2) / passages.num_bytes,
        float(np.exp(new - both).mean()),
        base.bits_per_byte,
        float(nats.sum()) / math.log(2) / passages.num_bytes,
    )


def untie(folder: Path, out: Path) -> None:
    """A copy of a tied model whose output head is a tensor of its own, equal to the embedding."""
    for name, source in weight_files(folder).items():
        tensors = [tensor for tensor in source.tensors if tensor.name != HEAD]
        if EMBEDDING in source:
            tensors.append(replace(source[EMBEDDING], name=HEAD))

        def blocks(tensor: Tensor, source: SafetensorsFile = source) -> Iterator[bytes]:
            return source.blocks(EMBEDDING if tensor.name == HEAD else tensor.name)

        with new_file(str(out), name) as file:
            write_safetensors(file, tensors, source.metadata, blocks)
    config = dict(read_config(folder)) | {"tie_word_embeddings": False}
    (out / "config.json").write_text(json.dumps(config))
    if (index := folder / "model.safetensors.index.json").is_file():
        fields = json.loads(index.read_bytes())
        fields["weight_map"][HEAD] = fields["weight_map"][EMBEDDING]
        (out / index.name).write_text(json.dumps(fields))


def head_name(folder: Path) -> str:
    """The tensor that makes logits."""
    return EMBEDDING if is_tied(read_config(folder)) else HEAD


def _head(folder: Path) -> SafetensorsFile:
    return source_of(weight_files(folder), head_name(folder))


def _predictions(folder: Path, sequences: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The states that predict a token, and those tokens; a sequence's last state predicts nothing."""
    states = final_hidden_states(folder, weight_files(folder), sequences)
    ends = np.cumsum([len(ids) for ids in sequences]) - 1
    targets = np.concatenate([np.asarray(ids[1:]) for ids in sequences])
    return np.delete(states, ends, axis=0), targets


def _line(cost: Cost) -> str:
    return (
        f"{cost.model:12} {cost.strategy:24} {cost.language:4} {cost.rise_nats:+8.4f} {cost.rise_bits_per_byte:+8.4f} "
        f"{cost.mass:8.4f} {cost.base_bits_per_byte:8.3f} {cost.new_bits_per_byte:8.3f}"
    )


def _table(costs: Sequence[Cost]) -> str:
    head = f"{'model':12} {'strategy':24} {'text':4} {'nats':>8} {'bits':>8} {'mass':>8} {'base':>8} {'new ids':>8}"
    return "\n".join([head, *map(_line, costs)])


def _language_file(written: str) -> tuple[str, Path]:
    language, _, path = written.partition("=")
    if not path:
        raise argparse.ArgumentTypeError(f"{written!r}: expected LANGUAGE=FILE")
    return language, Path(path)


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.initialize",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="the base model's Hugging Face folder")
    parser.add_argument("--tokenizer", type=Path, required=True, help="the folder that expand made for it")
    parser.add_argument(
        "--texts",
        type=_language_file,
        action="append",
        required=True,
        metavar="LANGUAGE=FILE",
        help="JSON lines with `text`, .gz or not; the first is the language of the new pieces",
    )
    parser.add_argument("--strategies", nargs="*", default=list(STRATEGIES), metavar="STRATEGY")
    parser.add_argument("--untied", nargs="*", default=list(UNTIED), metavar="STRATEGY", help="on an untied copy")
    parser.add_argument("--documents", type=int, default=12, help="documents measured per language")
    parser.add_argument("--characters", type=int, default=300, help="characters of each")
    parser.add_argument("--calibration-tokens", type=int, default=4096)
    parser.add_argument("--json", action="store_true", help="end with every figure as one line of JSON")
    return parser


if __name__ == "__main__":
    main()

"""SentencePiece models: Hibari's compiled encoder beside sentencepiece and Hugging Face tokenizers, text to ids alone.

All encode the same documents in this one process, round by round: ours into one array, sentencepiece in a loop and as
one batch, tokenizers as one batch (from the tokenizer.json that Hibari makes of the model). Figures are medians of CPU
time, of all threads; `first` is our first round, in which no pair of symbols was met before. Ids of ours, and of
sentencepiece's loop, are compared: a difference ends the run with an error.

    python -m benchmarks.encode
    python -m benchmarks.encode --model runs/expand/demo-0123/tokenizer/tokenizer.model --rounds 5 --json
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from tokenizer.encoder import Encoded, load_encoder
from tokenizer.sentencepiece_json import to_tokenizer_json

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
OURS, LOOP = "Hibari", "sentencepiece, loop"


def read_texts(path: Path, num_bytes: int) -> list[str]:
    """The first documents of a JSONL.gz file, until they hold so many bytes."""
    texts: list[str] = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            texts.append(json.loads(line)["text"])
            num_bytes -= len(texts[-1].encode())
            if num_bytes <= 0:
                break
    return texts


def measure(model: Path, texts: Sequence[str], rounds: int) -> dict[str, Any]:
    """CPU seconds of every round of every encoder, and what was encoded.

    Raises:
        RuntimeError: our ids are not sentencepiece's.
    """
    start = time.process_time()
    encoder = load_encoder(model)
    encoder.encode_texts(["x"])
    load_s = time.process_time() - start
    processor = SentencePieceProcessor(model_file=str(model))
    hugging_face = Tokenizer.from_buffer(to_tokenizer_json(model.read_bytes()))
    column = pa.array(texts, pa.large_string())
    encoders: dict[str, Callable[[], Any]] = {
        OURS: lambda: encoder.encode_texts(column),
        LOOP: lambda: [processor.encode(text) for text in texts],
        "sentencepiece, batch": lambda: processor.encode(texts, num_threads=2),
        "tokenizers, batch": lambda: hugging_face.encode_batch_fast(texts, add_special_tokens=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(rounds):
        results = {}
        for name, encode in encoders.items():
            start = time.process_time()
            result = encode()
            seconds[name].append(time.process_time() - start)
            if name in (OURS, LOOP):
                results[name] = result
        check(results[OURS], results[LOOP])
    return {
        "model": str(model),
        "vocab_size": encoder.vocab_size,
        "bytes": sum(len(text.encode()) for text in texts),
        "documents": len(texts),
        "tokens": len(results[OURS].ids),
        "load_s": load_s,
        "seconds": seconds,
    }


def check(encoded: Encoded, rows: Sequence[Sequence[int]]) -> None:
    for number, row in enumerate(rows):
        first, last = encoded.bounds[number : number + 2]
        if encoded.ids[first:last].tolist() != row:
            raise RuntimeError(f"document {number}: the ids are not sentencepiece's")


def show(figures: dict[str, Any]) -> None:
    title = (
        f"{figures['model']}: {figures['vocab_size']:,} pieces; {figures['bytes'] / 1e6:.1f} MB, "
        f"{figures['tokens']:,} tokens; loading ours {figures['load_s']:.2f} CPU-s"
    )
    table = Table("encoder", "MB/CPU-s", "M tokens/CPU-s", "beside the loop", title=title)
    medians = {name: statistics.median(taken) for name, taken in figures["seconds"].items()}
    rows = [(f"{OURS}, first", figures["seconds"][OURS][0]), *medians.items()]
    for name, taken in rows:
        table.add_row(
            name,
            f"{figures['bytes'] / taken / 1e6:.1f}",
            f"{figures['tokens'] / taken / 1e6:.2f}",
            f"{medians[LOOP] / taken:.2f}",
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DATA / "models/llama2/tokenizer.model")
    parser.add_argument("--japanese", type=Path, default=DATA / "text/ja_aozora.jsonl.gz", help="12.5 MB are read")
    parser.add_argument("--english", type=Path, default=DATA / "text/en.jsonl.gz", help="3.0 MB are read")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    arguments = parser.parse_args()
    texts = read_texts(arguments.japanese, 12_500_000) + read_texts(arguments.english, 3_000_000)
    figures = measure(arguments.model, texts, arguments.rounds)
    show(figures)
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()

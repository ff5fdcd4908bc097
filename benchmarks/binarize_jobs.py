"""What `benchmarks.binarize` measures, each in a process of its own.

    python -m benchmarks.binarize_jobs hibari --texts FOLDER --tokenizer FOLDER --workers 2 --out FOLDER

FOLDER of texts is what `write_texts` leaves: the same documents as shards of a corpus (`corpus/documents/*.parquet`),
as JSON lines in as many files (`jsonl/*.jsonl`), and in one file (`texts.jsonl`). The last line a job prints is JSON:
`tokens`, and of jobs that encode texts they hold in memory `cpu_s` and `wall_s` of that alone.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of numpy and Arrow: a worker is one core

FILES_A_COPY = 8  # files grow in number with the text, as a crawl's do
_TINY_TEXTS, _TINY_CHARACTERS = 400, 50


def write_texts(sources: Sequence[tuple[Path, float]], times: int, out: Path) -> dict[str, int]:
    """Lay texts out for all jobs.

    Args:
        sources: `.jsonl` or `.jsonl.gz` files with a `text`, and of how many megabytes (10^6) of UTF-8 of each the
            first documents are taken, at most.
        times: so many copies; those after the first begin with their number, so that no two documents are equal.

    Returns:
        `documents` and `bytes` of UTF-8.
    """
    texts = [text for path, megabytes in sources for text in _first_texts(path, int(megabytes * 1e6))]
    copies = [text if not copy else f"{copy}\n{text}" for copy in range(times) for text in texts]
    _write(copies, FILES_A_COPY * times, out)
    return {"documents": len(copies), "bytes": sum(len(text.encode()) for text in copies)}


def write_tiny_texts(sources: Sequence[tuple[Path, float]], out: Path) -> None:
    """Next to nothing, in the same layout: what a job takes for it is its start-up."""
    texts = [text for path, _ in sources for text in _first_texts(path, 10**6)]
    _write(
        [f"{number} {texts[number % len(texts)][:_TINY_CHARACTERS]}" for number in range(_TINY_TEXTS)],
        FILES_A_COPY,
        out,
    )


def _first_texts(path: Path, num_bytes: int) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as lines:
        for line in lines:
            text = json.loads(line)["text"]
            num_bytes -= len(text.encode())
            if num_bytes < 0:
                return
            yield text


def _write(texts: Sequence[str], num_files: int, out: Path) -> None:
    import pyarrow as pa

    from storage.documents import document_id, write_documents

    lines = [json.dumps({"id": str(number), "text": text}, ensure_ascii=False) for number, text in enumerate(texts)]
    (out / "jsonl").mkdir(parents=True)
    (out / "texts.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for file in range(num_files):
        mine = range(file, len(texts), num_files)
        (out / "jsonl" / f"{file}.jsonl").write_text("".join(f"{lines[at]}\n" for at in mine), encoding="utf-8")
        ids = pa.array([document_id("benchmark", at) for at in mine], pa.binary(16))
        table = pa.table({"id": ids, "text": [texts[at] for at in mine]})
        write_documents(str(out / "corpus"), f"documents/{file}.parquet", table)


def hibari(options: argparse.Namespace) -> dict[str, Any]:
    """The stage's function: from shards of the corpus to token files, document tables and catalog."""
    return _binarize(options, sorted((options.texts / "corpus" / "documents").iterdir()))


def hibari_jsonl(options: argparse.Namespace) -> dict[str, Any]:
    """The same, from JSON lines."""
    return _binarize(options, sorted((options.texts / "jsonl").iterdir()))


def _binarize(options: argparse.Namespace, files: Sequence[Path]) -> dict[str, Any]:
    from storage.corpus import CorpusShard
    from tasks.binarize.binarize import SourceInput, binarize
    from tasks.binarize.config import BinarizeConfig
    from tasks.shards import ExecutorConfig

    outside = files[0].suffix == ".jsonl"
    documents = tuple(map(str, files)) if outside else tuple(CorpusShard(str(file)) for file in files)
    source = SourceInput("texts", "ja", documents)
    executor = ExecutorConfig(workers=options.workers)
    outcome = binarize([source], options.tokenizer, BinarizeConfig(), out=str(options.out), executor=executor)
    return {"tokens": outcome.counts["tokens"]}


def sentencepiece(options: argparse.Namespace) -> dict[str, Any]:
    """The bare loop over `encode`."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=f"{options.tokenizer}/tokenizer.model")
    return _timed(lambda texts: sum(len(processor.encode(text)) for text in texts), options)


def sentencepiece_batch(options: argparse.Namespace) -> dict[str, Any]:
    """Its batch mode."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=f"{options.tokenizer}/tokenizer.model")
    return _timed(lambda texts: sum(map(len, processor.encode(texts, num_threads=options.workers))), options)


def tokenizers(options: argparse.Namespace) -> dict[str, Any]:
    """Hugging Face's library, in batches."""
    os.environ["RAYON_NUM_THREADS"] = str(options.workers)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if options.workers > 1 else "false"
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{options.tokenizer}/tokenizer.json")
    tokenizer.encode_special_tokens = True

    def encode(texts: list[str]) -> int:
        batches = (texts[at : at + 256] for at in range(0, len(texts), 256))
        return sum(
            len(encoding.ids)
            for batch in batches
            for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        )

    return _timed(encode, options)


def _timed(encode: Callable[[list[str]], int], options: argparse.Namespace) -> dict[str, Any]:
    with open(options.texts / "texts.jsonl", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    encode(texts[:1])
    wall_s, cpu_s = time.monotonic(), time.process_time()
    tokens = encode(texts)
    return {"tokens": tokens, "cpu_s": time.process_time() - cpu_s, "wall_s": time.monotonic() - wall_s}


JOBS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "hibari": hibari,
    "hibari-jsonl": hibari_jsonl,
    "sentencepiece": sentencepiece,
    "sentencepiece-batch": sentencepiece_batch,
    "tokenizers": tokenizers,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Do one job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    print(json.dumps(JOBS[options.job](options)))


if __name__ == "__main__":
    main()

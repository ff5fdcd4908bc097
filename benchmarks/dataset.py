"""From texts to a mixture: expand, initialize, binarize and mix, each in a process of its own, on growing text.

    python -m benchmarks.dataset --base ../shared/data/models/llama2/tokenizer.model --candidates 16000 --times 1 5
    python -m benchmarks.dataset --base models/smollm2 --candidates 2000 --json

The corpus is the Japanese files of `--japanese`, the other source those of `--english`; the model is a small random
Llama. A copy that `--times` adds begins every document with its number, so that none is a duplicate. After the last
stage, samples of the mixture are decoded and looked for in the texts of the documents that they are traced to; a run in
which one is not found fails. Printed for every stage: wall and CPU seconds, the most memory of all its processes, and
what it made.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.binarize import DATA, LLAMA2
from benchmarks.measure import measured
from storage.artifact import Outcome

SEED, SEQ_LEN = 1234, 512
JAPANESE = ("ja_aozora", "ja_python_docs", "ja_react_docs")
_ROWS = 256  # documents written at once
_CHECKED_SAMPLES = 200


@dataclass(frozen=True)
class Row:
    """A stage on `times` copies of the text; `counts` are some of what it made."""

    stage: str
    times: int
    wall_s: float
    cpu_s: float
    peak_mib: float
    counts: dict[str, int]


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the stages, or one of them in this process, and print."""
    options = _parser().parse_args(arguments)
    if options.stage:
        print(json.dumps(STAGES[options.stage](options)))
        return
    rows: list[Row] = []
    for times in options.times:
        with tempfile.TemporaryDirectory(prefix="hibari-dataset-", dir=options.work) as work:
            characters = write_sources(options.japanese, options.english, times, Path(work))
            print(f"{times} x: {characters:,} characters", flush=True)
            for stage in STAGES:
                rows.append(_measure(stage, times, options, work))
                print(_line(rows[-1]), flush=True)
            print(f"{check_samples(Path(work))} samples found in their documents", flush=True)
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))


def write_sources(japanese: Sequence[str], english: Sequence[str], times: int, out: Path) -> int:
    """Lay out `corpus/documents/*.parquet`, one of each file and copy, and `english.jsonl`; characters in all."""
    import pyarrow as pa

    from storage.documents import document_id, write_documents

    schema = pa.schema([("id", pa.binary(16)), ("text", pa.string())])
    characters = 0

    def batches(file: str, copy: int) -> Iterator[pa.RecordBatch]:
        nonlocal characters
        texts = iter(_copied(file, copy))
        number = 0
        while some := list(islice(texts, _ROWS)):
            ids = [document_id(file, f"{copy}:{number + at}") for at in range(len(some))]
            number, characters = number + len(some), characters + sum(map(len, some))
            yield pa.record_batch([ids, some], schema=schema)

    for copy in range(times):
        for number, file in enumerate(japanese):
            write_documents(str(out / "corpus"), f"documents/{number}-{copy}.parquet", batches(file, copy), schema)
    with open(out / "english.jsonl", "w", encoding="utf-8") as lines:
        for text in (text for copy in range(times) for file in english for text in _copied(file, copy)):
            characters += len(text)
            lines.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    return characters


def _copied(file: str, copy: int) -> Iterator[str]:
    from storage.sources import read_source

    return (f"{copy}\n{text}" if copy else text for _, text in read_source([file], "benchmark"))


def _shards(options: argparse.Namespace) -> list[Any]:
    from storage.corpus import CorpusShard

    return [CorpusShard(str(path)) for path in sorted((options.out / "corpus" / "documents").iterdir())]


def _ratio() -> float:
    from tasks.binarize.config import BinarizeConfig

    return BinarizeConfig().validation_ratio


def _expand(options: argparse.Namespace) -> Outcome:
    from storage.corpus import corpus_texts
    from tokenizer.expand import ExpandOptions, expand
    from tokenizer.sample import learnable

    def texts() -> Iterator[str]:
        return (text for shard in _shards(options) for text in learnable(corpus_texts(shard), _ratio()))

    chosen = ExpandOptions(num_candidates=options.candidates, words=options.words)
    return expand(options.base, texts, chosen, out=str(options.out / "expand"), seed=SEED)


def _initialize(options: argparse.Namespace) -> Outcome:
    from tokenizer.initialize import initialize
    from tokenizer.random_model import RandomModel

    tokenizer, out = str(options.out / "expand" / "tokenizer"), str(options.out / "initialize")
    return initialize(None, RandomModel(), tokenizer=tokenizer, out=out, seed=SEED)


def _binarize(options: argparse.Namespace) -> Outcome:
    from tasks.binarize.binarize import SourceInput, binarize
    from tasks.binarize.config import BinarizeConfig
    from tasks.shards import ExecutorConfig

    sources = [
        SourceInput("corpus", "ja", tuple(_shards(options))),
        SourceInput("english", "en", (str(options.out / "english.jsonl"),)),
    ]
    tokenizer, executor = str(options.out / "expand" / "tokenizer"), ExecutorConfig(workers=options.workers)
    return binarize(sources, tokenizer, BinarizeConfig(), out=str(options.out / "binarize"), executor=executor)


def _mix(options: argparse.Namespace) -> Outcome:
    from storage.token_catalog import read_catalog
    from tasks.mix.config import MixConfig
    from tasks.mix.mix import mix

    binarized, out = str(options.out / "binarize"), str(options.out / "mix")
    corpus = next(source for source in read_catalog(binarized) if source.name == "corpus")
    config = MixConfig(train_tokens=corpus.splits["train"].tokens, max_epochs=8)
    return mix(binarized, {"corpus": 0.9, "english": 0.1}, config, seq_len=SEQ_LEN, seed=SEED, out=out)


def _counting(stage: Callable[[argparse.Namespace], Outcome], *names: str) -> Callable[[argparse.Namespace], Any]:
    def run(options: argparse.Namespace) -> dict[str, int]:
        counts = stage(options).counts
        return {name: counts[name] for name in names}

    return run


STAGES: dict[str, Callable[[argparse.Namespace], Any]] = {
    "expand": _counting(_expand, "sample_characters", "new_pieces", "vocab"),
    "initialize": _counting(_initialize, "new_rows", "parameters"),
    "binarize": _counting(_binarize, "documents", "tokens", "bytes"),
    "mix": _counting(_mix, "samples", "tokens"),
}


def check_samples(out: Path) -> int:
    """Look for some samples' text in the documents they are traced to; how many samples.

    Raises:
        RuntimeError: a piece of a sample is not part of its document's text.
    """
    from storage.mixture import Mixture
    from storage.sources import read_source
    from tokenizer.encoder import load_encoder

    texts = _corpus_texts(out)
    texts |= dict(read_source([str(out / "english.jsonl")], "english"))
    encoder = load_encoder(str(out / "expand" / "tokenizer"))
    with Mixture.open(str(out / "mix")) as mixture:
        chosen = range(0, mixture.num_samples, max(1, mixture.num_samples // _CHECKED_SAMPLES))
        for number in chosen:
            sample, trace = mixture[number], mixture.trace(number)
            at = 0
            for span, id in zip(trace.spans, mixture.document_ids(trace), strict=True):
                ids = [int(token) for token in sample.tokens[at : at + span.length]]
                at += span.length
                around = set(encoder.policy.prefix + encoder.policy.suffix)
                found = encoder.decode([token for token in ids if token not in around])
                # A character may be cut at either end, and a tokenizer may put a space before a text.
                if _whole(found) not in texts[id]:
                    raise RuntimeError(f"sample {number}: {found[:80]!r} is not in document {id.hex()}")
    return len(chosen)


def _corpus_texts(out: Path) -> dict[bytes, str]:
    from storage.documents import read_texts

    return {id: text for path in (out / "corpus" / "documents").iterdir() for id, text in read_texts(str(path))}


def _whole(text: str) -> str:
    return re.sub("^\ufffd+|\ufffd+$", "", text).strip()


def _measure(stage: str, times: int, options: argparse.Namespace, work: str) -> Row:
    command = [sys.executable, "-m", "benchmarks.dataset", "--stage", stage, "--out", work, "--base", str(options.base)]
    command += ["--candidates", str(options.candidates), "--words", options.words, "--workers", str(options.workers)]
    used = measured(command)
    return Row(stage, times, used.wall_s, used.cpu_s, used.peak_mib, json.loads(used.output.splitlines()[-1]))


def _line(row: Row) -> str:
    made = ", ".join(f"{value:,} {name}" for name, value in row.counts.items())
    return f"{row.stage:>10}  {row.wall_s:6.1f} s  {row.cpu_s:6.1f} CPU s  {row.peak_mib:6,.0f} MiB  {made}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=str(LLAMA2), help="tokenizer.model or tokenizer folder")
    parser.add_argument("--candidates", type=int, default=16_000)
    parser.add_argument("--words", choices=["mecab", "none"], default="mecab")
    parser.add_argument("--japanese", nargs="+", default=[f"{DATA}/text/{name}.jsonl.gz" for name in JAPANESE])
    parser.add_argument("--english", nargs="+", default=[f"{DATA}/text/en.jsonl.gz"])
    parser.add_argument("--times", type=int, nargs="+", default=[1, 5], help="copies of the text")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--work", type=Path, help="folder for what is written meanwhile")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--stage", choices=list(STAGES), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()

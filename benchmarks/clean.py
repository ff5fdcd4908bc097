"""Masking and decontamination: what they cost, what they find, and what they take for something it is not.

In: texts in JSON lines or Parquet, WARC pages' documents for example, and benchmarks as `shared/data/eval` holds them.
Out: four tables.

1. CPU time for 1,800 characters (the middle of `--repeat` rounds over the same texts), and for building the index.
2. Personal information found in the texts, by rule; with `--show N` a sample of each to be judged by eye.
3. Recall of planted items: 200 of each benchmark, written in eight ways, each in the middle of a text.
4. Documents of the texts that contain items although nothing was planted.

    python -m benchmarks.clean --show 20
    python -m benchmarks.clean --texts runs/curate/x-0123/documents/*.parquet --ngram 10 --json
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from storage.sources import read_source
from tasks.refine.benchmarks import read_items
from tasks.refine.contamination import Contamination, merge_tallies
from tasks.refine.contamination_config import BenchmarkConfig, DecontaminationConfig
from tasks.refine.pii import find, mask
from tasks.refine.pii_config import PiiConfig

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TEXTS = [str(DATA / "text" / f"{name}.jsonl.gz") for name in ("ja_aozora", "ja_python_docs", "ja_react_docs", "en")]
TYPICAL = 1800  # characters of a page
NUM_PLANTED = 200
_JSQUAD = ("jsquad/valid.json", "jsquad/test.json")
BENCHMARKS: tuple[tuple[str, tuple[str, ...], tuple[str, ...], str | None], ...] = (
    ("jcommonsenseqa", ("jcommonsenseqa/*.jsonl",), ("question",), "q_id"),
    ("jsquad", _JSQUAD, ("data.paragraphs.qas.question",), "id"),
    ("jsquad contexts", _JSQUAD, ("data.paragraphs.context",), None),
    ("jnli", ("jnli/*.jsonl",), ("sentence1", "sentence2"), "sentence_pair_id"),
    ("jemhopqa", ("jemhopqa/*.json",), ("question",), "qid"),
    ("niilc", ("niilc/*.jsonl",), ("text",), "id"),
    ("mgsm ja", ("mgsm_ja/mgsm_ja.tsv",), ("0",), None),
    ("xwinograd ja", ("xwinograd_ja/jp.tsv",), ("3",), None),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _parser().parse_args(arguments)
    texts = [text for uri in options.texts for _, text in read_source([uri], "texts")]
    benchmarks = [
        BenchmarkConfig(name=name, files=tuple(f"{options.eval}/{file}" for file in files), fields=fields, id=id)
        for name, files, fields, id in BENCHMARKS
    ]
    started = time.process_time()
    contamination = Contamination(DecontaminationConfig(benchmarks=tuple(benchmarks), ngram=options.ngram))
    costs = {"index (s)": time.process_time() - started}
    pieces = [text[at : at + TYPICAL] for text in texts for at in range(0, len(text) - TYPICAL + 1, TYPICAL)]
    pieces = random.Random(1).sample(pieces, min(1000, len(pieces)))
    costs["mask (ms)"] = _cost(lambda text: mask(text, PiiConfig()), pieces, options.repeat)
    costs["find (ms)"] = _cost(contamination.find, pieces, options.repeat)
    print(f"{len(texts):,} texts, {sum(map(len, texts)):,} characters; CPU for {TYPICAL:,} characters")
    print("\n".join(f"  {name:12}{cost:8.3f}" for name, cost in costs.items()))
    found = personal_information(texts)
    print("\npersonal information: found, different")
    for rule, finds in found.items():
        print(f"  {rule:22}{sum(finds.values()):7,}{len(finds):7,}")
        for shown in random.Random(1).sample(sorted(finds), min(options.show, len(finds))):
            print(f"      {shown}")
    recall = {benchmark.name: planted(contamination, benchmark, texts) for benchmark in benchmarks}
    print("\nrecall of planted items: " + ", ".join(WRITINGS))
    print("\n".join(f"  {name:18}" + "".join(f"{row[way]:7.3f}" for way in WRITINGS) for name, row in recall.items()))
    table = merge_tallies([contamination.tally(map(contamination.find, texts))])
    print("\nnothing planted: items, too short, items found, documents")
    columns = ("items", "skipped", "items_found", "documents")
    print("\n".join(f"  {name:18}" + "".join(f"{row[c]:8,}" for c in columns) for name, row in table.items()))
    if options.json:
        sizes: dict[str, Any] = {rule: [sum(finds.values()), len(finds)] for rule, finds in found.items()}
        print(json.dumps({"costs": costs, "personal_information": sizes, "recall": recall, "contamination": table}))


def personal_information(texts: Sequence[str]) -> dict[str, Counter[str]]:
    """Rule -> what it found, with some characters around it, and how often."""
    found: dict[str, Counter[str]] = {}
    for text in texts:
        for piece in find(text, PiiConfig()):
            around = f"{text[max(0, piece.start - 20) : piece.start]}[{text[piece.start : piece.end]}]"
            found.setdefault(piece.rule, Counter())[" ".join((around + text[piece.end : piece.end + 10]).split())] += 1
    return found


def _spread(text: str) -> str:
    return "　".join(text[start : start + 5] for start in range(0, len(text), 5))


def _full_width(text: str) -> str:
    return "".join(chr(ord(character) + 0xFEE0) if "!" <= character <= "~" else character for character in text)


def _bare(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def _misspelt(text: str) -> str:
    return text[: len(text) // 2] + "鶯" + text[len(text) // 2 + 1 :]


WRITINGS: dict[str, Callable[[str], str]] = {
    "verbatim": str,
    "spaced": _spread,
    "full width": _full_width,
    "half width": lambda text: unicodedata.normalize("NFKC", text),
    "no punctuation": _bare,
    "capitals": str.upper,
    "a letter changed": _misspelt,
    "first half": lambda text: text[: len(text) // 2],
}


def planted(contamination: Contamination, benchmark: BenchmarkConfig, texts: Sequence[str]) -> dict[str, float]:
    """Way of writing -> share of planted items that were found."""
    draw = random.Random(1)
    items = [item for item in read_items(benchmark) if contamination.find(item.text)]  # those not too short
    items = draw.sample(items, min(NUM_PLANTED, len(items)))
    shares = {}
    for way, write in WRITINGS.items():
        num_found = 0
        for item in items:
            text = draw.choice(texts)
            at = draw.randrange(len(text) + 1)
            page = f"{text[max(0, at - 900) : at]}\n{write(item.text)}\n{text[at : at + 900]}"
            num_found += any(hit.benchmark == benchmark.name for hit in contamination.find(page))
        shares[way] = num_found / len(items)
    return shares


def _cost(work: Callable[[str], object], texts: Sequence[str], repeat: int) -> float:
    """CPU milliseconds a text."""
    times = []
    for _ in range(repeat):
        started = time.process_time()
        for text in texts:
            work(text)
        times.append(1000 * (time.process_time() - started) / len(texts))
    return statistics.median(times)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Masking and decontamination: cost, finds and recall.")
    parser.add_argument("--texts", nargs="+", default=TEXTS, help=".jsonl, .jsonl.gz or .parquet with `text`")
    parser.add_argument("--eval", type=Path, default=DATA / "eval", help="folder of benchmarks")
    parser.add_argument("--ngram", type=int, default=DecontaminationConfig().ngram, help="letters of an n-gram")
    parser.add_argument("--show", type=int, default=0, help="finds of each rule to print")
    parser.add_argument("--repeat", type=int, default=5, help="rounds of timing")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    return parser


if __name__ == "__main__":
    main()

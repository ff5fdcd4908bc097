"""Tokenising into training files beside the peers: megabytes of text per CPU second, tokens, memory.

    python -m benchmarks.binarize --tokenizer ../shared/data/models/llama2/tokenizer.model --repeat 3 --workers 1 2
    python -m benchmarks.binarize --tokenizer runs/expand/x-0123/tokenizer --peer-python VENV/bin/python --times 4

`hibari` is the whole stage: documents read (Parquet of the corpus; `hibari-jsonl`: JSON lines), tokenised, written,
selected, merged and indexed. Beside it sentencepiece's bare loop over `encode`, its batch mode and Hugging Face's
`encode_batch_fast`, which encode texts that are in memory and keep nothing; and datatrove's DocumentTokenizer, which
reads JSON lines and writes tokens. Every run is a process of its own, the rows in turn, medians of `--repeat`.

Start-up is shown apart: what the same command takes for 20 kB of text (imports, tokenizer, worker processes); rates are
of the rest. The bare loops time themselves around the encoding. Ratios are to sentencepiece's bare loop, in megabytes
per CPU second.

Text: the first 12.5 MB of Aozora and 3 MB of English of `../shared/data`, or `--texts FILE:MEGABYTES`. Copies that
`--times` adds begin with their number; what an encoder remembers of words it meets there again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.binarize_jobs import JOBS, write_texts, write_tiny_texts
from benchmarks.measure import Used, measured

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
TEXTS = (f"{DATA}/text/ja_aozora.jsonl.gz:12.5", f"{DATA}/text/en.jsonl.gz:3")
LLAMA2 = DATA / "models" / "llama2" / "tokenizer.model"
BASELINE = ("sentencepiece", 1)
_PEER_FOLDER = Path(__file__).resolve().parent / "peers"
_NEEDS = {"sentencepiece": "tokenizer.model", "sentencepiece-batch": "tokenizer.model", "tokenizers": "tokenizer.json",
          "datatrove": "tokenizer.json"}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """Medians over repeats; seconds are without the start-up, which is CPU seconds."""

    name: str
    workers: int
    tokens: int
    cpu_s: float
    wall_s: float
    startup_s: float
    peak_mib: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table for each tokenizer."""
    options = _parser().parse_args(arguments)
    sources = [
        (Path(path), float(megabytes)) for path, _, megabytes in (text.rpartition(":") for text in options.texts)
    ]
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hibari-binarize-", dir=options.work) as folder:
        work = Path(folder)
        write_tiny_texts(sources, work / "tiny")
        tokenizers = [prepare_tokenizer(path, work / f"tokenizer-{at}") for at, path in enumerate(options.tokenizer)]
        for times in options.times:
            size = write_texts(sources, times, work / "texts")
            for name, tokenizer in zip(options.tokenizer, tokenizers, strict=True):
                rows = compare(tokenizer, work, options)
                print(f"\n{name}: {size['bytes'] / 1e6:.1f} MB, {size['documents']:,} documents")
                print(_table(rows, size["bytes"]), flush=True)
                figures += [{"tokenizer": str(name), "times": times, **size} | asdict(row) for row in rows]
            shutil.rmtree(work / "texts")
    if options.json:
        print(json.dumps(figures))


def prepare_tokenizer(path: Path, out: Path) -> Path:
    """The tokenizer's folder; of a lone SentencePiece model, a new one with our `tokenizer.json` beside it."""
    if path.is_dir():
        return path
    from tokenizer.sentencepiece_json import to_tokenizer_json

    out.mkdir()
    shutil.copyfile(path, out / "tokenizer.model")
    (out / "tokenizer.json").write_bytes(to_tokenizer_json(path.read_bytes()))
    return out


def compare(tokenizer: Path, work: Path, options: argparse.Namespace) -> list[Row]:
    """Every job with every number of workers, in turn; the bare loop is of one core whatever is asked for."""
    names = [name for name in (*JOBS, *(["datatrove"] if options.peer_python else [])) if name in options.rows]
    names = [name for name in names if (tokenizer / _NEEDS.get(name, "")).exists()]
    rows = [(name, workers) for name in names for workers in ([1] if name == BASELINE[0] else options.workers)]
    for name, workers in rows[:2]:
        _run(name, workers, tokenizer, work / "tiny", work, options)  # compiles, and fills the file cache
    startups: dict[tuple[str, int], list[Used]] = {row: [] for row in rows}
    found: dict[tuple[str, int], list[tuple[Used, dict[str, Any]]]] = {row: [] for row in rows}
    for _ in range(options.repeat):
        for row in rows:
            startups[row].append(_run(*row, tokenizer, work / "tiny", work, options)[0])
            found[row].append(_run(*row, tokenizer, work / "texts", work, options))
    return [_row(*row, startups[row], found[row]) for row in rows]


def _run(
    name: str, workers: int, tokenizer: Path, texts: Path, work: Path, options: argparse.Namespace
) -> tuple[Used, dict[str, Any]]:
    out = work / "out"
    if name == "datatrove":
        script = str(_PEER_FOLDER / "datatrove_tokens.py")
        arguments = [str(out), f"{tokenizer}/tokenizer.json", str(texts / "jsonl"), str(workers)]
        command = [options.peer_python, script, *arguments]
    else:
        command = [sys.executable, "-m", "benchmarks.binarize_jobs", name, "--texts", str(texts)]
        command += ["--tokenizer", str(tokenizer), "--workers", str(workers), "--out", str(out)]
    used = measured(command)
    shutil.rmtree(out, ignore_errors=True)
    return used, json.loads(used.output.splitlines()[-1])


def _row(name: str, workers: int, startups: Sequence[Used], found: Sequence[tuple[Used, dict[str, Any]]]) -> Row:
    tokens = {said["tokens"] for _, said in found}
    if len(tokens) != 1:
        raise RuntimeError(f"{name} made {tokens} tokens of the same texts")
    startup_s = statistics.median(used.cpu_s for used in startups)
    startup_wall_s = statistics.median(used.wall_s for used in startups)
    cpu_s = statistics.median(said.get("cpu_s", used.cpu_s - startup_s) for used, said in found)
    wall_s = statistics.median(said.get("wall_s", used.wall_s - startup_wall_s) for used, said in found)
    if min(cpu_s, wall_s) <= 0:
        raise RuntimeError(
            f"{name} with {workers} workers took no longer than its start-up ({startup_s:.1f} CPU s): the text is too "
            "short for a machine as busy as this; give --times"
        )
    return Row(
        name, workers, tokens.pop(), cpu_s, wall_s, startup_s, statistics.median(used.peak_mib for used, _ in found)
    )


def _table(rows: Sequence[Row], num_bytes: int) -> str:
    base = next((row.cpu_s for row in rows if (row.name, row.workers) == BASELINE), None)
    lines = [("", "workers", "MB/s", "MB/CPU-s", "M tokens/s", "tokens", "start-up CPU s", "MiB", "x sp loop")]
    for row in rows:
        lines.append((
            row.name,
            str(row.workers),
            f"{num_bytes / 1e6 / row.wall_s:.1f}",
            f"{num_bytes / 1e6 / row.cpu_s:.1f}",
            f"{row.tokens / 1e6 / row.wall_s:.2f}",
            f"{row.tokens:,}",
            f"{row.startup_s:.2f}",
            f"{row.peak_mib:,.0f}",
            f"{base / row.cpu_s:.2f}" if base else "-",
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", nargs="+", default=TEXTS, metavar="FILE:MB", help=".jsonl(.gz) files with a `text`")
    parser.add_argument("--times", type=int, nargs="+", default=[1], help="copies of the text; a table for each")
    parser.add_argument("--tokenizer", type=Path, nargs="+", default=[LLAMA2], help="folders, or SentencePiece models")
    parser.add_argument("--rows", nargs="+", choices=[*JOBS, "datatrove"], default=[*JOBS, "datatrove"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peer-python", help="interpreter of an environment that has datatrove")
    parser.add_argument("--work", type=Path, help="folder for what is written meanwhile")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser


if __name__ == "__main__":
    main()

"""The evaluation's runner beside lm-evaluation-harness: speed and start-up, and whether both say the same.

    python -m benchmarks.evaluate --peer-python ../lm-eval/bin/python
    python -m benchmarks.evaluate --peer-python ../lm-eval/bin/python --agreement --model MODEL --num-items 50 --json

Without `--agreement`: HellaSwag items on a random Llama of 9.4 million parameters (or `--model`), float32 on the CPU,
with the same prompts and shots (lm-eval's `first_n`), in turn, each run a process of its own. Time is from the first
request on, tokenising included; start-up is from the making of the process to there. Log-likelihoods are compared
choice by choice.

With it: HellaSwag, OpenBookQA, XWinograd and GSM8K, asked by our suite, by lm-eval with its own model, and by lm-eval
with ours behind `HibariLM`; requests, log-likelihoods, texts and scores are compared example by example. lm-eval's
softmax is float64 there: its float32 sums lose the tail of a peaked distribution, 2e-5 an id of SmolLM2, where ours
stays within 3e-5 of float64 for a whole ending.

lm-eval 0.4.13 is run by another Python (`pip install lm-eval torch transformers accelerate` there; for `HibariLM` our
own dependencies too).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.lm_eval_tasks import BENCHMARKS, Agreement, Case, compare, make_case

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
FILES = {  # below the folder of benchmark data: items, and examples for shots
    "hellaswag": ("hellaswag/validation.jsonl", None),
    "openbookqa": ("openbookqa/test.jsonl", None),
    "xwinograd_en": ("xwinograd_en/en.tsv", None),
    "gsm8k": ("gsm8k/test.jsonl", "gsm8k/train_first1000.jsonl"),
}
TIMES = ("started_s", "started_cpu_s", "seconds", "cpu_s")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the comparisons and print its table."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="hibari-evaluate-", dir=options.work) as folder:
        work = Path(folder)
        model = options.model or make_model(work / "model", options.tokenizer)
        figures = agreement(options, model, work) if options.agreement else speed(options, model, work)
    if options.json:
        print(json.dumps(figures))


def make_model(folder: Path, tokenizer: Path) -> Path:
    """A Llama of random weights, 9,397,888 parameters with 32,000 ids, and its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tokenizer.encoder import load_encoder
    from tokenizer.sentencepiece_json import to_tokenizer_json

    folder.mkdir()
    main = tokenizer.read_bytes()
    (folder / "tokenizer.model").write_bytes(main)
    # transformers' own conversion of a tokenizer.model cuts runs of spaces otherwise than SentencePiece.
    (folder / "tokenizer.json").write_bytes(to_tokenizer_json(main))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"} | names))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=load_encoder(folder).vocab_size,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=6,
        num_attention_heads=4,
        max_position_embeddings=4096,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def speed(options: argparse.Namespace, model: Path, work: Path) -> dict[str, Any]:
    """Ours and lm-eval in turn; the medians of the rounds, and how far the values are apart."""
    case = _case("hellaswag", options, work)
    figures: dict[str, Any] = {}
    table = Table("shots", "", "items/s", "CPU ms/item", "start-up s", "start-up CPU s", title="medians")
    for shots in options.shots:
        rounds = []
        for _ in range(options.rounds):
            runs = [case.run(shots)]
            (ours,), (peer,) = run_ours(options, model, runs, work), run_peer(options, model, runs, work)
            rounds.append({"hibari": ours, "lm-eval": peer})
        medians = {name: _medians([each[name] for each in rounds]) for name in ("hibari", "lm-eval")}
        agreed = [compare(each["hibari"], each["lm-eval"]) for each in rounds]
        for name, median in medians.items():
            per_s = options.num_items / median["seconds"]
            cpu_ms = 1000 * median["cpu_s"] / options.num_items
            times = (f"{median['started_s']:.1f}", f"{median['started_cpu_s']:.1f}")
            table.add_row(str(shots), name, f"{per_s:.1f}", f"{cpu_ms:.1f}", *times)
        ratios = {name: medians["lm-eval"][name] / medians["hibari"][name] for name in TIMES}
        cells = [f"x {ratios[name]:.2f}" for name in ("seconds", "cpu_s", "started_s", "started_cpu_s")]
        table.add_row("", "lm-eval / hibari", *cells, end_section=True)
        figures[f"{shots} shots"] = medians | {
            "ratios": ratios,
            "agreement": [asdict(each) for each in agreed],
            "rounds": [
                {name: {key: _times(found)[key] for key in TIMES} for name, found in each.items()} for each in rounds
            ],
        }
    Console(width=100).print(table)
    for name, found in figures.items():
        print(f"{name}: {_described(Agreement(**found['agreement'][0]))}")
    return figures


def agreement(options: argparse.Namespace, model: Path, work: Path) -> dict[str, Any]:
    """Each benchmark through both, with ours behind lm-eval's interface as well."""
    cases = [(benchmark, shots) for benchmark in options.benchmarks for shots in options.shots]
    runs = [_case(benchmark, options, work).run(shots) for benchmark, shots in cases]
    peer = run_peer(options, model, runs, work)
    ours = {
        "suite": run_ours(options, model, runs, work),
        "adapter": run_peer(options, model, runs, work, runner="hibari"),
    }
    figures: dict[str, Any] = {}
    for number, (benchmark, shots) in enumerate(cases):
        agreed = {name: compare(found[number], peer[number]) for name, found in ours.items()}
        for name, each in agreed.items():
            print(f"{benchmark}, {shots} shots, {name}: {_described(each)}")
        figures[f"{benchmark}, {shots} shots"] = {name: asdict(each) for name, each in agreed.items()}
    return figures


def run_ours(
    options: argparse.Namespace, model: Path, runs: Sequence[Mapping[str, Any]], work: Path
) -> list[dict[str, Any]]:
    """Our suite and runner, in a fresh process."""
    asked = {"model": str(model), "runs": runs, "batch_size": options.batch_size, "threads": options.threads}
    return _run([sys.executable, "-m", "benchmarks.evaluate_run"], asked, work)


def run_peer(
    options: argparse.Namespace, model: Path, runs: Sequence[Mapping[str, Any]], work: Path, runner: str = "hf"
) -> list[dict[str, Any]]:
    """lm-eval, in a fresh process of its Python."""
    asked = {"model": str(model), "runs": runs, "runner": runner, "threads": options.threads}
    asked["softmax_dtype"] = "float64" if options.agreement else None
    asked["batch_size"] = options.peer_batch_size if runner == "hf" else options.batch_size
    script = str(ROOT / "benchmarks" / "peers" / "lm_eval_run.py")
    return _run([options.peer_python, script], asked, work)


def _run(command: Sequence[str], asked: Mapping[str, Any], work: Path) -> list[dict[str, Any]]:
    """What a process found of its runs.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    (work / "asked.json").write_text(json.dumps(asked))
    whole = [*command, str(work / "asked.json"), str(work / "found.json")]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(work)}
    environment |= {"OMP_NUM_THREADS": str(asked["threads"]), "TOKENIZERS_PARALLELISM": "false"}
    ended = subprocess.run(whole, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(whole)} ended with {ended.returncode}:\n{ended.stderr[-2000:]}")
    found: list[dict[str, Any]] = json.loads((work / "found.json").read_text())
    return found


def _case(benchmark: str, options: argparse.Namespace, work: Path) -> Case:
    items, shots = (None if path is None else options.data / path for path in FILES[benchmark])
    assert items is not None
    if benchmark == "hellaswag" and options.items:
        items = options.items
    return make_case(benchmark, items, shots, work, limit=options.num_items)


def _times(found: Mapping[str, Any]) -> dict[str, float]:
    """`seconds` from the first request on."""
    return {**found, "seconds": found["answered_s"] - found["started_s"]}


def _medians(found: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {name: statistics.median(_times(each)[name] for each in found) for name in TIMES}


def _described(agreed: Agreement) -> str:
    return (
        f"of {agreed.examples} examples the same requests {agreed.requests}, predictions {agreed.predictions}, "
        f"texts {agreed.texts}, scores {agreed.scores}; log-likelihoods differ by at most "
        f"{agreed.largest_difference:.1e}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has lm-eval 0.4.13")
    parser.add_argument("--model", type=Path, help="a Hugging Face folder; else a random Llama is made")
    parser.add_argument("--tokenizer", type=Path, default=DATA / "models" / "llama2" / "tokenizer.model")
    parser.add_argument("--data", type=Path, default=DATA / "eval", help="folder of the benchmarks' files")
    parser.add_argument("--items", type=Path, help="HellaSwag items; else those of the data folder")
    parser.add_argument("--num-items", type=int, default=200)
    parser.add_argument("--shots", type=int, nargs="+", default=[0, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=16, help="items of ours")
    parser.add_argument("--peer-batch-size", type=int, default=16, help="choices of lm-eval's")
    parser.add_argument("--agreement", action="store_true", help="compare four benchmarks example by example instead")
    parser.add_argument("--benchmarks", choices=BENCHMARKS, nargs="+", default=list(BENCHMARKS))
    parser.add_argument("--work", type=Path, help="folder for what is made on the way, which is removed at the end")
    parser.add_argument("--json", action="store_true", help="end in one JSON line")
    return parser


if __name__ == "__main__":
    main()

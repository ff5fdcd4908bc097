"""A Prefect server for the whole test session, and a tiny run whose inputs the tests write."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sentencepiece
import yaml

from flows import server
from tests.flows.pages import ENGLISH, english, write_crawl

ROOT = Path(__file__).resolve().parents[2]
Hibari = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def prefect_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment of processes that use the tests' own Prefect server, which is stopped at the end."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
    for name, value in server.QUIET.items():
        patch.setenv(name, value)
    url, process = server.start_own()
    patch.setenv("PREFECT_API_URL", url)
    environment = dict(os.environ)
    patch.undo()
    yield environment
    server.stop(process)


@pytest.fixture(scope="session")
def hibari(prefect_environment: dict[str, str]) -> Hibari:
    """Run the command line in a process of its own."""

    def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            cwd=cwd,
            env=prefect_environment | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | environment,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )

    return run


def write_run(folder: Path) -> Path:
    """A run file with everything it needs: 20 records, English text, a small SentencePiece model, a random Llama."""
    write_crawl(folder)
    documents = [{"id": f"e{seed}", "text": english(seed + 100)} for seed in range(30)]
    (folder / "en.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    model = io.BytesIO()  # a model written to a path would hold that path
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(ENGLISH * 20),
        model_writer=model,
        model_type="bpe",
        vocab_size=380,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    run = {
        "name": "tiny",
        "root": str(folder / "runs"),
        "executor": {"kind": "process", "workers": 1},
        "curate": {"sources": [str(folder / "*.warc.gz")]},
        "expand": {"base": str(folder / "tokenizer.model"), "num_candidates": 600},
        "initialize": {
            "base_model": {"random": {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "max_position": 512}}
        },
        "binarize": {"validation_ratio": 0.25},
        "sources": [
            {"name": "corpus", "language": "ja", "weight": 0.9},
            {"name": "web-en", "language": "en", "weight": 0.1, "documents": [str(folder / "en.jsonl")]},
        ],
        "mix": {"train_tokens": 64 * 4 * 6, "validation_tokens": 256},
        "train": {
            "seq_len": 64,
            "global_batch": 4,
            "micro_batch": 1,
            "warmup_steps": 1,
            "lr": 1e-2,
            "min_lr": 1e-5,
            "dtype": "fp32",
            "parallel": {"dp": 2},
            "save_every": 3,
        },
        "evaluate": {"max_bytes": 2000, "window": 64, "stride": 48, "resamples": 100, "batch_size": 8},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run, sort_keys=False))
    return path


@dataclass(frozen=True)
class Swept:
    """A sweep that the command line has run: its file, what the command said, and complete artifacts per stage then."""

    file: Path
    result: subprocess.CompletedProcess[str]
    made: dict[str, int]

    @property
    def root(self) -> Path:
        return self.file.parent / "runs"

    def run_file(self, variant: str) -> Path:
        """The resolved run file of a variant."""
        return self.root / "runs" / f"tiny@{variant}.yaml"


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory, hibari: Hibari) -> Swept:
    """Two variants that share their data, and one that fails: six steps each, checkpoints at 2, 4 and 6."""
    folder = tmp_path_factory.mktemp("sweep")
    write_run(folder)
    sweep = {
        "name": "tiny-ablation",
        "run": "run.yaml",
        "steps": [4],
        "set": {"train.save_every": 2, "train.keep_checkpoints": 3, "train.parallel.dp": 1},
        "variants": [
            {"name": "as-is"},
            {"name": "greedy", "set": {"mix.max_epochs": 0.001}},
            {"name": "slow-lr", "set": {"train.lr": 1e-4}},
        ],
    }
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(sweep, sort_keys=False))
    result = hibari("sweep", str(file))
    made = Counter(manifest.parent.parent.name for manifest in (folder / "runs").glob("*/*/manifest.json"))
    return Swept(file, result, dict(made))

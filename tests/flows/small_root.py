"""A root whose data stages are made by their own adapters, without a Prefect run, and whose training is pretended.

make_data_stages(load_run(path))
pretend_to_train(plan, steps=6, saved=(3, 6))
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import Task

from flows.config import RunConfig
from flows.plan import Plan, make_plan
from flows.records import record_run
from storage.artifact import Manifest, seal
from tasks.binarize.task import binarize
from tasks.curate.task import curate
from tasks.deduplicate.task import deduplicate
from tasks.expand.task import expand
from tasks.mix.task import mix
from tasks.stage import StagePlan, StageRecord
from tests.flows.conftest import write_run
from tests.flows.pages import english


def write_run_with_urls(folder: Path) -> Path:
    """The tiny run, whose English documents have URLs: ten of the thirty at `old.example.org`."""
    path = write_run(folder)
    documents = [
        {"id": f"e{n}", "text": english(n + 100), "url": f"https://{'new' if n % 3 else 'old'}.example.org/{n}"}
        for n in range(30)
    ]
    (folder / "en.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def make_data_stages(run: RunConfig) -> Plan:
    """Make what the plan says of curate, deduplicate, expand, binarize and mix, and record the run."""
    at = make_plan(run)
    record_run(run, at, None, "run.yaml")
    documents = call(curate, at.curate, run.curate, run.executor)
    corpus = call(deduplicate, at.deduplicate, run.deduplicate, run.refine, run.executor, documents)
    tokenizer = call(expand, at.expand, run.expand, run.binarize.validation_ratio, run.seed, corpus)
    tokens = call(binarize, at.binarize, run.binarize, run.sources, run.executor, corpus, tokenizer)
    call(mix, at.mix, run.mix, run.weights, run.train, run.seed, tokens)
    return at


def call(stage: Task[Any, StageRecord], *arguments: Any) -> StageRecord:
    """A stage's adapter as a plain function."""
    adapter: Any = stage.fn
    record: StageRecord = adapter.__wrapped__(*arguments)
    return record


def complete(plan: StagePlan, **counts: int) -> None:
    """Seal an artifact that has no files."""
    made_of = (plan.algorithm_version, dict(plan.literals), dict(plan.inputs), dict(plan.libraries))
    started = "2026-01-01T00:00:00+00:00"
    seal(plan.uri, Manifest(plan.stage, plan.name, plan.fingerprint, *made_of, [], counts, "", started, 1.0))


def pretend_to_train(plan: Plan, *, steps: int, saved: Sequence[int]) -> None:
    """A finished training with checkpoints, an exported model, scores and a page."""
    complete(plan.initialize)
    save_checkpoints(plan, saved)
    complete(plan.train, steps=steps)
    for stage in (plan.export, plan.evaluate, plan.report):
        complete(stage)


def save_checkpoints(plan: Plan, saved: Sequence[int]) -> None:
    for step in saved:
        folder = Path(plan.train.uri) / "checkpoints" / f"step-{step:08}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")

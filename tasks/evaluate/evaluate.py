"""Score models side by side: bits per byte on held-out text, the probe set, and benchmarks.

In: Hugging Face folders, each with its own tokenizer, one of them named "base", held-out documents per language, and
the benchmarks' files. Out, below one URI: `scores.jsonl` (`tasks.evaluate.scores`), `examples/<model>-<task>.jsonl`
with a row per document, question or item, and of benchmarks `benchmarks.json`, `diagnostics.json`, prompts in full,
`contamination.jsonl`, and `not_scored.json` where a profile was skipped. All models see the same texts, questions and
items, so every difference from the base is paired. Folders, tokenizers, texts and benchmarks are checked before the
first model is loaded; models are then loaded one after the other. A killed evaluation goes on behind a benchmark's last
batch (`tasks.evaluate.model_scoring`).

    evaluate({"base": "models/base", "trained": "runs/export/demo-0123"}, texts, config, out=uri, seed=1234)
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from storage.artifact import FileEntry, Outcome, new_file
from storage.rows import read_rows, write_rows
from storage.uri import is_local, join, localized
from tasks.evaluate.benchmark_scoring import Meter, OnProgress, examples_path, journal_folder
from tasks.evaluate.bits_per_byte import HeldOut, select_texts
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.diagnostics import diagnostic_rows
from tasks.evaluate.examples import write_benchmarks
from tasks.evaluate.model_plan import ModelPlan, plan_model
from tasks.evaluate.model_scoring import score_model
from tasks.evaluate.probe import Question, load_probe, probe_digest
from tasks.evaluate.scores import BASE, Held, headline_table, held_items, score_rows
from tasks.evaluate.suite_plan import AskedTask, plan_suite, skipped_profiles
from tasks.shards import ExecutorConfig, Progress, ShardRecord


@dataclass(frozen=True)
class Corpus:
    """The corpus that the models were trained on, and who searches it for the benchmarks' items."""

    uri: str
    executor: ExecutorConfig
    progress: Progress | None = None


def evaluate(
    models: Mapping[str, str],
    texts: Mapping[str, Sequence[tuple[bytes, str]]],
    config: EvaluateConfig,
    *,
    out: str,
    seed: int,
    corpus: Corpus | None = None,
    progress: OnProgress | None = None,
    beside_base: bool = True,
) -> Outcome:
    """Score every model of `models` and write scores and examples below `out`.

    Args:
        models: name -> URI of a Hugging Face folder with tokenizer files; must hold "base" if `beside_base`.
        texts: language -> held-out (id, text).
        seed: of the bootstrap; the scores themselves have no randomness.
        corpus: searched for the benchmarks' items; None: not looked for.
        progress: called with (tokens done, tokens in all, "model: task"); those of benchmarks are estimates.
        beside_base: each score has its paired difference from the base's; False: scores only, and no base is needed.

    Returns:
        Files, counts per language, and in `details`: `table` (model -> headline figures), `start_tokens`
        (model -> ids that precede a text), `device`, `probe_digest`.

    Raises:
        ValueError: no base, a folder without model or tokenizer, files of different models in one folder, a
            window longer than the model's positions, no text, or a benchmark without its files; the message says
            which and what to do.
        RuntimeError: a process died, with `config.processes` above 1.
    """
    chosen = {name: uri for name, uri in models.items() if name not in config.skip_models}
    _check_names(chosen, beside_base)
    documents = _held_out(texts, config) if "bits_per_byte" in config.tasks else []
    questions = load_probe() if "hibari_probe" in config.tasks else []
    suite = plan_suite(config)
    with ExitStack() as stack:
        folders = {name: stack.enter_context(localized(uri)) for name, uri in chosen.items()}
        plans = [plan_model(name, folder, documents, questions, suite, config) for name, folder in folders.items()]
        meter = Meter(sum(plan.num_tokens for plan in plans), progress)
        records = {plan.name: score_model(plan, config, out, meter) for plan in plans}
    files = [entry for own in records.values() for record in own for entry in record.files]
    held = None
    if suite and corpus is not None and config.contamination.enabled:
        held = _search_corpus(suite, corpus, config, out, files)
    examples = {name: _read_examples(out, name, own) for name, own in records.items()}
    rows = score_rows(examples, config, seed=seed, held=held)
    files.append(write_rows(out, "scores.jsonl", rows))
    if suite:
        files += [write_benchmarks(out, suite), _write_json(out, "diagnostics.json", diagnostic_rows(examples, config))]
        if skipped := skipped_profiles(config, suite):
            files.append(_write_json(out, "not_scored.json", skipped))
    if not is_local(out):
        shutil.rmtree(journal_folder(out), ignore_errors=True)  # all that was in them is in the store now
    counts = {"examples": sum(len(scored) for tasks in examples.values() for scored in tasks.values())}
    return Outcome(
        files=files,
        counts=counts | _counts(documents, questions, suite, records),
        details=_details(rows, plans, records) | ({"probe_digest": probe_digest()} if questions else {}),
    )


def _check_names(models: Mapping[str, str], beside_base: bool) -> None:
    if not models:
        raise ValueError("evaluate: no model is left to score: take it out of evaluate.skip_models")
    if beside_base and BASE not in models:
        raise ValueError(
            f'evaluate: no model named "base" among {sorted(models)}; every score is set beside the base\'s'
        )
    unfit = [name for name in models if not re.fullmatch(r"[A-Za-z0-9._-]+", name)]
    if unfit:
        raise ValueError(f"evaluate: model names become file names; use letters, digits, . _ - only, not {unfit}")


def _held_out(texts: Mapping[str, Sequence[tuple[bytes, str]]], config: EvaluateConfig) -> list[HeldOut]:
    if not texts:
        raise ValueError("bits_per_byte: no held-out text in any language; binarize sets it aside")
    limits = {"max_bytes": config.max_bytes, "max_document_bytes": config.max_document_bytes}
    return [text for name in sorted(texts) for text in select_texts(texts[name], language=name, **limits)]


def _search_corpus(
    suite: Sequence[AskedTask], corpus: Corpus, config: EvaluateConfig, out: str, files: list[FileEntry]
) -> Held:
    """Which items the corpus holds; leaves contamination.jsonl."""
    from tasks.evaluate.contamination import overlaps, unknown_items  # numba compiles

    items = {asked.benchmark.name: [(item.id, item.text) for item in asked.items] for asked in suite}
    rows = overlaps(items, corpus.uri, config.contamination, corpus.executor, out, corpus.progress)
    files.append(write_rows(out, "contamination.jsonl", rows))
    return held_items(rows, config.contamination, unknown_items(items, config.contamination))


def _counts(
    documents: Sequence[HeldOut],
    questions: Sequence[Question],
    suite: Sequence[AskedTask],
    records: Mapping[str, Sequence[ShardRecord]],
) -> dict[str, int]:
    tokens = sum(record.counts["tokens"] for own in records.values() for record in own)
    counts = {"models": len(records), "tokens": tokens}
    for language in sorted({document.language for document in documents}):
        own = [document for document in documents if document.language == language]
        counts[f"documents_{language}"] = len(own)
        counts[f"bytes_{language}"] = sum(len(document.text.encode()) for document in own)
    for language in sorted({question.language for question in questions}):
        counts[f"questions_{language}"] = sum(question.language == language for question in questions)
    for asked in suite:
        counts[f"items_{asked.benchmark.name}"] = len(asked.items)
    return counts


def _details(
    rows: Sequence[Mapping[str, Any]],
    plans: Sequence[ModelPlan],
    records: Mapping[str, Sequence[ShardRecord]],
) -> dict[str, Any]:
    return {
        "table": headline_table(rows),
        "start_tokens": {plan.name: plan.start for plan in plans},
        "device": ", ".join(sorted({record.details["device"] for own in records.values() for record in own})),
    }


def _write_json(out: str, path: str, value: Any) -> FileEntry:
    with new_file(out, path) as file:
        file.write(json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n")
    return FileEntry.of(path, file)


def _read_examples(out: str, model: str, records: Sequence[ShardRecord]) -> dict[str, list[dict[str, Any]]]:
    """Key of a task -> example rows of a model that was scored, now or before."""
    tasks = [task for record in records for task in record.details["tasks"]]
    return {task: read_rows(join(out, examples_path(model, task))) for task in tasks}

"""Score models side by side: bits per byte on held-out text, and the probe set.

In: Hugging Face folders, each with its own tokenizer, one of them named "base", and held-out documents per
language; out, below one URI: `scores.jsonl` (`tasks.evaluate.scores`) and `examples/<model>-<task>.jsonl`,
one row per document or question with the hash of what was asked, raw log-likelihoods and score. All models
see the same texts and questions, so every difference from the base is paired. Folders, tokenizers and texts
are checked, and everything is tokenised, before the first model is loaded; models are then loaded one after
the other. A model is a shard: a killed evaluation scores only those that were not finished.

    evaluate({"base": "models/base", "trained": "runs/export/demo-0123"}, texts, config, out=uri, seed=1234)
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.artifact import FileEntry, Outcome, new_file
from storage.uri import join, localized, read_bytes
from tasks.evaluate.bits_per_byte import (
    DocumentPlan,
    HeldOut,
    plan_documents,
    score_documents,
    select_texts,
    start_ids,
)
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.probe import (
    Question,
    QuestionPlan,
    load_probe,
    plan_questions,
    probe_digest,
    score_questions,
)
from tasks.evaluate.scores import BASE, headline_table, score_rows
from tasks.shards import ShardRecord, finished_shard, record_shard
from tokenizer.encoder import load_encoder

if TYPE_CHECKING:
    from tasks.evaluate.model import LanguageModel

logger = logging.getLogger(__name__)

OnProgress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ModelPlan:
    """What one model is asked, as token ids of its own tokenizer."""

    name: str
    folder: Path
    start: list[int]
    documents: list[DocumentPlan] = field(default_factory=list)
    questions: list[QuestionPlan] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        windows = sum(len(ids) for plan in self.documents for ids, _ in plan.spans)
        return windows + sum(plan.num_tokens for plan in self.questions)


def evaluate(
    models: Mapping[str, str],
    texts: Mapping[str, Sequence[tuple[bytes, str]]],
    config: EvaluateConfig,
    *,
    out: str,
    seed: int,
    progress: OnProgress | None = None,
    beside_base: bool = True,
) -> Outcome:
    """Score every model of `models` and write scores and examples below `out`.

    Args:
        models: name -> URI of a Hugging Face folder with tokenizer files; must hold "base" if `beside_base`.
        texts: language -> held-out (id, text).
        seed: of the bootstrap; the scores themselves have no randomness.
        progress: called with (tokens done, tokens in all, "model: task").
        beside_base: each score has its paired difference from the base's; False: scores only, and no base is needed.

    Returns:
        Files, counts per language, and in `details`: `table` (model -> headline figures), `start_tokens`
        (model -> ids that precede a text), `device`, `probe_digest`.

    Raises:
        ValueError: no base, a folder without model or tokenizer, files of different models in one folder, a
            window longer than the model's positions, or no text; the message says which and what to do.
    """
    chosen = {name: uri for name, uri in models.items() if name not in config.skip_models}
    _check_names(chosen, beside_base)
    documents = _held_out(texts, config) if "bits_per_byte" in config.tasks else []
    questions = load_probe() if "hibari_probe" in config.tasks else []
    with ExitStack() as stack:
        folders = {name: stack.enter_context(localized(uri)) for name, uri in chosen.items()}
        plans = [_plan(name, folder, documents, questions, config) for name, folder in folders.items()]
        records = _score_all(plans, config, out, progress)
    examples = {record.key: _read_examples(out, record) for record in records}
    rows = score_rows(examples, config, seed=seed)
    files = [_write_rows(out, "scores.jsonl", rows), *(entry for record in records for entry in record.files)]
    details: dict[str, Any] = {
        "table": headline_table(rows),
        "start_tokens": {plan.name: plan.start for plan in plans},
        "device": ", ".join(sorted({record.details["device"] for record in records})),
    }
    if questions:
        details["probe_digest"] = probe_digest()
    counts = {"examples": sum(len(scored) for tasks in examples.values() for scored in tasks.values())}
    return Outcome(files=files, counts=counts | _counts(documents, questions, plans), details=details)


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


def _plan(
    name: str, folder: Path, documents: list[HeldOut], questions: list[Question], config: EvaluateConfig
) -> ModelPlan:
    """Tokenise all that a model is asked, after checking that its folder is whole."""
    try:
        settings = json.loads((folder / "config.json").read_bytes())
    except FileNotFoundError:
        raise ValueError(f"model {name}: no config.json in {folder}; expected a Hugging Face model folder") from None
    try:
        encoder = load_encoder(folder)
    except ValueError as error:
        raise ValueError(f"model {name}: {error}; copy the tokenizer files into the model's folder") from error
    if encoder.vocab_size > settings["vocab_size"]:
        raise ValueError(
            f"model {name}: its tokenizer has {encoder.vocab_size} ids but config.json a vocab_size of "
            f"{settings['vocab_size']}; {folder} mixes the files of two models"
        )
    positions = settings.get("max_position_embeddings")
    if documents and positions is not None and config.window > positions:
        raise ValueError(
            f"model {name}: evaluate.window is {config.window} tokens but the model has {positions} "
            f"positions; set evaluate.window to at most {positions} and evaluate.stride below it"
        )
    return ModelPlan(
        name,
        folder,
        start_ids(encoder),
        plan_documents(encoder, documents, window=config.window, stride=config.stride),
        [] if name in config.skip_probe else plan_questions(encoder, questions),
    )


def _score_all(
    plans: Sequence[ModelPlan], config: EvaluateConfig, out: str, progress: OnProgress | None
) -> list[ShardRecord]:
    """Score every model that has no record yet; details `device`, the kind of device that computed it."""
    from tasks.evaluate.model import LanguageModel  # seconds: torch and transformers

    total = sum(plan.num_tokens for plan in plans)
    done = 0
    records = []
    for plan in plans:

        def on_tokens(task: str, count: int, name: str = plan.name) -> None:
            nonlocal done
            done += count
            if progress:
                progress(done, total, f"{name}: {task}")

        record = finished_shard(out, plan.name)
        if record is not None:
            logger.info("evaluate: %s was already scored", plan.name)
            on_tokens("scored before", plan.num_tokens)
        else:
            logger.info("loading %s from %s", plan.name, plan.folder)
            model = LanguageModel.load(plan.folder, dtype=config.dtype)
            scored = _score_model(model, plan, config.batch_size, on_tokens)
            files = [_write_rows(out, _examples_path(plan.name, task), rows) for task, rows in scored.items()]
            record = ShardRecord(plan.name, files, details={"device": model.device, "tasks": list(scored)})
            record_shard(out, record)
            del model  # before the next is loaded: two at once may not fit
        records.append(record)
    return records


def _score_model(
    model: LanguageModel, plan: ModelPlan, batch_size: int, on_tokens: Callable[[str, int], None]
) -> dict[str, list[dict[str, Any]]]:
    scored = {}
    if plan.documents:
        scored["bits_per_byte"] = score_documents(
            model,
            plan.documents,
            batch_size=batch_size,
            on_tokens=lambda count: on_tokens("bits per byte", count),
        )
    if plan.questions:
        scored["hibari_probe"] = score_questions(
            model, plan.questions, batch_size=batch_size, on_tokens=lambda count: on_tokens("probe", count)
        )
    return scored


def _counts(documents: Sequence[HeldOut], questions: Sequence[Question], plans: Sequence[ModelPlan]) -> dict[str, int]:
    counts = {"models": len(plans), "tokens": sum(plan.num_tokens for plan in plans)}
    for language in sorted({document.language for document in documents}):
        own = [document for document in documents if document.language == language]
        counts[f"documents_{language}"] = len(own)
        counts[f"bytes_{language}"] = sum(len(document.text.encode()) for document in own)
    for language in sorted({question.language for question in questions}):
        counts[f"questions_{language}"] = sum(question.language == language for question in questions)
    return counts


def _write_rows(out: str, path: str, rows: Iterable[Mapping[str, Any]]) -> FileEntry:
    with new_file(out, path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return FileEntry.of(path, file)


def _examples_path(model: str, task: str) -> str:
    return f"examples/{model}-{task}.jsonl"


def _read_examples(out: str, record: ShardRecord) -> dict[str, list[dict[str, Any]]]:
    """Task -> example rows of a model that was scored, now or before."""
    found = {}
    for task in record.details["tasks"]:
        lines = read_bytes(join(out, _examples_path(record.key, task))).splitlines()
        found[task] = [json.loads(line) for line in lines]
    return found

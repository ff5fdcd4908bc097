"""Ask one model everything, and leave a row per example.

In: a `ModelPlan`; out, below one URI: the files of each task as it ends, and a record that says so. Bits per byte and
the probe are computed in one go, benchmarks batch by batch (`tasks.evaluate.benchmark_scoring`). A killed evaluation
goes on behind the last batch.

    records = score_model(plan, config, out, meter)
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from storage.rows import write_rows
from tasks.evaluate.benchmark_scoring import Meter, examples_path, record_key, score_benchmarks
from tasks.evaluate.bits_per_byte import score_documents
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.model_plan import ModelPlan
from tasks.evaluate.parallel import ModelSource, open_answerer
from tasks.evaluate.probe import score_questions
from tasks.shards import ShardRecord, finished_shard, record_shard

if TYPE_CHECKING:
    from tasks.evaluate.model import LanguageModel

logger = logging.getLogger(__name__)


def score_model(plan: ModelPlan, config: EvaluateConfig, out: str, meter: Meter) -> list[ShardRecord]:
    """The records of all that a model is asked; what has one is not asked again.

    Details of a record: `tasks`, `device` that computed it, `seconds`; of a benchmark also `backend`, and `resumed`,
    whether these are the seconds of the last process alone.
    """
    source = ModelSource(plan.folder, config.dtype, plan.max_length, config.backend)
    records: list[ShardRecord] = []
    model: LanguageModel | None = None
    if plan.documents or plan.questions:
        record = finished_shard(out, plan.name)
        if record is None:
            logger.info("loading %s from %s", plan.name, plan.folder)
            model = source.load(encoder=plan.encoder)
            record = _score_own_tasks(model, plan, config.batch_size, out, meter)
        else:
            logger.info("evaluate: %s was already scored", plan.name)
            meter.advance(plan.own_tokens, f"{plan.name}: scored before")
        records.append(record)
    done = {asked.key: record for asked in plan.suite if (record := finished_shard(out, record_key(plan.name, asked)))}
    for asked in plan.suite:
        if asked.key in done:
            meter.advance(plan.tokens_of(asked), f"{plan.name}: {asked.label} scored before")
    if len(done) < len(plan.suite):
        if model is not None and (config.processes > 1 or config.backend != "transformers"):
            model = None  # the benchmarks' is another
            _free_memory()
        with open_answerer(source, config.processes, model) as answerer:
            # The longest first: at the end no process has much left to do alone.
            wanted = sorted((asked for asked in plan.suite if asked.key not in done), key=plan.tokens_of, reverse=True)
            done |= score_benchmarks(answerer, plan, wanted, config.batch_size, out, meter)
    return records + [done[asked.key] for asked in plan.suite]


def _score_own_tasks(model: LanguageModel, plan: ModelPlan, batch_size: int, out: str, meter: Meter) -> ShardRecord:
    started = time.monotonic()
    scored: dict[str, list[dict[str, Any]]] = {}
    if plan.documents:
        scored["bits_per_byte"] = score_documents(
            model,
            plan.documents,
            batch_size=batch_size,
            on_tokens=lambda count: meter.advance(count, f"{plan.name}: bits per byte"),
        )
    if plan.questions:
        scored["hibari_probe"] = score_questions(
            model,
            plan.questions,
            batch_size=batch_size,
            on_tokens=lambda count: meter.advance(count, f"{plan.name}: probe"),
        )
    files = [write_rows(out, examples_path(plan.name, task), rows) for task, rows in scored.items()]
    details = {"tasks": list(scored), "device": model.device, "seconds": round(time.monotonic() - started, 1)}
    record = ShardRecord(plan.name, files, {"tokens": plan.own_tokens}, details)
    record_shard(out, record)
    return record


def _free_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()

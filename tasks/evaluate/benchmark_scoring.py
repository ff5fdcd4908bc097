"""Ask one model benchmarks, batch by batch, and leave a row per example of each.

In: the benchmarks of a `ModelPlan`, and the model behind an `Answerer`; out, below one URI: example rows and prompts of
each benchmark as it ends, and a record that says so. What has been answered is kept batch by batch (`Journal`), so a
killed evaluation goes on behind the last batch. The batches of one benchmark follow those of another without a pause:
no process waits for another's last batch.

    records = score_benchmarks(answerer, plan, plan.suite, 16, out, Meter(plan.num_tokens, progress))
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from storage.artifact import cache_folder
from storage.rows import write_rows
from storage.uri import is_local, local_path
from tasks.evaluate.answering import Job, Work, plan_work
from tasks.evaluate.examples import example_rows, prompt_rows
from tasks.evaluate.journal import Journal
from tasks.evaluate.model_plan import ModelPlan
from tasks.evaluate.parallel import Answerer, Key
from tasks.evaluate.requests import Generated
from tasks.evaluate.suite_plan import AskedTask
from tasks.shards import ShardRecord, record_shard

logger = logging.getLogger(__name__)

OnProgress = Callable[[int, int, str], None]


class Meter:
    """Counts the tokens of all models towards their total; benchmarks count by their estimates."""

    def __init__(self, total: int, progress: OnProgress | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0

    def advance(self, tokens: int, note: str) -> None:
        self._done += tokens
        if self._progress:
            self._progress(self._done, self._total, note)


@dataclass
class _Task:
    """A benchmark under way.

    Attributes:
        missing: numbers of the batches without results.
        resumed: an earlier process had answered some.
    """

    asked: AskedTask
    work: Work
    journal: Journal
    missing: set[int]
    started: float
    resumed: bool


def score_benchmarks(
    answerer: Answerer, plan: ModelPlan, wanted: Sequence[AskedTask], batch_size: int, out: str, meter: Meter
) -> dict[str, ShardRecord]:
    """The records of these benchmarks, by `AskedTask.key`."""
    records: dict[str, ShardRecord] = {}
    under_way: dict[str, _Task] = {}
    with ExitStack() as journals:

        def jobs() -> Iterator[tuple[Key, Job]]:
            for asked in wanted:
                task = under_way[asked.key] = _begin(plan, asked, batch_size, out, meter, journals)
                if not task.missing:
                    records[asked.key] = _end(under_way.pop(asked.key), plan, answerer, out)
                for number in sorted(task.missing):
                    yield (asked.key, number), task.work.job(number)

        for (key, number), results in answerer.answers(jobs()):
            task = under_way[key]
            task.journal.add(task.work.batches[number], results)
            task.missing.remove(number)
            meter.advance(len(results) * plan.tokens_per_request[key], _note(plan, task.asked))
            if not task.missing:
                records[key] = _end(under_way.pop(key), plan, answerer, out)
    return records


def record_key(model: str, asked: AskedTask) -> str:
    """Of a benchmark's record; no model is called so, for their names hold no `@`."""
    return f"{model}@{asked.key}"


def examples_path(model: str, task: str) -> str:
    """Of the example rows; `task` is `bits_per_byte`, `hibari_probe` or an `AskedTask.key`."""
    return f"examples/{model}-{task}.jsonl"


def journal_folder(out: str) -> Path:
    """Where journals lie: below `out`, or in the cache where `out` is a store whose files cannot grow."""
    if is_local(out):
        return local_path(out) / "_journals"
    return cache_folder() / "evaluate" / hashlib.sha256(out.encode()).hexdigest()[:16]


def _begin(plan: ModelPlan, asked: AskedTask, batch_size: int, out: str, meter: Meter, journals: ExitStack) -> _Task:
    """Tokenise a benchmark's requests and look what of them was answered before."""
    started = time.monotonic()
    work = plan_work(asked, plan.encoder, max_length=plan.max_length, batch_size=batch_size)
    path = journal_folder(out) / f"{record_key(plan.name, asked)}.jsonl"
    journal = journals.enter_context(Journal.open(path, asked, work.fitted))
    missing = journal.missing(work.batches)
    before = len(work.fitted) - sum(len(work.batches[number]) for number in missing)
    if before:
        logger.info("%s: %d of %d requests were answered before", _note(plan, asked), before, len(work.fitted))
    meter.advance(before * plan.tokens_per_request[asked.key], _note(plan, asked))
    return _Task(asked, work, journal, set(missing), started, resumed=before > 0)


def _end(task: _Task, plan: ModelPlan, answerer: Answerer, out: str) -> ShardRecord:
    """Judge what was answered, and leave files and record."""
    asked, fitted, results = task.asked, task.work.fitted, task.journal.results
    rows = example_rows(asked, fitted, results, plan.encoder)
    files = [
        write_rows(out, examples_path(plan.name, asked.key), rows),
        write_rows(out, f"prompts/{plan.name}-{asked.key}.jsonl", prompt_rows(asked)),
    ]
    written = sum(result.num_tokens for result in results if isinstance(result, Generated))
    counts = {"tokens": sum(each.num_tokens for each in fitted) + written}
    seconds = round(time.monotonic() - task.started, 1)
    made_by = {"device": answerer.device, "backend": answerer.name}
    details = {"tasks": [asked.key], **made_by, "seconds": seconds, "resumed": task.resumed}
    record = ShardRecord(record_key(plan.name, asked), files, counts, details)
    record_shard(out, record)
    logger.info("%s: %d items in %.1f s", _note(plan, asked), len(rows), seconds)
    return record


def _note(plan: ModelPlan, asked: AskedTask) -> str:
    return f"{plan.name}: {asked.label}"

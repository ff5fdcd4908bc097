"""What the benchmarks leave for readers: a row per example, some prompts in full, what each benchmark is.

In: an `AskedTask`, its requests as one model read them, and what the model answered; out, below the artifact:
`examples/<model>-<task>-<profile>.jsonl` with a row per item, `prompts/<model>-<task>-<profile>.jsonl` with the prompts
of a few items, the same for every model, and `benchmarks.json` (task -> profile -> what it is).

    rows = example_rows(asked, work.fitted, journal.results, encoder)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from storage.artifact import FileEntry, new_file
from tasks.evaluate.example_flags import example_flags
from tasks.evaluate.requests import Fitted, LogLikelihood, Request, Result, Rolling
from tasks.evaluate.suite_plan import AskedTask, by_hash
from tokenizer.encoder import Encoder

NUM_PROMPTS = 20
_MALFORMED_SHOWN = 20


def example_rows(
    asked: AskedTask, fitted: Sequence[Fitted], results: Sequence[Result], encoder: Encoder
) -> list[dict[str, Any]]:
    """One row per item, judged by the form; `tokens` are those of the answer, scored or generated."""
    form, headline = asked.form, asked.form.metrics[0]
    rows = []
    for index, item in enumerate(asked.items):
        own = slice(asked.starts[index], asked.starts[index + 1])
        judged = form.judge(item, results[own], encoder)
        row: dict[str, Any] = {
            "id": item.id,
            "language": asked.benchmark.language,
            "category": None,
            "prompt_hash": prompt_hash(asked.requests[index]),
            "output": judged.output,
            "normalised_output": judged.normalised,
            "gold": judged.gold,
            "predicted": judged.predicted,
            "right": judged.right,
            "columns": {name: float(value) for name, value in judged.columns.items()},
            "score": None,
            "flags": list(example_flags(judged, fitted[own], results[own])),
            "tokens": sum(each.num_tokens for each in results[own]),
            "shots_dropped": max(each.shots_dropped for each in fitted[own]),
            "characters_cut": max(each.characters_cut for each in fitted[own]),
            "ids_cut": max(each.ids_cut for each in fitted[own]),
        }
        row["score"] = headline.of([row]) if headline.per_example else None
        rows.append(row)
    return rows


def prompt_rows(asked: AskedTask) -> list[dict[str, Any]]:
    """The prompts of `NUM_PROMPTS` items, before anything was cut; `continuations` are what was scored, if anything.

    A continuation of another context than the first stands with its context.
    """
    shown = {item.id for item in by_hash(asked.items)[:NUM_PROMPTS]}
    rows = []
    for item, requests in zip(asked.items, asked.requests, strict=True):
        if item.id in shown:
            texts = [_texts(request) for request in requests]
            prompt = texts[0][0]
            scored = [
                end if start == prompt else start + end
                for (start, end), request in zip(texts, requests, strict=True)
                if isinstance(request, LogLikelihood | Rolling)
            ]
            rows.append({"id": item.id, "prompt": prompt, "continuations": scored})
    return rows


def prompt_hash(requests: Iterable[Request]) -> str:
    """16 digits that stand for all that an item asks, whatever the model."""
    texts = json.dumps([_texts(request) for request in requests], ensure_ascii=False)
    return hashlib.sha256(texts.encode()).hexdigest()[:16]


def write_benchmarks(out: str, suite: Iterable[AskedTask]) -> FileEntry:
    """Write `benchmarks.json`."""
    described: dict[str, dict[str, Any]] = {}
    for asked in suite:
        described.setdefault(asked.benchmark.name, {})[asked.profile] = describe_benchmark(asked)
    with new_file(out, "benchmarks.json") as file:
        file.write(json.dumps(described, ensure_ascii=False, indent=1).encode() + b"\n")
    return FileEntry.of("benchmarks.json", file)


def describe_benchmark(asked: AskedTask) -> dict[str, Any]:
    """What was asked, how, and how it is measured."""
    benchmark, form = asked.benchmark, asked.form
    return {
        "label": benchmark.label,
        "language": benchmark.language,
        "category": benchmark.category,
        "version": form.version,
        "num_shots": form.num_shots,
        "metrics": [
            {"name": metric.name, "unit": metric.unit, "lower_is_better": metric.lower_is_better}
            for metric in form.metrics
        ],
        "classes": list(form.classes),
        "quirks": list(form.quirks),
        "where": benchmark.where,
        "n": len(asked.items),
        "n_all": asked.num_all,
        "malformed": list(asked.malformed[:_MALFORMED_SHOWN]),
        "num_malformed": len(asked.malformed),
        "left_out": asked.left_out,
        "shots_from": asked.shots_from,
        "averaged": benchmark.averaged,
        "notes": list(benchmark.notes),
    }


def _texts(request: Request) -> tuple[str, str]:
    if isinstance(request, Rolling):
        return "", request.text
    return request.context.text, request.continuation if isinstance(request, LogLikelihood) else ""

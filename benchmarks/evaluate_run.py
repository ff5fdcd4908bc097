"""Benchmarks on one model in a process of its own, with shots and batches as told, and when things happened.

    python -m benchmarks.evaluate_run ASKED.json FOUND.json

ASKED.json and FOUND.json are those of `peers/lm_eval_run.py`; of a run are taken `benchmark`, `items` and `shots_from`
(files), and `shots`. The benchmark is asked as profile swallow-2023 asks it, but with the first examples of
`shots_from`, and a BOS where the tokenizer has one: as lm-evaluation-harness 0.4 does.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import since_start
from tasks.evaluate.answering import answer, plan_requests
from tasks.evaluate.backends import load_backend
from tasks.evaluate.benchmark import Benchmark, Files, Form, Item
from tasks.evaluate.requests import Backend, Generate, Generated, LogLikelihood, Request, Result, Rolling
from tasks.evaluate.suite import load_benchmark
from tokenizer.encoder import Encoder, load_encoder


def main(asked_path: str, found_path: str) -> None:
    """Run the benchmarks."""
    asked = json.loads(Path(asked_path).read_text(encoding="utf-8"))
    import torch

    torch.set_num_threads(asked["threads"])
    folder = Path(asked["model"])
    encoder = load_encoder(folder)
    backend = load_backend("transformers", folder, encoder=encoder)
    found = [_run(run, backend, encoder, asked["batch_size"]) for run in asked["runs"]]
    Path(found_path).write_text(json.dumps(found))


def _run(run: Mapping[str, Any], backend: Backend, encoder: Encoder, batch_size: int) -> dict[str, Any]:
    benchmark = load_benchmark(run["benchmark"])
    items, requests = _ask(benchmark, run)
    owners = [number for number, own in enumerate(requests) for _ in own]
    times = {"started_s": since_start(), "started_cpu_s": time.process_time()}
    flat = [request for own in requests for request in own]
    work = plan_requests(flat, owners, encoder, max_length=backend.max_length, batch_size=batch_size)
    results: dict[int, Result] = {}
    for number, batch in enumerate(work.batches):
        results |= zip(batch, answer(backend, work.job(number)), strict=True)
    times |= {"answered_s": since_start(), "cpu_s": time.process_time() - times["started_cpu_s"]}
    samples = []
    for number, item in enumerate(items):
        own = [results[place] for place, owner in enumerate(owners) if owner == number]
        samples.append(
            {
                "id": item.id,
                "arguments": [_arguments(request) for request in requests[number]],
                "resps": [_response(result) for result in own],
                "metrics": dict(_form(benchmark).judge(item, own, encoder).columns),
            }
        )
    return times | {"samples": samples}


def _ask(benchmark: Benchmark, run: Mapping[str, Any]) -> tuple[Sequence[Item], list[list[Request]]]:
    """The items, and the requests of each."""
    items = benchmark.read(Files((run["items"],))).items
    examples: Sequence[Any] = ()
    if run["shots"]:
        examples = benchmark.read(Files((run["shots_from"],))).items[: run["shots"]]
    return items, [[_started(request) for request in _form(benchmark).ask(item, examples)] for item in items]


def _form(benchmark: Benchmark) -> Form:
    return benchmark.forms["swallow-2023"]


def _started(request: Request) -> Request:
    return request if isinstance(request, Rolling) else replace(request, context=replace(request.context, start=True))


def _arguments(request: Request) -> list[Any]:
    """As lm-eval has them."""
    if isinstance(request, LogLikelihood):
        return [request.context.text, request.continuation]
    assert isinstance(request, Generate)
    return [request.context.text, {"until": list(request.stops), "max_gen_toks": request.max_tokens}]


def _response(result: Result) -> Any:
    return result.text if isinstance(result, Generated) else [result.log_likelihood, result.is_greedy]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

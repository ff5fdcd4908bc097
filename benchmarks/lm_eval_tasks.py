"""Benchmarks that Hibari and lm-evaluation-harness both have, over the same local files.

In: a benchmark's file as the suite reads it; out, below a folder: `items.jsonl` and `shots.jsonl`, which both read, and
the task as lm-eval takes it: prompts and metrics of its own task of that name, with the stops of v0.3 for GSM8K, shots
from the beginning of `shots.jsonl`, and nothing from the hub.

    case = make_case("hellaswag", Path("hellaswag/validation.jsonl"), None, work, limit=200)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.evaluate.benchmark import Files, Item
from tasks.evaluate.suite import load_benchmark

_CHOICES: dict[str, Any] = {
    "output_type": "multiple_choice",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
_TASKS: dict[str, dict[str, Any]] = {
    "hellaswag": _CHOICES | {"doc_to_text": "{{query}}", "doc_to_target": "{{gold}}", "doc_to_choice": "choices"},
    "openbookqa": _CHOICES | {"doc_to_text": "{{query}}", "doc_to_target": "{{gold}}", "doc_to_choice": "choices"},
    # A number as the text: the choices are contexts of one target.
    "xwinograd_en": _CHOICES
    | {
        "doc_to_text": "{{ (answer | int) - 1 }}",
        "doc_to_target": "{{ sentence.split('_', 1)[1].strip() }}",
        "doc_to_choice": "{{ [sentence.split('_', 1)[0] + option1, sentence.split('_', 1)[0] + option2] }}",
    },
    "gsm8k": {
        "output_type": "generate_until",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": [":", "Question:", "Question"], "max_gen_toks": 256, "do_sample": False},
        "metric_list": [
            {
                "metric": "exact_match",
                "aggregation": "mean",
                "higher_is_better": True,
                "ignore_case": True,
                "regexes_to_ignore": [",", "\\$", "(?s).*#### "],
            }
        ],
        "filter_list": [
            {
                "name": "strict-match",
                "filter": [
                    {"function": "regex", "regex_pattern": "#### (\\-?[0-9\\.\\,]+)"},
                    {"function": "take_first"},
                ],
            }
        ],
    },
}
BENCHMARKS = tuple(_TASKS)


@dataclass(frozen=True)
class Case:
    """A benchmark's files and lm-eval's task over them; `shots` holds rows that are not evaluated."""

    benchmark: str
    items: Path
    shots: Path
    task: Mapping[str, Any]

    def run(self, shots: int) -> dict[str, Any]:
        """What `evaluate_run.py` and `peers/lm_eval_run.py` are told of it."""
        files = {"items": str(self.items), "shots_from": str(self.shots)}
        return {"benchmark": self.benchmark, "task": self.task, "shots": shots, **files}


def make_case(benchmark: str, source: Path, shots_source: Path | None, work: Path, *, limit: int) -> Case:
    """Write the first `limit` items, and as shots those of another file or the ones that follow.

    Raises:
        ValueError: the file has no more items than are evaluated, and there is no other for shots.
    """
    items = load_benchmark(benchmark).read(Files((str(source),))).items
    others = load_benchmark(benchmark).read(Files((str(shots_source),))).items if shots_source else items[limit:]
    if not others:
        raise ValueError(f"{source} has {len(items)} items: none is left for shots after the first {limit}")
    folder = work / benchmark
    folder.mkdir(parents=True, exist_ok=True)
    task = {
        "task": f"local_{benchmark}",
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {"test": str(folder / "items.jsonl"), "train": str(folder / "shots.jsonl")},
            "cache_dir": str(folder / "cache"),
        },
        "test_split": "test",
        "fewshot_split": "train",
        "fewshot_config": {"sampler": "first_n"},
        **_TASKS[benchmark],
    }
    _write(folder / "items.jsonl", items[:limit])
    _write(folder / "shots.jsonl", others[:100])
    return Case(benchmark, folder / "items.jsonl", folder / "shots.jsonl", task)


def _write(path: Path, items: Sequence[Item]) -> None:
    path.write_text("".join(f"{json.dumps(_row(item))}\n" for item in items))


def _row(item: Item) -> dict[str, Any]:
    """As both read it."""
    parts = item.parts
    if "options" in parts:
        first, second = parts["options"]
        sentence = f"{parts['before']}_{parts['after']}"
        return {"sentence": sentence, "option1": first, "option2": second, "answer": str(item.gold + 1)}
    if "solution" in parts:
        return {"question": parts["question"], "answer": parts["solution"]}
    return {"query": parts["query"], "choices": parts["choices"], "gold": item.gold}


@dataclass(frozen=True)
class Agreement:
    """Two runs of one case, example by example.

    Attributes:
        requests, texts, scores: of how many examples these are the same in both.
        predictions: of how many the same choice is best.
        largest_difference: between two log-likelihoods.
    """

    examples: int
    requests: int
    predictions: int
    texts: int
    scores: int
    largest_difference: float

    @property
    def is_whole(self) -> bool:
        same = (self.requests, self.predictions, self.texts, self.scores)
        return all(count == self.examples for count in same) and self.largest_difference <= 1e-4


def compare(ours: Mapping[str, Any], peers: Mapping[str, Any]) -> Agreement:
    """What `evaluate_run.py` and `peers/lm_eval_run.py`, or two runs of the latter, found."""
    pairs = list(zip(_ordered(ours["samples"]), _ordered(peers["samples"]), strict=True))
    values = [(_values(mine), _values(theirs)) for mine, theirs in pairs]
    return Agreement(
        examples=len(pairs),
        requests=sum(_requests(mine) == _requests(theirs) for mine, theirs in pairs),
        predictions=sum(_best(mine) == _best(theirs) for mine, theirs in values),
        texts=sum(_texts(mine) == _texts(theirs) for mine, theirs in pairs),
        scores=sum(_score(mine) == _score(theirs) for mine, theirs in pairs),
        largest_difference=max(
            (abs(one - other) for mine, theirs in values for one, other in zip(mine, theirs, strict=True)), default=0.0
        ),
    )


def _ordered(samples: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """lm-eval's samples by the number of the document; ours are in that order."""
    return sorted(samples, key=lambda sample: int(sample.get("doc_id", 0)))


def _requests(sample: Mapping[str, Any]) -> list[Any]:
    """Context and continuation, or context, stops and limit."""
    found = []
    for context, rest in sample["arguments"]:
        found.append((context, rest if isinstance(rest, str) else (rest["until"], rest["max_gen_toks"])))
    return found


def _responses(sample: Mapping[str, Any]) -> Iterable[Any]:
    """lm-eval has a list of repeats for each request."""
    for response in sample["resps"]:
        yield response[0] if isinstance(response, list) and not isinstance(response[0], float) else response


def _values(sample: Mapping[str, Any]) -> list[float]:
    return [float(response[0]) for response in _responses(sample) if not isinstance(response, str)]


def _texts(sample: Mapping[str, Any]) -> list[str]:
    """Without a space that they begin with: lm-eval decodes an answer by itself, where SentencePiece drops it."""
    return [response.removeprefix(" ") for response in _responses(sample) if isinstance(response, str)]


def _best(values: Sequence[float]) -> int | None:
    return max(range(len(values)), key=values.__getitem__) if values else None


def _score(sample: Mapping[str, Any]) -> float:
    metrics = sample["metrics"]
    return float(next(metrics[name] for name in ("acc", "accuracy", "exact_match") if name in metrics))

"""Two small benchmarks in place of real ones, with files the tests write: one of choices, one of written answers.

They take the names `jcommonsenseqa` and `niilc`, so that run files can ask them. Profile `swallow-2023` of the second
wants a prompt file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from storage.uri import exists, join
from tasks.evaluate.benchmark import Benchmark, Files, Form, Item, Items, Judgement, MissingDataError
from tasks.evaluate.metric import mean
from tasks.evaluate.requests import Context, Generate, Generated, LogLikelihood, Request, Result, Scored
from tokenizer.encoder import Encoder

BIRDS = ["雲雀", "燕", "雀", "鶯", "鳶", "鷺", "梟", "鴨", "鶴", "鳩"]
PLACES = ["畑", "港", "市場", "縁側", "図書館", "机", "空", "谷", "駅", "橋"]
SHOTS = ("質問：朝に鳴く鳥は？\n答え：鶏\n", "質問：夜に鳴く鳥は？\n答え：梟\n")


def write_data(folder: Path, num_items: int = 10) -> Path:
    """The files of both benchmarks below `folder`, in their usual places; every one has a line that is no item."""
    for name in ("jcommonsenseqa", "niilc"):
        rows = [
            {
                "id": f"{name}-{index}",
                "question": f"{PLACES[index % 10]}にいる{index}番目の鳥は？",
                "choices": [BIRDS[(index + step) % 10] for step in range(3)],
                "answer": index % 3,
            }
            for index in range(num_items)
        ]
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "items.jsonl").write_text("\n".join([*lines, "no item"]) + "\n", encoding="utf-8")
    return folder


def write_prompts(folder: Path) -> Path:
    """The prompt file of `niilc`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "niilc.json").write_text(json.dumps({"instruction": "一語で答えよ。\n"}), encoding="utf-8")
    return folder


def install(patch: pytest.MonkeyPatch) -> None:
    """Have `load_benchmark` find these."""
    for benchmark in (CHOICES, ANSWERS):
        module = ModuleType(benchmark.name)
        module.BENCHMARK = benchmark  # type: ignore[attr-defined]
        patch.setitem(sys.modules, f"tasks.evaluate.suite.{benchmark.name}", module)


def _read(files: Files) -> Items:
    items, malformed = [], []
    for uri in files.items:
        for number, line in enumerate(Path(uri).read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
            except ValueError:
                malformed.append(f"items.jsonl:{number}: not JSON")
                continue
            items.append(Item(row["id"], row, row["choices"][row["answer"]], row["question"]))
    return Items(items, malformed)


def _own_shots(items: Items, files: Files, chosen: Sequence[Item] | None) -> dict[str, tuple[str, ...]]:
    return {item.id: SHOTS for item in (items.items if chosen is None else chosen)}


def _prompted(items: Items, files: Files, chosen: Sequence[Item] | None) -> dict[str, tuple[str, ...]]:
    if files.prompts is None or not exists(join(files.prompts, "niilc.json")):
        raise MissingDataError(f"expected niilc.json in the folder of prompts, got {files.prompts}")
    head = json.loads((Path(files.prompts) / "niilc.json").read_text(encoding="utf-8"))["instruction"]
    return {item.id: (head,) for item in (items.items if chosen is None else chosen)}


def _context(item: Item, shots: Sequence[Any]) -> Context:
    return Context(shots=tuple(shots), before="質問：", passage=item.parts["question"], after="\n答え：")


def _ask_choices(item: Item, shots: Sequence[Any]) -> tuple[Request, ...]:
    return tuple(LogLikelihood(_context(item, shots), choice) for choice in item.parts["choices"])


def _judge_choices(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    values = [result.log_likelihood for result in results if isinstance(result, Scored)]
    best = item.parts["choices"][values.index(max(values))]
    right = float(best == item.gold)
    return Judgement(best, best, item.gold, {"score": right}, best)


def _ask_answers(item: Item, shots: Sequence[Any]) -> tuple[Request, ...]:
    return (Generate(_context(item, shots), stops=("\n",), max_characters=8),)


def _judge_answers(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    (result,) = results
    assert isinstance(result, Generated)
    shared = set(result.text) & set(item.gold)
    columns = {"exact": float(result.text == item.gold), "share": len(shared) / len(set(item.gold))}
    return Judgement(result.text, result.text.strip(), item.gold, columns)


ACCURACY, EXACT, SHARE = mean("accuracy", "score"), mean("exact", "exact"), mean("share", "share")
CHOICES = Benchmark(
    name="jcommonsenseqa",
    label="Choices",
    language="ja",
    category="MC",
    default_items=(("jcommonsenseqa/gone.jsonl",), ("jcommonsenseqa/items.jsonl",)),
    where="Written by the tests.",
    read=_read,
    forms={
        profile: Form(1, len(SHOTS), _own_shots, _ask_choices, _judge_choices, (ACCURACY,), tuple(BIRDS))
        for profile in ("strict", "swallow-2023")
    },
)
ANSWERS = Benchmark(
    name="niilc",
    label="Answers",
    language="ja",
    category="QA",
    default_items=(("niilc/items.jsonl",),),
    where="Written by the tests.",
    read=_read,
    forms={
        profile: Form(3, len(SHOTS), shots, _ask_answers, _judge_answers, (EXACT, SHARE))
        for profile, shots in (("strict", _own_shots), ("swallow-2023", _prompted))
    },
)

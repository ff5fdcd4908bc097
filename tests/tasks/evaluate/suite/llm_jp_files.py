"""Prompt files of the form of llm-jp-eval with sentences of our own, and short ways to ask and judge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from tasks.evaluate.benchmark import Benchmark, Files, Item, Items, Judgement
from tasks.evaluate.config import Profile
from tasks.evaluate.requests import Generate, Generated
from tokenizer.encoder import Encoder

NO_ENCODER = cast(Encoder, None)  # the forms of these tasks do not look at it
PREAMBLE = "課題の説明です。"


def write_prompt_file(
    folder: Path, name: str, shots: Sequence[tuple[str, str]], metric: str, output_length: int = 7, **fields: Any
) -> Path:
    """A prompt file with the instruction `答えなさい。`; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "instruction": "答えなさい。",
        "output_length": output_length,
        "metrics": [metric],
        "few_shots": [{"input": given, "output": answer} for given, answer in shots],
        "preamble": PREAMBLE,
        **fields,
    }
    (folder / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return folder


def ask(benchmark: Benchmark, profile: Profile, items: Items, item: Item, prompts: Path | None = None) -> Generate:
    """The one request of an item."""
    form = benchmark.forms[profile]
    shots = form.shots(items, Files((), prompts=str(prompts) if prompts else None), [item])
    assert list(shots) == [item.id]
    (request,) = form.ask(item, shots[item.id])
    assert isinstance(request, Generate)
    return request


def judge(benchmark: Benchmark, profile: Profile, item: Item, output: str) -> Judgement:
    """What comes of an output; every metric of the form finds its columns."""
    form = benchmark.forms[profile]
    judgement = form.judge(item, [Generated(output, len(output), "stop")], NO_ENCODER)
    for metric in form.metrics:
        metric.of([{"columns": judgement.columns}])
    assert judgement.predicted is None or judgement.predicted in form.classes
    return judgement


def write_lines(path: Path, *rows: Any) -> Files:
    """A file of JSON lines; texts are written as they are."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Files((str(path),))

"""Prompt files of the form of llm-jp-eval with sentences of our own, and a short way to ask with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.evaluate.benchmark import Benchmark, Files, Items
from tasks.evaluate.config import Profile
from tasks.evaluate.requests import Generate
from tests.tasks.evaluate.suite.suite_cases import requests_of

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


def ask(benchmark: Benchmark, profile: Profile, items: Items, index: int, prompts: Path | None = None) -> Generate:
    """The one request of an item."""
    files = Files((), prompts=str(prompts) if prompts else None)
    (request,) = requests_of(benchmark, profile, items, index, files)
    assert isinstance(request, Generate)
    return request

"""Short ways through a benchmark: write its file, draw shots, ask, judge; a tokenizer of characters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from tasks.evaluate.benchmark import Benchmark, Files, Form, Item, Items, Judgement
from tasks.evaluate.config import Profile
from tasks.evaluate.requests import Generate, Generated, LogLikelihood, Request, Result, Scored
from tasks.evaluate.suite import strict_form
from tasks.evaluate.suite.strict_form import StrictPrompt
from tokenizer.encoder import Encoder


class _Characters:
    """Every character is a token."""

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


CHARACTERS = cast(Encoder, _Characters())


def lines_file(path: Path, rows: Sequence[Any]) -> Files:
    """A file of JSON lines; texts are written as they are."""
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return Files((str(path),))


def requests_of(
    benchmark: Benchmark, profile: Profile, items: Items, index: int, files: Files | None = None
) -> tuple[Request, ...]:
    """What is asked of one item."""
    form: Form = benchmark.forms[profile]
    item = items.items[index]
    shots = form.shots(items, files or Files(()), [item])
    assert list(shots) == [item.id]
    return form.ask(item, shots[item.id])


def prompt_of(request: Request) -> str:
    """The prompt of a request, with a bar where the answer begins, and what is scored behind it."""
    assert isinstance(request, LogLikelihood | Generate)
    return f"{request.context.text}|{request.continuation if isinstance(request, LogLikelihood) else ''}"


def generated(text: str) -> Generated:
    return Generated(text, len(text), "stop")


def scored(*values: float) -> list[Result]:
    """Log-likelihoods."""
    return [Scored(value, False, 1) for value in values]


def judged(benchmark: Benchmark, profile: Profile, item: Item, *results: Result | str) -> Judgement:
    """The judgement of an item; texts are generated ones. Every metric of the form finds its columns in it."""
    form = benchmark.forms[profile]
    judgement = form.judge(item, [generated(each) if isinstance(each, str) else each for each in results], CHARACTERS)
    for metric in form.metrics:
        metric.of([{"columns": judgement.columns}])
    assert not form.classes or judgement.predicted in (None, *form.classes)
    return judgement


def use_shots(monkeypatch: pytest.MonkeyPatch, instruction: str, *shots: dict[str, Any]) -> None:
    """Let profile strict show these."""
    monkeypatch.setattr(strict_form, "read_strict", lambda name: StrictPrompt(instruction, shots))

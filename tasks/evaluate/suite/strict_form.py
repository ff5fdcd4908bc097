"""Profile strict of tasks that are answered in a line: our own instructions and shots, greedy decoding, plain rules.

In: `strict/<task>.json`, `{"instruction": ..., "shots": [...]}`; a shot has the parts of an item of its task, and
`answer`. Out: a `Form` whose prompt is

    {instruction}

    {shot}{answer}          four times, an empty line after each
    {question}              up to where the answer begins

The model answers until a newline or a number of characters, which is the same for every vocabulary. Where a prompt does
not fit, whole shots go first, then the end of the passage; the question stays.

    FORM = strict_form("niilc", asked=lambda parts: Asked(after=f"質問：{parts['question']}\\n答え："),
                       judge=partial(judge_answer, golds), metrics=ANSWER_METRICS, max_characters=200)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.evaluate.benchmark import Files, Form, Item, Items, Judgement, Shots
from tasks.evaluate.metric import Metric, mean
from tasks.evaluate.metrics.character_f1 import best_character_f1
from tasks.evaluate.metrics.exact import exact_match
from tasks.evaluate.metrics.normalise import first_line, nfkc
from tasks.evaluate.requests import Context, Generate, Generated, Request, Result

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

FOLDER = Path(__file__).with_name("strict")
NUM_SHOTS = 4
ANSWER_METRICS = (mean("character_f1", "character_f1"), mean("exact_match", "exact_match"))


@dataclass(frozen=True)
class Asked:
    """What is asked of one item, in the parts of a `Context`; `after` ends where the answer begins."""

    after: str
    before: str = ""
    passage: str = ""


@dataclass(frozen=True)
class StrictPrompt:
    """An instruction, and worked examples: the parts of an item and `answer` each."""

    instruction: str
    shots: tuple[Mapping[str, Any], ...]


@cache
def read_strict(name: str) -> StrictPrompt:
    """Our instruction and shots of a task."""
    content = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return StrictPrompt(content["instruction"], tuple(content["shots"]))


def strict_form(
    name: str,
    *,
    asked: Callable[[Mapping[str, Any]], Asked],
    judge: Callable[[Item, Sequence[Result], Encoder], Judgement],
    metrics: tuple[Metric, ...],
    max_characters: int,
    between: str = "",
    classes: tuple[str, ...] = (),
    quirks: tuple[str, ...] = (),
) -> Form:
    """The form of one task.

    Args:
        asked: (parts of an item or a shot) -> what is asked.
        between: stands before the answer of a shot: a space in English, which the model then writes itself.
    """
    return Form(
        version=1,
        num_shots=NUM_SHOTS,
        shots=partial(strict_shots, name),
        ask=partial(_ask, name, asked, between, max_characters),
        judge=judge,
        metrics=metrics,
        classes=classes,
        quirks=quirks,
        shots_from=partial(strict_file, name),
    )


def strict_file(name: str, files: Files) -> str:
    """`Form.shots_from` of this profile."""
    return f"{FOLDER.name}/{name}.json"


def strict_shots(name: str, items: Items, files: Files, chosen: Sequence[Item] | None) -> Shots:
    """The same for every item."""
    shots = read_strict(name).shots
    return {item.id: shots for item in (items.items if chosen is None else chosen)}


def _ask(
    name: str,
    asked: Callable[[Mapping[str, Any]], Asked],
    between: str,
    max_characters: int,
    item: Item,
    shots: Sequence[Mapping[str, Any]],
) -> tuple[Request, ...]:
    worked = [_worked(asked(shot), between + shot["answer"]) for shot in shots]
    context = strict_context(name, worked, asked(item.parts))
    return (Generate(context, stops=("\n",), max_characters=max_characters, stop_loops=True),)


def strict_context(name: str, shots: Sequence[str], question: Asked) -> Context:
    """Instruction, worked examples and question, an empty line apart."""
    return Context(
        head=f"{read_strict(name).instruction}\n\n",
        shots=tuple(f"{shot}\n\n" for shot in shots),
        before=question.before,
        passage=question.passage,
        after=question.after,
    )


def _worked(question: Asked, answer: str) -> str:
    return f"{question.before}{question.passage}{question.after}{answer}"


def output_line(results: Sequence[Result]) -> tuple[str, str]:
    """The raw output of an item's one request, and its first line in NFKC without white space around it."""
    (result,) = results
    assert isinstance(result, Generated)
    return result.text, nfkc(first_line(result.text)).strip()


def judge_answer(
    golds: Callable[[Item], Sequence[str]], item: Item, results: Sequence[Result], encoder: Encoder
) -> Judgement:
    """Character F1 with the nearest accepted answer, and whether the output is one of them."""
    output, line = output_line(results)
    accepted = golds(item)
    character_f1, nearest = best_character_f1(line, accepted)
    columns = {"character_f1": character_f1, "exact_match": exact_match(line, accepted)}
    return Judgement(output, line, nfkc(nearest), columns, flags=() if line else ("empty_output",))

"""Profile strict: our own instructions and shots, greedy decoding, plain rules.

In: `strict/<task>.json`, `{"instruction": ..., "shots": [...]}`; a shot has the parts of an item of its task, and
`answer`. Out: a `Form` whose prompt is

    {instruction}

    {shot}{answer}          four times, an empty line after each
    {question}              up to where the answer begins

Most tasks are answered in a line: the model writes until a newline or a number of characters, which is the same for
every vocabulary. The others score choices. Where a prompt does not fit, whole shots go first, then the end of the
passage; the question stays.

    FORM = strict_line_form("niilc", asked=lambda parts: Asked(after=f"質問：{parts['question']}\\n答え："),
                            judge=partial(judge_answer, golds), metrics=ANSWER_METRICS, max_characters=200)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.evaluate.benchmark import Ask, Files, Form, Item, Items, Judge, Judgement, Shots
from tasks.evaluate.metric import Metric, mean
from tasks.evaluate.metrics.character_f1 import best_character_f1
from tasks.evaluate.metrics.exact import EXACT_MATCH, exact_match
from tasks.evaluate.metrics.normalise import nfkc
from tasks.evaluate.requests import Context, Generate, Request, Result
from tasks.evaluate.suite.answers import output_line

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

FOLDER = Path(__file__).with_name("strict")
NUM_SHOTS = 4
ANSWER_METRICS = (mean("character_f1", "character_f1"), EXACT_MATCH)


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
    ask: Ask,
    judge: Judge,
    metrics: tuple[Metric, ...],
    classes: tuple[str, ...] = (),
    quirks: tuple[str, ...] = (),
) -> Form:
    """The form of a task that asks in its own way, with `strict_context`."""
    return Form(
        version=1,
        num_shots=NUM_SHOTS,
        shots=partial(_shots, name),
        ask=ask,
        judge=judge,
        metrics=metrics,
        classes=classes,
        quirks=quirks,
        shots_from=partial(_shots_from, name),
    )


def strict_line_form(
    name: str,
    *,
    asked: Callable[[Mapping[str, Any]], Asked],
    judge: Judge,
    metrics: tuple[Metric, ...],
    max_characters: int,
    between: str = "",
    classes: tuple[str, ...] = (),
    quirks: tuple[str, ...] = (),
) -> Form:
    """The form of a task that is answered in a line.

    Args:
        asked: (parts of an item or a shot) -> what is asked.
        between: stands before the answer of a shot: a space in English, which the model then writes itself.
    """
    ask = partial(_ask_for_a_line, name, asked, between, max_characters)
    return strict_form(name, ask=ask, judge=judge, metrics=metrics, classes=classes, quirks=quirks)


def _shots(name: str, items: Items, files: Files, chosen: Sequence[Item] | None) -> Shots:
    """`Form.shots`: the same for every item."""
    shots = read_strict(name).shots
    return {item.id: shots for item in (items.items if chosen is None else chosen)}


def _shots_from(name: str, files: Files) -> str:
    """`Form.shots_from`."""
    return f"{FOLDER.name}/{name}.json"


def _ask_for_a_line(
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


def judge_answer(
    golds: Callable[[Item], Sequence[str]], item: Item, results: Sequence[Result], encoder: Encoder
) -> Judgement:
    """Character F1 with the nearest accepted answer, and whether the output is one of them."""
    output, line = output_line(results)
    accepted = golds(item)
    character_f1, nearest = best_character_f1(line, accepted)
    columns = {"character_f1": character_f1, "exact_match": exact_match(line, accepted)}
    return Judgement(output, line, nfkc(nearest), columns, flags=() if line else ("empty_output",))

"""Multiple choice by log-likelihood: each choice is scored as what follows the question, none is generated.

Items of `query` and `choices`, whose gold is the index of the right choice, are asked by `ask_choices` and judged by
`judge_choices`; XWinograd, which puts its candidates inside a sentence, is judged by `judge_continuations`.

    requests = ask_choices(strict_context("openbookqa", examples, Asked(after="Question: ...")), item)
    judgement = judge_choices(item, results, encoder)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.evaluate.benchmark import Item, Judgement
from tasks.evaluate.metric import mean
from tasks.evaluate.requests import Context, LogLikelihood, Request, Result, Scored
from tasks.evaluate.suite.harness_form import harness_context

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

ACCURACY = mean("accuracy", "accuracy")
ACCURACY_PER_BYTE = mean("accuracy_per_byte", "accuracy_per_byte")


def ask_choices(context: Context, item: Item) -> tuple[Request, ...]:
    """How likely each choice is behind the query, with which the context ends."""
    return tuple(LogLikelihood(context, continuation) for continuation in _continuations(item))


def ask_harness_choices(item: Item, shots: Sequence[Item]) -> tuple[Request, ...]:
    """`Form.ask` of lm-evaluation-harness: queries with their right choices, then the query, and nothing around."""
    examples = [f"{shot.parts['query']}{_continuations(shot)[shot.gold]}" for shot in shots]
    return ask_choices(harness_context(examples, after=item.parts["query"]), item)


def judge_choices(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    """`Form.judge` of what `ask_choices` asked."""
    return judge_continuations(item, results, _continuations(item))


def judge_continuations(
    item: Item, results: Sequence[Result], continuations: Sequence[str], choices: Sequence[str] | None = None
) -> Judgement:
    """The choice with the highest log-likelihood, and the one with the highest per UTF-8 byte of its continuation; of
    equal ones the first.

    Args:
        item: its gold is the index of the right choice.
        results: of each choice.
        continuations: of each choice, as it was scored.
        choices: as people read them, where they are not the continuations.
    """
    told = choices or [text.strip() for text in continuations]
    sums = [log_likelihood(result) for result in results]
    per_byte = [value / len(text.encode()) for value, text in zip(sums, continuations, strict=True)]
    best = sums.index(max(sums))
    columns = {
        "accuracy": float(best == item.gold),
        "accuracy_per_byte": float(per_byte.index(max(per_byte)) == item.gold),
    }
    return Judgement(
        output=told[best],
        normalised=told[best],
        gold=told[item.gold],
        columns=columns,
        predicted=str(best),
        right=str(item.gold),
    )


def log_likelihood(result: Result) -> float:
    """Of a result that must be of a `LogLikelihood`."""
    assert isinstance(result, Scored)
    return result.log_likelihood


def _continuations(item: Item) -> list[str]:
    return [f" {choice}" for choice in item.parts["choices"]]

"""Multiple choice by log-likelihood: each choice is scored as what follows the question, none is generated.

judgement = judge_choices(item, results, continuations=[" a marsh", " a desert"])
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.evaluate.benchmark import Item, Judgement
from tasks.evaluate.metric import mean
from tasks.evaluate.requests import Result, Scored

ACCURACY = mean("accuracy", "accuracy")
ACCURACY_PER_BYTE = mean("accuracy_per_byte", "accuracy_per_byte")


def judge_choices(
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

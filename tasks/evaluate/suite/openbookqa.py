"""OpenBookQA: elementary science with four choices, asked without the book (Mihaylov et al., 2018).

In: the original JSON lines (`question` with `stem` and `choices`, `answerKey`), the hub's rows (`question_stem`,
`choices` with `text`, `answerKey`), or rows of `query`, `choices`, `gold`.

    items = BENCHMARK.read(Files(items=("openbookqa/test.jsonl",)))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.evaluate.benchmark import Benchmark, Files, Item, Items
from tasks.evaluate.requests import Request
from tasks.evaluate.suite.choices import ACCURACY, ACCURACY_PER_BYTE, ask_choices, ask_harness_choices, judge_choices
from tasks.evaluate.suite.harness_form import harness_form
from tasks.evaluate.suite.reading import NoItemError, Place, read_items, records, text, texts, whole_number
from tasks.evaluate.suite.strict_form import Asked, strict_context, strict_form

KEYS = "ABCD"
WHERE = (
    "OpenBookQA is published under the Apache licence 2.0 by the Allen Institute for AI "
    "(allenai.org/data/open-book-qa, Data/Main/test.jsonl: save it as openbookqa/test.jsonl; train.jsonl, for the "
    "shots of swallow-2023: openbookqa/train.jsonl), and on the Hugging Face hub as hf:allenai/openbookqa:main@test"
)


def read(files: Files) -> Items:
    """The items of the files."""
    return read_items(files.items, WHERE, records, _item)


def _item(place: Place, row: Mapping[str, Any]) -> Item:
    if "query" in row:
        query = text(row, "query")
        choices = texts(row, "choices", at_least=len(KEYS))
        gold = whole_number(row, "gold", below=len(choices))
    else:
        query, choices = _stem_and_choices(row)
        key = text(row, "answerKey").strip()
        if key not in KEYS[: len(choices)]:
            raise NoItemError(f"expected one of {', '.join(KEYS[: len(choices)])} in `answerKey`, got {key}")
        gold = KEYS.index(key)
    identity = str(row.get("id") or place.id)
    return Item(identity, {"query": query, "choices": choices}, gold, f"{query} {choices[gold]}")


def _stem_and_choices(row: Mapping[str, Any]) -> tuple[str, list[str]]:
    question = row.get("question")
    if isinstance(question, dict):  # as the authors publish it
        listed = question.get("choices")
        choices = [choice.get("text") for choice in listed if isinstance(choice, dict)] if listed else []
        return text(question, "stem"), texts({"choices": choices}, "choices", at_least=len(KEYS))
    nested = row.get("choices")
    return text(row, "question_stem"), texts(nested if isinstance(nested, dict) else row, "text", at_least=len(KEYS))


def _strict_question(parts: Mapping[str, Any]) -> str:
    return f"Question: {parts['query']}\nAnswer:"


def _ask_strict(item: Item, shots: Sequence[Mapping[str, Any]]) -> tuple[Request, ...]:
    examples = [f"{_strict_question(shot)} {shot['answer']}" for shot in shots]
    context = strict_context("openbookqa", examples, Asked(after=_strict_question(item.parts)))
    return ask_choices(context, item)


BENCHMARK = Benchmark(
    name="openbookqa",
    label="OpenBookQA",
    language="en",
    category="MC",
    default_items=(("openbookqa/test.jsonl",),),
    default_shots=("openbookqa/train.jsonl",),
    where=WHERE,
    read=read,
    forms={
        "strict": strict_form(
            "openbookqa", ask=_ask_strict, judge=judge_choices, metrics=(ACCURACY, ACCURACY_PER_BYTE)
        ),
        "swallow-2023": harness_form(
            training=read,
            ask=ask_harness_choices,
            judge=judge_choices,
            metrics=(ACCURACY,),
            generates=False,
            quirks=(
                "The question is the beginning of a sentence that the choice ends; no label stands before either.",
                "A choice is scored by the sum of its log-likelihoods, so short ones have an advantage (`acc`, not "
                "`acc_norm`).",
            ),
        ),
    },
)

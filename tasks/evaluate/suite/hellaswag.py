"""HellaSwag: which of four endings follows a description of an everyday scene (Zellers et al., 2019).

In: the original JSON lines (`ctx_a`, `ctx_b`, `activity_label`, `endings`, `label`), or rows that hold the text as the
harness prepares it (`query`, `choices`, `gold`). The harness joins label and contexts, begins the second context with a
capital, makes `[title]` a full stop and leaves out what else stands in brackets (artifacts of WikiHow).

    items = BENCHMARK.read(Files(items=("hellaswag/validation.jsonl",)))
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.evaluate.benchmark import Benchmark, Files, Item, Items
from tasks.evaluate.requests import Request
from tasks.evaluate.suite.choices import ACCURACY, ACCURACY_PER_BYTE, ask_choices, ask_harness_choices, judge_choices
from tasks.evaluate.suite.harness_form import harness_form
from tasks.evaluate.suite.reading import NoItemError, Place, read_items, records, text, texts, whole_number
from tasks.evaluate.suite.strict_form import Asked, strict_context, strict_form

NUM_CHOICES = 4
WHERE = (
    "HellaSwag is published under the MIT licence by its authors in github.com/rowanz/hellaswag "
    "(data/hellaswag_val.jsonl: save it as hellaswag/validation.jsonl; data/hellaswag_train.jsonl, for the shots of "
    "swallow-2023: hellaswag/train.jsonl), and on the Hugging Face hub as hf:Rowan/hellaswag@validation"
)
_BRACKETS = re.compile(r"\[.*?\]")


def read(files: Files) -> Items:
    """The items of the files."""
    return read_items(files.items, WHERE, records, _item)


def _item(place: Place, row: Mapping[str, Any]) -> Item:
    if "ctx_a" in row:
        second = (row.get("ctx_b") or "").capitalize()
        query = _prepared(f"{text(row, 'activity_label')}: {text(row, 'ctx_a')} {second}")
        choices = [_prepared(ending) for ending in texts(row, "endings", at_least=NUM_CHOICES)]
    else:
        query = text(row, "query")
        choices = texts(row, "choices", at_least=NUM_CHOICES)
    if not all(choices):
        raise NoItemError(f"expected {NUM_CHOICES} endings with text in them, got an empty one")
    gold = whole_number(row, "label" if "ctx_a" in row else "gold", below=len(choices))
    own = row.get("ind")
    identity = place.id if own is None else str(own)
    return Item(identity, {"query": query, "choices": choices}, gold, f"{query} {choices[gold]}")


def _prepared(raw: str) -> str:
    """As the harness prepares a text."""
    return _BRACKETS.sub("", raw.strip().replace(" [title]", ". ")).replace("  ", " ")


def _ask_strict(item: Item, shots: Sequence[Mapping[str, Any]]) -> tuple[Request, ...]:
    context = strict_context(
        "hellaswag", [f"{shot['query']} {shot['answer']}" for shot in shots], Asked(after=item.parts["query"])
    )
    return ask_choices(context, item)


BENCHMARK = Benchmark(
    name="hellaswag",
    label="HellaSwag",
    language="en",
    category="MC",
    default_items=(("hellaswag/validation.jsonl",), ("hellaswag/hellaswag_val.jsonl",)),
    default_shots=("hellaswag/train.jsonl", "hellaswag/hellaswag_train.jsonl"),
    where=WHERE,
    read=read,
    forms={
        "strict": strict_form("hellaswag", ask=_ask_strict, judge=judge_choices, metrics=(ACCURACY, ACCURACY_PER_BYTE)),
        "swallow-2023": harness_form(
            training=read,
            ask=ask_harness_choices,
            judge=judge_choices,
            metrics=(ACCURACY,),
            generates=False,
            quirks=(
                "An ending is scored by the sum of its log-likelihoods, so short endings have an advantage (`acc`, not "
                "`acc_norm`).",
            ),
        ),
    },
    notes=(
        "Files with `query`, `choices` and `gold` are taken as they are; the published one in that form "
        "(klosax/hellaswag_text_data) begins the second context in lower case, where the harness writes a capital.",
    ),
)

"""GSM8K: school mathematics in words, solved step by step (Cobbe et al., 2021).

In: the authors' JSON lines: `question`, and `answer`, whose last line is `#### ` and the number.

    items = BENCHMARK.read(Files(items=("gsm8k/test.jsonl",)))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.evaluate.benchmark import Benchmark, Files, Item, Items, Judgement
from tasks.evaluate.metrics.exact import EXACT_MATCH
from tasks.evaluate.metrics.numbers import gsm8k_gold, harness_gsm8k_answer, last_number
from tasks.evaluate.requests import Generate, Request, Result
from tasks.evaluate.suite.answers import generated
from tasks.evaluate.suite.harness_form import MAX_TOKENS, harness_context, harness_form
from tasks.evaluate.suite.reading import NoItemError, Place, read_items, records, text
from tasks.evaluate.suite.strict_form import Asked, strict_line_form

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

WHERE = (
    "GSM8K is published by OpenAI under the MIT licence in github.com/openai/grade-school-math "
    "(grade_school_math/data/test.jsonl: save it as gsm8k/test.jsonl; train.jsonl, for the shots of swallow-2023: "
    "gsm8k/train.jsonl), and on the Hugging Face hub as hf:openai/gsm8k:main@test"
)


def read(files: Files) -> Items:
    """The items of the files."""
    return read_items(files.items, WHERE, records, _item)


def _item(place: Place, row: Mapping[str, Any]) -> Item:
    question, solution = text(row, "question"), text(row, "answer")
    number = harness_gsm8k_answer(solution)
    if number is None or gsm8k_gold(solution) is None:
        raise NoItemError("expected `#### ` and a number at the end of `answer`")
    return Item(place.id, {"question": question, "solution": solution}, number, f"{question} {solution}")


def _question(question: str) -> str:
    return f"Question: {question}\nAnswer:"


def _ask_swallow(item: Item, shots: Sequence[Item]) -> tuple[Request, ...]:
    examples = [f"{_question(shot.parts['question'])} {shot.parts['solution']}" for shot in shots]
    context = harness_context(examples, after=_question(item.parts["question"]))
    return (Generate(context, stops=(":", "Question:", "Question"), max_tokens=MAX_TOKENS),)


def _judge_swallow(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    output, flags = generated(results[0])
    found = harness_gsm8k_answer(output)
    return _judgement(item, output, found, right=found == item.gold, flags=flags)


def _asked_strict(parts: Mapping[str, Any]) -> Asked:
    return Asked(after=_question(parts["question"]))


def _judge_strict(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    output, flags = generated(results[0])
    found = last_number(output)
    told = None if found is None else str(found)
    return _judgement(item, output, told, right=found == gsm8k_gold(item.parts["solution"]), flags=flags)


def _judgement(item: Item, output: str, found: str | None, *, right: bool, flags: tuple[str, ...]) -> Judgement:
    unparsable = ("unparsable",) if found is None and not flags else ()
    return Judgement(output, found or "", item.gold, {"exact_match": float(right)}, flags=(*flags, *unparsable))


BENCHMARK = Benchmark(
    name="gsm8k",
    label="GSM8K",
    language="en",
    category="MATH",
    default_items=(("gsm8k/test.jsonl",),),
    default_shots=("gsm8k/train.jsonl", "gsm8k/train_first1000.jsonl"),
    where=WHERE,
    read=read,
    forms={
        "strict": strict_line_form(
            "gsm8k", asked=_asked_strict, between=" ", judge=_judge_strict, metrics=(EXACT_MATCH,), max_characters=600
        ),
        "swallow-2023": harness_form(
            training=read,
            ask=_ask_swallow,
            judge=_judge_swallow,
            metrics=(EXACT_MATCH,),
            generates=True,
            quirks=(
                "Only a number after `#### ` counts (strict match); the first such is compared as a string without its "
                "commas, so `18.` and `18.0` are wrong where 18 is right.",
                "The answer ends at the first colon, also within the reasoning.",
                "The shots hold the calculator marks of the data set, such as `<<3*4=12>>`, which models imitate.",
            ),
        ),
    },
)

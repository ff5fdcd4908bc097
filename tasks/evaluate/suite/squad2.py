"""SQuAD 2.0: questions about a passage, of which half cannot be answered from it (Rajpurkar et al., 2018).

In: the authors' nested JSON (`dev-v2.0.json`), or flat rows (`title`, `context`, `question`, `answers`) as on the hub.

    items = BENCHMARK.read(Files(items=("squad2/dev-v2.0.json",)))
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tasks.evaluate.benchmark import Benchmark, Files, Item, Items, Judgement
from tasks.evaluate.metric import mean, ratio
from tasks.evaluate.metrics.squad import squad_exact, squad_f1, squad_normalise
from tasks.evaluate.requests import Generate, LogLikelihood, Request, Result
from tasks.evaluate.suite.answers import generated
from tasks.evaluate.suite.choices import log_likelihood
from tasks.evaluate.suite.harness_form import MAX_TOKENS, harness_context, harness_form
from tasks.evaluate.suite.reading import Place, read_items, squad_records, text, texts
from tasks.evaluate.suite.strict_form import Asked, strict_line_form

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

UNANSWERABLE = "unanswerable"
WHERE = (
    "SQuAD 2.0 is published by Stanford under CC BY-SA 4.0 (rajpurkar.github.io/SQuAD-explorer, dev-v2.0.json: save it "
    "as squad2/dev-v2.0.json; train-v2.0.json, for the shots of swallow-2023, as squad2/train-v2.0.json), and on the "
    "Hugging Face hub as hf:rajpurkar/squad_v2@validation"
)
# The answerable and the unanswerable half hide one another's changes.
METRICS = (
    mean("exact", "exact"),
    mean("f1", "f1"),
    ratio("exact_answerable", "exact_answerable", "answerable", "share"),
    ratio("exact_unanswerable", "exact_unanswerable", "unanswerable", "share"),
)


def read(files: Files) -> Items:
    """The items of the files."""
    return read_items(files.items, WHERE, squad_records, _item)


def _item(place: Place, row: Mapping[str, Any]) -> Item:
    parts = {"title": text(row, "title"), "context": text(row, "context"), "question": text(row, "question")}
    answers = texts(row, "answers", at_least=0)
    body = f"{parts['question']} {parts['context']} {_shown_answer(answers)}"
    return Item(str(row.get("id") or place.id), parts, tuple(answers), body)


def _shown_answer(answers: Sequence[str]) -> str:
    """What a shot with these answers says."""
    return answers[0] if answers else UNANSWERABLE


def _ask_swallow(item: Item, shots: Sequence[Item]) -> tuple[Request, ...]:
    examples = ["".join((*_harness_parts(shot), f" {_shown_answer(shot.gold)}")) for shot in shots]
    before, passage, after = _harness_parts(item)
    context = harness_context(examples, before=before, passage=passage, after=after)
    return (
        Generate(context, stops=("\n",), max_tokens=MAX_TOKENS),
        LogLikelihood(context, f" {UNANSWERABLE}"),
    )


def _harness_parts(item: Item) -> tuple[str, str, str]:
    """What stands before the passage, the passage, what stands behind it."""
    parts = item.parts
    return (
        f"Title: {parts['title']}\n\nBackground: ",
        parts["context"],
        f"\n\nQuestion: {parts['question']}\n\nAnswer:",
    )


def _judge_swallow(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    judgement = _judgement(item, results, golds=[answer for answer in item.gold if squad_normalise(answer)] or [""])
    probability = math.exp(log_likelihood(results[1]))
    return replace(judgement, columns={**judgement.columns, "no_answer_probability": probability})


def _asked_strict(parts: Mapping[str, Any]) -> Asked:
    return Asked(before="Passage: ", passage=parts["context"], after=f"\nQuestion: {parts['question']}\nAnswer:")


def _judge_strict(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    return _judgement(item, results, golds=item.gold or [UNANSWERABLE])


def _judgement(item: Item, results: Sequence[Result], golds: Sequence[str]) -> Judgement:
    output, flags = generated(results[0])
    exact = squad_exact(output, golds)
    return Judgement(
        output=output,
        normalised=squad_normalise(output),
        gold=max(golds, key=lambda gold: squad_f1(output, [gold])),
        columns={
            "exact": exact,
            "f1": squad_f1(output, golds),
            "answerable": float(bool(item.gold)),
            "unanswerable": float(not item.gold),
            "exact_answerable": exact if item.gold else 0.0,
            "exact_unanswerable": 0.0 if item.gold else exact,
        },
        flags=flags,
    )


BENCHMARK = Benchmark(
    name="squad2",
    label="SQuAD2",
    language="en",
    category="RC",
    default_items=(("squad2/dev-v2.0.json",),),
    default_shots=("squad2/train-v2.0.json",),
    where=WHERE,
    read=read,
    forms={
        "strict": strict_line_form(
            "squad2", asked=_asked_strict, between=" ", judge=_judge_strict, metrics=METRICS, max_characters=200
        ),
        "swallow-2023": harness_form(
            training=read,
            ask=_ask_swallow,
            judge=_judge_swallow,
            metrics=METRICS,
            generates=True,
            quirks=(
                "A question without an answer counts as right only where the output is empty or holds nothing but "
                "articles and punctuation: the word `unanswerable`, which the shots show, is counted as wrong.",
                "The likelihood of ` unanswerable` enters `best_exact` alone, which the authors do not report; it is "
                "kept in the column `no_answer_probability`.",
            ),
        ),
    },
)

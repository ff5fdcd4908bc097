"""TriviaQA: trivia questions asked without any document (Joshi et al., 2017); a right answer is any of its aliases.

In: the authors' JSON (`Data` with `Question`, `QuestionId`, `Answer`), the hub's rows (`question`, `question_id`,
`answer` with `value` and `aliases`), or the 3,000 questions of llm-foundry (`context`, `answer`, `aliases`), which are
a benchmark of their own name: `triviaqa_3000`. The Swallow authors used configuration `rc.nocontext`, whose 17,944
validation rows are the files `web-dev.json` and `wikipedia-dev.json`.

    items = TRIVIAQA_3000.read(Files(items=("triviaqa/subset3000.jsonl",)))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tasks.evaluate.benchmark import Benchmark, Files, Form, Item, Items, Judgement
from tasks.evaluate.config import Profile
from tasks.evaluate.metric import mean
from tasks.evaluate.metrics.exact import EXACT_MATCH
from tasks.evaluate.metrics.squad import (
    harness_triviaqa_exact,
    harness_triviaqa_normalise,
    squad_f1,
    triviaqa_exact,
    triviaqa_normalise,
)
from tasks.evaluate.requests import Generate, Request, Result
from tasks.evaluate.suite.answers import generated
from tasks.evaluate.suite.harness_form import MAX_TOKENS, harness_context, harness_form
from tasks.evaluate.suite.reading import NoItemError, Place, read_items, records, text, texts
from tasks.evaluate.suite.strict_form import Asked, strict_line_form

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

WHERE = (
    "TriviaQA is published by the University of Washington (nlp.cs.washington.edu/triviaqa, code under the Apache "
    "licence 2.0, the questions their authors'): of triviaqa-rc.tar.gz save qa/web-dev.json and qa/wikipedia-dev.json "
    "below triviaqa/; on the Hugging Face hub it is hf:mandarjoshi/trivia_qa:rc.nocontext@validation, whose split "
    "train (triviaqa/train.jsonl) gives the shots of swallow-2023"
)
WHERE_3000 = (
    "the 3,000 questions are scripts/eval/local_data/world_knowledge/triviaqa_sm_sub.jsonl of "
    "github.com/mosaicml/llm-foundry (Apache licence 2.0): save the file as triviaqa/subset3000.jsonl"
)
_BEFORE, _AFTER = "Question: ", "\nAnswer:"


def read(files: Files) -> Items:
    """The items of the files."""
    return read_items(files.items, WHERE, records, _item)


def read_3000(files: Files) -> Items:
    """The items of the files; who lacks them is told where the 3,000 are."""
    return read_items(files.items, WHERE_3000, records, _item)


def _item(place: Place, row: Mapping[str, Any]) -> Item:
    if "context" in row and isinstance(row.get("answer"), str):
        prompt = text(row, "context")
        if not (prompt.startswith(_BEFORE) and prompt.endswith(_AFTER)):
            raise NoItemError(f"expected `context` to begin with {_BEFORE!r} and end with {_AFTER!r}")
        question = prompt.removeprefix(_BEFORE).removesuffix(_AFTER)
        return _item_of(place.id, question, text(row, "answer"), texts(row, "aliases"))
    if "Question" in row:
        answer = row.get("Answer")
        value, aliases, question, identity = "Value", "Aliases", text(row, "Question"), row.get("QuestionId")
    else:
        answer = row.get("answer")
        value, aliases, question, identity = "value", "aliases", text(row, "question"), row.get("question_id")
    if not isinstance(answer, dict):
        raise NoItemError("expected an answer with its aliases, got none")
    return _item_of(str(identity or place.id), question, text(answer, value), texts(answer, aliases))


def _item_of(identity: str, question: str, answer: str, aliases: list[str]) -> Item:
    return Item(identity, {"question": question, "answer": answer}, tuple(aliases), f"{question} {answer}")


def _question(question: str) -> str:
    return f"{_BEFORE}{question}{_AFTER}"


def _ask_swallow(item: Item, shots: Sequence[Item]) -> tuple[Request, ...]:
    examples = [f"{_question(shot.parts['question'])} {shot.parts['answer']}" for shot in shots]
    context = harness_context(examples, after=_question(item.parts["question"]))
    return (Generate(context, stops=("\n", ".", ","), max_tokens=MAX_TOKENS),)


def _judge_swallow(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    output, flags = generated(results[0])
    return Judgement(
        output=output,
        normalised=harness_triviaqa_normalise(output.strip()),
        gold=item.parts["answer"],
        columns={"exact_match": harness_triviaqa_exact(output, item.gold)},
        flags=flags,
    )


def _asked_strict(parts: Mapping[str, Any]) -> Asked:
    return Asked(after=_question(parts["question"]))


def _judge_strict(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    output, flags = generated(results[0])
    accepted = [alias for alias in (item.parts["answer"], *item.gold) if triviaqa_normalise(alias)]
    return Judgement(
        output=output,
        normalised=triviaqa_normalise(output),
        gold=max(accepted, key=lambda alias: squad_f1(output, [alias]), default=item.parts["answer"]),
        columns={
            "exact_match": triviaqa_exact(output, accepted),
            "f1": squad_f1(output, accepted) if accepted else 0.0,
        },
        flags=flags,
    )


FORMS: dict[Profile, Form] = {
    "strict": strict_line_form(
        "triviaqa",
        asked=_asked_strict,
        between=" ",
        judge=_judge_strict,
        metrics=(EXACT_MATCH, mean("f1", "f1")),
        max_characters=100,
    ),
    "swallow-2023": harness_form(
        training=read,
        ask=_ask_swallow,
        judge=_judge_swallow,
        metrics=(EXACT_MATCH,),
        generates=True,
        quirks=(
            "The answer ends at the first full stop or comma, so `St. Louis` and `1,000` are never given whole.",
            "Answers are compared in lower case without ASCII punctuation; articles count, and an alias that ends "
            "in white space is never matched.",
        ),
    ),
}

TRIVIAQA = Benchmark(
    name="triviaqa",
    label="TriviaQA",
    language="en",
    category="QA",
    default_items=(("triviaqa/validation.jsonl",), ("triviaqa/web-dev.json", "triviaqa/wikipedia-dev.json")),
    default_shots=("triviaqa/train.jsonl",),
    where=WHERE,
    read=read,
    forms=FORMS,
)
TRIVIAQA_3000 = replace(
    TRIVIAQA,
    name="triviaqa_3000",
    label="TriviaQA (3,000)",
    default_items=(("triviaqa/subset3000.jsonl",), ("triviaqa/triviaqa_sm_sub.jsonl",)),
    where=WHERE_3000,
    read=read_3000,
    stands_in_for="triviaqa",
    notes=(
        "3,000 of TriviaQA's questions, not the 17,944 of rc.nocontext: its scores can be compared with one another, "
        "not with published ones.",
    ),
)

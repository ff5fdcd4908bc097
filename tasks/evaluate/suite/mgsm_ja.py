"""MGSM in Japanese: 250 problems of GSM8K, translated by hand (Shi et al., 2022).

In: the authors' tab-separated file of question and number, or the hub's rows (`question`, `answer_number`). Shots of
`swallow-2023` come from the authors' eight worked examples, as JSON lines of `q` and `a`, or as the hub's split
`train` (`question`, `answer`).

    items = BENCHMARK.read(Files(items=("mgsm_ja/mgsm_ja.tsv",)))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from tasks.evaluate.benchmark import Benchmark, Files, Form, Item, Items, Judgement, MissingDataError, Shots
from tasks.evaluate.metrics.exact import EXACT_MATCH
from tasks.evaluate.metrics.numbers import harness_mgsm_number, last_number
from tasks.evaluate.requests import Context, Generate, Request, Result
from tasks.evaluate.suite.answers import generated
from tasks.evaluate.suite.harness_form import MAX_TOKENS, NO_BOS, SEPARATOR, TOKEN_LIMIT
from tasks.evaluate.suite.harness_shots import from_training, training_or_evaluated
from tasks.evaluate.suite.reading import Malformed, NoItemError, Place, Record, read_items, records, text, tsv_rows
from tasks.evaluate.suite.strict_form import Asked, strict_line_form

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

NUM_SHOTS = 4
QUESTION, ANSWER = "問題：", "ステップごとの答え："  # labels of the harness and of the published examples
WHERE = (
    "MGSM is published by Google under CC BY 4.0 in github.com/google-research/url-nlp (mgsm/mgsm_ja.tsv: save it as "
    "mgsm_ja/mgsm_ja.tsv), and on the Hugging Face hub as hf:juletxara/mgsm:ja@test"
)
WHERE_EXAMPLES = (
    'The eight worked examples are the Japanese part of mgsm/exemplars.py there: save them as lines {"q": "問題：…", '
    '"a": "ステップごとの答え：…"} in mgsm_ja/exemplars_ja.jsonl, or name hf:juletxara/mgsm:ja@train'
)


def read(files: Files) -> Items:
    """The items of the files."""
    return read_items(files.items, WHERE, _rows, _item)


def read_examples(files: Files) -> Items:
    """The worked examples, with the labels of their two parts taken off."""
    return read_items(files.items, f"{WHERE}. {WHERE_EXAMPLES}", records, _example)


def _rows(uri: str, malformed: Malformed) -> Iterator[tuple[Place, Record]]:
    if ".tsv" not in uri:
        yield from records(uri, malformed)
        return
    for place, cells in tsv_rows(uri, malformed):
        if len(cells) == 2:
            yield place, {"question": cells[0], "answer_number": cells[1]}
        else:
            malformed.append(f"{place}: expected 2 columns, question and number, got {len(cells)}")


def _item(place: Place, row: Mapping[str, Any]) -> Item:
    question = text(row, "question").removeprefix(QUESTION)
    try:
        number = Decimal(str(row.get("answer_number")).replace(",", ""))
    except InvalidOperation as error:
        raise NoItemError(f"expected a number as answer, got {row.get('answer_number')}") from error
    return Item(place.id, {"question": question}, number, question)


def _example(place: Place, row: Mapping[str, Any]) -> Item:
    question, answer = (text(row, "q"), text(row, "a")) if "q" in row else (text(row, "question"), text(row, "answer"))
    parts = {"question": question.replace(QUESTION, ""), "answer": answer.replace(ANSWER, "")}
    return Item(place.id, parts, last_number(answer), question)


_draw_from_examples = from_training(read_examples, NUM_SHOTS)


def _swallow_shots(items: Items, files: Files, chosen: Sequence[Item] | None) -> Shots:
    """Of the worked examples alone: the evaluated problems have no solution that could be shown."""
    if files.shots is None:
        raise MissingDataError(
            "swallow-2023 shows four worked examples, and no file of them is given. "
            f"{WHERE_EXAMPLES}, in evaluate.files.mgsm_ja.shots"
        )
    return _draw_from_examples(items, files, chosen)


def _ask_swallow(item: Item, shots: Sequence[Item]) -> tuple[Request, ...]:
    examples = [f"{QUESTION}{shot.parts['question']}\n{ANSWER}{shot.parts['answer']}{SEPARATOR}" for shot in shots]
    context = Context(
        shots=tuple(examples), after=f"{QUESTION}{item.parts['question']}\n{ANSWER}", overlong="shots", start=False
    )
    return (Generate(context, stops=("\n",), max_tokens=MAX_TOKENS),)


def _judge_swallow(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    output, flags = generated(results[0])
    found = harness_mgsm_number(output)
    return _judgement(item, output, None if found is None else Decimal(found), flags)


def _asked_strict(parts: Mapping[str, Any]) -> Asked:
    return Asked(after=f"問題：{parts['question']}\n解答：")


def _judge_strict(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    output, flags = generated(results[0])
    return _judgement(item, output, last_number(output), flags)


def _judgement(item: Item, output: str, found: Decimal | None, flags: tuple[str, ...]) -> Judgement:
    unparsable = ("unparsable",) if found is None and not flags else ()
    columns = {"exact_match": float(found == item.gold)}
    told = "" if found is None else str(found)
    return Judgement(output, told, str(item.gold), columns, flags=(*flags, *unparsable))


BENCHMARK = Benchmark(
    name="mgsm_ja",
    label="MGSM",
    language="ja",
    category="MATH",
    default_items=(("mgsm_ja/mgsm_ja.tsv",),),
    default_shots=("mgsm_ja/exemplars_ja.jsonl",),
    where=WHERE,
    read=read,
    forms={
        "strict": strict_line_form(
            "mgsm_ja", asked=_asked_strict, judge=_judge_strict, metrics=(EXACT_MATCH,), max_characters=300
        ),
        "swallow-2023": Form(
            version=1,
            num_shots=NUM_SHOTS,
            shots=_swallow_shots,
            shots_from=training_or_evaluated,
            ask=_ask_swallow,
            judge=_judge_swallow,
            metrics=(EXACT_MATCH,),
            quirks=(
                "The answer ends at the first line break, so reasoning in several lines is cut before its result.",
                "The last run of digits, commas and points counts, a lone point after the number included; points "
                "around it and all commas go, and what is then no whole number is wrong. Digits of full width do not "
                "count.",
                "The shots differ from item to item: four of the authors' eight worked examples, drawn by "
                "random.Random(42), which first shuffled the items.",
                "Where a prompt is too long, the first shots are left out; the harness draws again, fewer, which "
                "changes the shots of all later items.",
                TOKEN_LIMIT,
                NO_BOS,
            ),
        ),
    },
)

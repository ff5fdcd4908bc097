"""JCommonsenseQA: everyday questions with five choices; the number of the right one is generated.

In: JSON lines of JGLUE (`q_id`, `question`, `choice0` to `choice4`, `label`). Out: exact match of the number.
The validation split is evaluated, as the Swallow authors did; it is the same file in JGLUE 1.1 and 1.3. Profile strict
accepts a number with punctuation, with its choice behind it, or the text of one choice alone; nothing else is a choice.

Source: Kurihara et al., "JGLUE: Japanese General Language Understanding Evaluation", LREC 2022, section 3.

    items = BENCHMARK.read(Files(items=("jcommonsenseqa/valid.jsonl",)))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.evaluate.benchmark import Benchmark, Files, Item, Items, Judgement
from tasks.evaluate.metrics.exact import EXACT_MATCH
from tasks.evaluate.metrics.normalise import nfkc
from tasks.evaluate.requests import Result
from tasks.evaluate.suite.answers import output_line
from tasks.evaluate.suite.labels import bare
from tasks.evaluate.suite.llm_jp import llm_jp_form
from tasks.evaluate.suite.reading import Place, read_items, records, text, whole_number
from tasks.evaluate.suite.strict_form import Asked, strict_line_form

if TYPE_CHECKING:
    from storage.source_records import Record
    from tokenizer.encoder import Encoder

WHERE = (
    "JCommonsenseQA is published by Yahoo Japan and Waseda University in https://github.com/yahoojapan/JGLUE (CC BY-SA "
    "4.0): datasets/jcommonsenseqa-v1.3/valid-v1.3.json, here jcommonsenseqa/valid.jsonl"
)
NUM_CHOICES = 5
NUMBERS = tuple(map(str, range(NUM_CHOICES)))


def read(files: Files) -> Items:
    """The questions; the gold of an item is the index of its choice."""
    return read_items(files.items, WHERE, records, _item)


def _item(place: Place, row: Record) -> Item:
    question = text(row, "question")
    choices = [text(row, f"choice{number}") for number in range(NUM_CHOICES)]
    label = whole_number(row, "label", below=NUM_CHOICES)
    parts = {"question": question, "choices": choices}
    return Item(str(row.get("q_id", place.id)), parts, label, f"{question}\n{choices[label]}")


def _asked_swallow(parts: Mapping[str, Any]) -> Asked:
    choices = ",".join(f"{number}.{choice}" for number, choice in enumerate(parts["choices"]))
    return Asked(after=f"質問：{parts['question']}\n選択肢：{choices}")


def _asked_strict(parts: Mapping[str, Any]) -> Asked:
    choices = "".join(f"{number}. {choice}\n" for number, choice in enumerate(parts["choices"]))
    return Asked(after=f"質問：{parts['question']}\n{choices}答え：")


def chosen(line: str, choices: Sequence[str]) -> str | None:
    """The number of the choice that an output names; None where it names none, or it is not clear which.

    "2", "(2)", "2番", "２．絵本" with choice 2 in full, or the text of exactly one choice.
    """
    answer = bare(line)
    texts = [bare(nfkc(choice)) for choice in choices]
    number, rest = answer[:1], bare(answer[1:])
    if number in NUMBERS and rest in ("", "番", texts[int(number)]):
        return number
    return str(texts.index(answer)) if texts.count(answer) == 1 else None


def _judge(item: Item, results: Sequence[Result], encoder: Encoder) -> Judgement:
    output, line = output_line(results)
    gold, predicted = str(item.gold), chosen(line, item.parts["choices"])
    flags = () if predicted else ("unparsable",) if line else ("empty_output", "unparsable")
    return Judgement(output, line, gold, {"exact_match": float(predicted == gold)}, predicted, flags)


BENCHMARK = Benchmark(
    name="jcommonsenseqa",
    label="JCommonsenseQA",
    language="ja",
    category="MC",
    default_items=tuple((f"jcommonsenseqa/{name}",) for name in ("valid.jsonl", "valid-v1.3.json", "valid-v1.1.json")),
    where=WHERE,
    read=read,
    forms={
        "strict": strict_line_form(
            "jcommonsenseqa",
            asked=_asked_strict,
            judge=_judge,
            metrics=(EXACT_MATCH,),
            max_characters=32,  # a number, or a choice in full: the longest has 14
            classes=NUMBERS,
            quirks=(
                "A number counts with punctuation or its choice behind it, and so does the text of one choice alone.",
            ),
        ),
        "swallow-2023": llm_jp_form(
            "jcommonsenseqa",
            asked=_asked_swallow,
            gold=lambda item: str(item.gold),
            metric="exact_match",
            labels=NUMBERS,
        ),
    },
)

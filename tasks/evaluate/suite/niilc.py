"""NIILC: short open questions of quiz type (NIILC-ECQA2015), with one or several answers.

In: the corpus' XML (`question` with `id`, `text`, `answers`), or JSON lines of `id`, `text`, `answers`. Questions whose
only answer is "-" have none; they are left out, as the Swallow authors did (test: 198 of 200), and counted. Out:
character F1 and exact match (strict), fuzzy ratio (swallow-2023).

The corpus does not tell alternatives (ユネスコ, UNESCO) from lists (赤, 緑, 青). Profile strict accepts each
answer alone and all of them joined; swallow-2023 only all of them, joined with commas.

Source: Sekine, "Development of a Question Answering System focused on an Encyclopedia", ANLP 2003.

    items = BENCHMARK.read(Files(items=("niilc/NIILC-ECQA2015_test.xml",)))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tasks.evaluate.benchmark import Benchmark, Files, Item, Items
from tasks.evaluate.suite.llm_jp import llm_jp_form
from tasks.evaluate.suite.reading import Malformed, NoItemError, Place, read_items, records, text, texts, xml_elements
from tasks.evaluate.suite.strict_form import ANSWER_METRICS, Asked, judge_answer, strict_line_form

if TYPE_CHECKING:
    from storage.source_records import Record

WHERE = (
    "NIILC-QA is published by the NII and Satoshi Sekine in https://github.com/mynlp/niilc-qa (CC BY-SA 4.0): "
    "data/NIILC-ECQA2015_test.xml, here niilc/NIILC-ECQA2015_test.xml"
)
NO_ANSWER = ["-"]


def read(files: Files) -> Items:
    """The questions that have an answer; the gold of an item is the list of its answers, repeated ones included."""
    left_out = 0

    def answered(uri: str, malformed: Malformed) -> Iterator[tuple[Place, Record]]:
        nonlocal left_out
        for place, row in _rows(uri, malformed):
            if row.get("answers") == NO_ANSWER:
                left_out += 1
            else:
                yield place, row

    return replace(read_items(files.items, WHERE, answered, _item), left_out=left_out)


def _rows(uri: str, malformed: Malformed) -> Iterator[tuple[Place, Record]]:
    if ".xml" not in uri.rsplit("/", 1)[-1]:
        yield from records(uri, malformed)
        return
    for place, element in xml_elements(uri, malformed, "question"):
        answers = [(answer.text or "").strip() for answer in element.iter("answer")]
        yield place, {"id": element.get("id"), "text": element.findtext("text"), "answers": answers}


def _item(place: Place, row: Record) -> Item:
    # White space around texts is the XML's layout; the harness read it away too.
    question = text(row, "text").strip()
    answers = [answer.strip() for answer in texts(row, "answers") if answer.strip()]
    if not answers:
        raise NoItemError(f"no answer to {question}")
    return Item(str(row.get("id") or place.id), {"question": question}, answers, f"{question}\n{'、'.join(answers)}")


def accepted(item: Item) -> list[str]:
    """Each answer alone, and all of them joined."""
    answers = list(dict.fromkeys(item.gold))
    return answers if len(answers) == 1 else [*answers, "、".join(answers)]


def _asked_swallow(parts: Mapping[str, Any]) -> Asked:
    return Asked(after=f"質問：{parts['question']}")


def _asked_strict(parts: Mapping[str, Any]) -> Asked:
    return Asked(after=f"質問：{parts['question']}\n答え：")


BENCHMARK = Benchmark(
    name="niilc",
    label="NIILC",
    language="ja",
    category="QA",
    default_items=(("niilc/NIILC-ECQA2015_test.xml",), ("niilc/test.jsonl",)),
    where=WHERE,
    read=read,
    forms={
        "strict": strict_line_form(
            "niilc",
            asked=_asked_strict,
            judge=partial(judge_answer, accepted),
            metrics=ANSWER_METRICS,
            max_characters=200,  # the longest joined list has 173
            quirks=(
                "Of several answers each alone counts, and all of them joined in the file's order: the corpus does not "
                "tell alternatives from lists.",
            ),
        ),
        "swallow-2023": llm_jp_form(
            "niilc",
            asked=_asked_swallow,
            gold=lambda item: ",".join(item.gold),
            metric="char_f1",
            quirks=("Several answers are one gold, joined with commas, also where they are alternatives.",),
        ),
    },
    notes=('Questions whose only answer is "-" are left out.',),
)

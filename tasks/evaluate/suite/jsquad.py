"""JSQuAD: the answer to a question is a span of a passage of Wikipedia.

In: JSON of SQuAD's form (JGLUE), contexts of the form `TITLE [SEP] text`; or flat rows as on the hub. Every question
has an answer, two or three in the validation split. Out: best character F1 over all answers and exact match (strict),
fuzzy ratio to the first answer (swallow-2023). The validation split is the same file in JGLUE 1.1 and 1.3.

Source: Kurihara et al., "JGLUE: Japanese General Language Understanding Evaluation", LREC 2022, section 3.

    items = BENCHMARK.read(Files(items=("jsquad/valid.json",)))
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tasks.evaluate.benchmark import Benchmark, Files, Item, Items
from tasks.evaluate.suite.llm_jp import llm_jp_form
from tasks.evaluate.suite.reading import Place, read_items, squad_records, text, texts
from tasks.evaluate.suite.strict_form import ANSWER_METRICS, Asked, judge_answer, strict_line_form

if TYPE_CHECKING:
    from storage.source_records import Record

WHERE = (
    "JSQuAD is published by Yahoo Japan and Waseda University in https://github.com/yahoojapan/JGLUE (CC BY-SA 4.0): "
    "datasets/jsquad-v1.3/valid-v1.3.json, here jsquad/valid.json"
)
SEPARATOR = " [SEP] "
PASSAGE_BEGINNING = 200  # characters that a training document with the item would share with it, at least


def read(files: Files) -> Items:
    """The questions; the gold of an item is the list of its answers, in the order of the file."""
    return read_items(files.items, WHERE, squad_records, _item)


def _item(place: Place, row: Record) -> Item:
    question, context = text(row, "question"), text(row, "context")
    answers = texts(row, "answers")
    title, separator, passage = context.partition(SEPARATOR)
    if not separator:
        title, passage = str(row.get("title") or ""), context
    parts = {"title": title, "passage": passage, "context": context, "question": question}
    found = f"{question}\n{passage[:PASSAGE_BEGINNING]}\n{answers[0]}"
    return Item(str(row.get("id") or place.id), parts, answers, found)


def _asked_swallow(parts: Mapping[str, Any]) -> Asked:
    return Asked(before="文章：", passage=parts["context"], after=f"\n質問：{parts['question']}")


def _asked_strict(parts: Mapping[str, Any]) -> Asked:
    title = f"題名：{parts['title']}\n" if parts["title"] else ""
    return Asked(
        before=f"{title}文章：",
        passage=parts["passage"],
        after=f"\n質問：{parts['question']}\n答え：",
    )


BENCHMARK = Benchmark(
    name="jsquad",
    label="JSQuAD",
    language="ja",
    category="RC",
    default_items=tuple((f"jsquad/{name}",) for name in ("valid.json", "valid-v1.3.json", "valid-v1.1.json")),
    where=WHERE,
    read=read,
    forms={
        "strict": strict_line_form(
            "jsquad",
            asked=_asked_strict,
            judge=partial(judge_answer, lambda item: item.gold),
            metrics=ANSWER_METRICS,
            max_characters=64,  # a short span: of every question's answers the shortest has 19 at most
        ),
        "swallow-2023": llm_jp_form(
            "jsquad",
            asked=_asked_swallow,
            gold=lambda item: item.gold[0],
            metric="char_f1",
            quirks=("Only the first of an item's two or three answers counts.",),
        ),
    },
)

"""JEMHopQA: questions whose answer needs two facts, from two articles of Wikipedia; no passage is given.

In: the corpus' JSON arrays (`qid`, `type`, `question`, `answer`). Out: character F1 and exact match (strict), fuzzy
ratio (swallow-2023). `corpus/dev.json` is the first release, which llm-jp-eval 1.1 downloaded; 1.1 (November 2023) and
1.2 (March 2025) correct questions and answers and are read too, under their own file names.

Source: Ishii et al., "JEMHopQA: Dataset for Japanese Explainable Multi-Hop Question Answering", LREC-COLING 2024.

    items = BENCHMARK.read(Files(items=("jemhopqa/dev.json",)))
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tasks.evaluate.benchmark import Benchmark, Files, Item, Items
from tasks.evaluate.suite.llm_jp import llm_jp_form
from tasks.evaluate.suite.reading import Place, read_items, records, text
from tasks.evaluate.suite.strict_form import ANSWER_METRICS, Asked, judge_answer, strict_line_form

if TYPE_CHECKING:
    from storage.source_records import Record

WHERE = (
    "JEMHopQA is published by RIKEN in https://github.com/aiishii/JEMHopQA (CC BY-SA 4.0): corpus/dev.json, which the "
    "Swallow authors used, or the corrected corpus_ver1.1/dev_ver1.1.json; here jemhopqa/dev.json"
)


def read(files: Files) -> Items:
    """The questions; the gold of an item is its one answer."""
    return read_items(files.items, WHERE, records, _item)


def _item(place: Place, row: Record) -> Item:
    question, answer = text(row, "question"), text(row, "answer")
    return Item(str(row.get("qid", place.id)), {"question": question}, answer, f"{question}\n{answer}")


def _asked_swallow(parts: Mapping[str, Any]) -> Asked:
    return Asked(after=f"質問：{parts['question']}")


def _asked_strict(parts: Mapping[str, Any]) -> Asked:
    return Asked(after=f"質問：{parts['question']}\n答え：")


BENCHMARK = Benchmark(
    name="jemhopqa",
    label="JEMHopQA",
    language="ja",
    category="QA",
    default_items=tuple((f"jemhopqa/{name}",) for name in ("dev.json", "dev_ver1.1.json", "dev_ver1.2.json")),
    where=WHERE,
    read=read,
    forms={
        "strict": strict_line_form(
            "jemhopqa",
            asked=_asked_strict,
            judge=partial(judge_answer, lambda item: [item.gold]),
            metrics=ANSWER_METRICS,
            max_characters=48,  # the longest answer of all splits has 31
        ),
        "swallow-2023": llm_jp_form("jemhopqa", asked=_asked_swallow, gold=lambda item: item.gold, metric="char_f1"),
    },
    notes=(
        "dev.json is the first release, with some wrong answers (a date as the number 40466); version 1.1 corrects "
        "them. Scores of different releases are not comparable.",
    ),
)

"""MARC-ja: whether a review of a product is positive or negative.

In: JSON lines that JGLUE's script built from the Japanese part of the Multilingual Amazon Reviews Corpus (`sentence`,
`label`, `review_id`), or rows of `review_body` and `label`. Amazon no longer distributes the corpus, so only those who
have it can evaluate this. Out: balanced accuracy and accuracy (strict), exact match and balanced accuracy
(swallow-2023). Most reviews are positive. The score is in no average: the Swallow authors did not report the task.

Source: Kurihara et al., "JGLUE: Japanese General Language Understanding Evaluation", LREC 2022, section 3.

    items = BENCHMARK.read(Files(items=("marc_ja/valid.jsonl",)))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tasks.evaluate.benchmark import Benchmark, Files, Item, Items
from tasks.evaluate.suite.labels import read_label, strict_label_form
from tasks.evaluate.suite.llm_jp import llm_jp_form
from tasks.evaluate.suite.reading import Place, read_items, records, text
from tasks.evaluate.suite.strict_form import Asked

if TYPE_CHECKING:
    from storage.source_records import Record

WHERE = (
    "MARC-ja is no longer distributed: the script of https://github.com/yahoojapan/JGLUE built it, as "
    "marc_ja-v1.x/valid-v1.x.json, from the Multilingual Amazon Reviews Corpus and under that corpus' licence, which "
    "Amazon withdrew; who has the file puts it at marc_ja/valid.jsonl"
)
# As the files name them, and as profile strict writes them; in the order of the hub's label numbers.
LABELS = {"positive": "肯定", "negative": "否定"}
CLASSES = tuple(LABELS)
REVIEW_BEGINNING = 200  # characters that a training document with the item would share with it, at least


def read(files: Files) -> Items:
    """The reviews; the gold of an item is its label."""
    return read_items(files.items, WHERE, records, _item)


def _item(place: Place, row: Record) -> Item:
    review = text(row, "sentence" if "sentence" in row else "review_body")
    label = read_label(row, "label", CLASSES)
    return Item(str(row.get("review_id", place.id)), {"review": review}, label, review[:REVIEW_BEGINNING])


def _asked_swallow(parts: Mapping[str, Any]) -> Asked:
    return Asked(before="レビュー：", passage=parts["review"], after="")


def _asked_strict(parts: Mapping[str, Any]) -> Asked:
    return Asked(before="レビュー：", passage=parts["review"], after="\n評価：")


BENCHMARK = Benchmark(
    name="marc_ja",
    label="MARC-ja",
    language="ja",
    category="MC",
    default_items=tuple(
        (f"marc_ja/{name}",) for name in ("valid.jsonl", "valid-v1.2.json", "valid-v1.1.json", "valid-v1.0.json")
    ),
    where=WHERE,
    read=read,
    forms={
        "strict": strict_label_form("marc_ja", asked=_asked_strict, written=LABELS),
        "swallow-2023": llm_jp_form(
            "marc_ja",
            asked=_asked_swallow,
            gold=lambda item: item.gold,
            metric="exact_match",
            labels=CLASSES,
            balanced=True,
            quirks=(
                "The harness has no MARC-ja and the authors did not run it: this is the harness' prompt around a "
                "prompt file of the user's own (input `レビュー：...`, output `positive` or `negative`).",
            ),
        ),
    },
    averaged=False,
)

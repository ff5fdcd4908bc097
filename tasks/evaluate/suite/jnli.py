"""JNLI: whether a sentence follows from another, contradicts it, or neither; captions of images.

In: JSON lines of JGLUE (`sentence_pair_id`, `sentence1`, `sentence2`, `label`). Out: balanced accuracy and accuracy
(strict), exact match and balanced accuracy (swallow-2023). Neutral is 55 % of the validation split, so a model that
always says so reaches an accuracy of 0.55; its balanced accuracy is 1/3.

The Swallow authors left inference tasks out of their tables because one class took nearly all predictions, and changed
along training (vocabulary paper, appendix C); the score is in no average here either.

Source: Kurihara et al., "JGLUE: Japanese General Language Understanding Evaluation", LREC 2022, section 3.

    items = BENCHMARK.read(Files(items=("jnli/valid.jsonl",)))
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
    "JNLI is published by Yahoo Japan and Waseda University in https://github.com/yahoojapan/JGLUE (CC BY-SA 4.0): "
    "datasets/jnli-v1.3/valid-v1.3.json, here jnli/valid.jsonl"
)
# As the files name them, and as profile strict writes them; in the order of the hub's label numbers.
LABELS = {"entailment": "含意", "contradiction": "矛盾", "neutral": "中立"}
CLASSES = tuple(LABELS)


def read(files: Files) -> Items:
    """The pairs; the gold of an item is its label."""
    return read_items(files.items, WHERE, records, _item)


def _item(place: Place, row: Record) -> Item:
    premise, hypothesis = text(row, "sentence1"), text(row, "sentence2")
    label = read_label(row, "label", CLASSES)
    parts = {"premise": premise, "hypothesis": hypothesis}
    return Item(str(row.get("sentence_pair_id", place.id)), parts, label, f"{premise}\n{hypothesis}")


def _pair(parts: Mapping[str, Any]) -> str:
    return f"前提：{parts['premise']}\n仮説：{parts['hypothesis']}"


def _asked_swallow(parts: Mapping[str, Any]) -> Asked:
    return Asked(after=_pair(parts))


def _asked_strict(parts: Mapping[str, Any]) -> Asked:
    return Asked(after=f"{_pair(parts)}\n関係：")


BENCHMARK = Benchmark(
    name="jnli",
    label="JNLI",
    language="ja",
    category="NLI",
    default_items=tuple((f"jnli/{name}",) for name in ("valid.jsonl", "valid-v1.3.json", "valid-v1.1.json")),
    where=WHERE,
    read=read,
    forms={
        "strict": strict_label_form("jnli", asked=_asked_strict, written=LABELS),
        "swallow-2023": llm_jp_form(
            "jnli",
            asked=_asked_swallow,
            gold=lambda item: item.gold,
            metric="exact_match",
            labels=CLASSES,
            balanced=True,
            quirks=(
                "The authors used JGLUE 1.1; 1.2 corrected labels, so its scores differ by that too.",
                "The authors left inference tasks out of their tables.",
            ),
        ),
    },
    averaged=False,
)

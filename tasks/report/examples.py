"""Base against trained, example by example: which documents and questions became better, and which worse.

In: the example rows of evaluate (the same documents and questions for every model) and the held-out documents' text.
Out: JSON-like facts: per language how many documents the trained model reads in fewer bits, the documents that changed
most, and how many questions both, one or neither of the models answered rightly.

    compared(made)["documents"][0]["better"], compared(made)["questions"][0]["only_trained"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from storage.documents import read_documents
from storage.token_catalog import document_rows_path
from storage.uri import join
from tasks.report.artifacts import RunArtifacts
from tasks.report.samples import excerpt
from tasks.report.scores import BASE, TRAINED

NUM_EXTREMES = 2
MIN_BYTES = 256  # the budget of scored bytes may end within a document: the rest of it says nothing
Pairs = Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]


def compared(made: RunArtifacts) -> dict[str, Any]:
    """`documents` and `questions` per language, `extremes` among the documents; empty where evaluate left no rows."""
    documents = _pairs(made, "bits_per_byte")
    languages = sorted({base["language"] for base, _ in documents}, key=lambda language: (language != "ja", language))
    extremes = [row for language in languages for row in _extremes(language, documents)]
    texts = _texts(made, [row["id"] for row in extremes])
    return {
        "documents": [_document_counts(language, documents) for language in languages],
        "min_bytes": MIN_BYTES,
        "extremes": [row | {"excerpt": excerpt(texts.get(row["id"]))} for row in extremes],
        "questions": _question_counts(_pairs(made, "hibari_probe")),
    }


def _pairs(made: RunArtifacts, task: str) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The base's and the trained model's row of each example that both have."""
    rows = {
        model: {row["id"]: row for row in made.json_lines("evaluate", f"examples/{model}-{task}.jsonl")}
        for model in (BASE, TRAINED)
    }
    return [(base, rows[TRAINED][id_]) for id_, base in rows[BASE].items() if id_ in rows[TRAINED]]


def _change(base: Mapping[str, Any], trained: Mapping[str, Any]) -> float:
    """Change of the bits that a document takes, as a part of the base's; both scored the same bytes."""
    return trained["bits"] / base["bits"] - 1 if base["bits"] else 0.0


def _document_counts(language: str, pairs: Pairs) -> dict[str, Any]:
    changes = [_change(*pair) for pair in pairs if pair[0]["language"] == language]
    return {
        "language": language,
        "documents": len(changes),
        "better": sum(change < 0 for change in changes),
        "worse": sum(change > 0 for change in changes),
    }


def _extremes(language: str, pairs: Pairs) -> list[dict[str, Any]]:
    """The documents of a language that gained most and least, the best first."""
    ranked = sorted(
        (
            {
                "language": language,
                "id": base["id"],
                "bytes": base["bytes"],
                "base": base["bits"] / base["bytes"],
                "trained": trained["bits"] / trained["bytes"],
                "change": _change(base, trained),
            }
            for base, trained in pairs
            if base["language"] == language and base["bytes"] >= MIN_BYTES
        ),
        key=itemgetter("change", "id"),
    )
    return ranked if len(ranked) <= 2 * NUM_EXTREMES else ranked[:NUM_EXTREMES] + ranked[-NUM_EXTREMES:]


def _question_counts(pairs: Pairs) -> list[dict[str, Any]]:
    counts: dict[str, dict[str, int]] = {}
    for base, trained in pairs:
        outcome = {(1, 1): "both", (1, 0): "only_base", (0, 1): "only_trained"}.get((base["score"], trained["score"]))
        row = counts.setdefault(base["language"], dict.fromkeys(("both", "only_base", "only_trained", "neither"), 0))
        row[outcome or "neither"] += 1
    return [{"language": language, "questions": sum(row.values()), **row} for language, row in counts.items()]


def _texts(made: RunArtifacts, ids: Sequence[str]) -> dict[str, str]:
    """Hexadecimal id -> text of held-out documents, as far as they are still there."""
    wanted = pa.array(sorted(bytes.fromhex(id_) for id_ in ids), pa.binary(16))
    found = {}
    for source in made.detail("binarize", "sources") or []:
        path = document_rows_path(source["name"], "validation")
        if len(wanted) and made.paths("binarize", path):
            for batch in read_documents(join(made.uris["binarize"], path), ["id", "text"]):
                rows = batch.filter(pc.is_in(batch.column("id"), value_set=wanted)).to_pylist()
                found.update({row["id"].hex(): row["text"] for row in rows})
    return found

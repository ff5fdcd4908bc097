"""Base against trained, example by example: the counts are those of the rows, the extremes the furthest apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.artifact import Outcome
from tasks.report.artifacts import RunArtifacts
from tasks.report.examples import MIN_BYTES, compared
from tests.tasks.report.made_up_files import ENGLISH_TEXTS, TEXTS
from tests.tasks.report.made_up_run import make_run, seal_stage, write_rows


def test_documents_and_questions_are_counted_by_who_is_better(tmp_path: Path) -> None:
    facts = compared(RunArtifacts.read(make_run(tmp_path, num_steps=2)))
    assert facts["documents"] == [
        {"language": "ja", "documents": 4, "better": 2, "worse": 2},
        {"language": "en", "documents": 2, "better": 2, "worse": 0},
    ]
    assert facts["questions"] == [
        {"language": "ja", "questions": 4, "both": 1, "only_base": 1, "only_trained": 1, "neither": 1}
    ]
    japanese = [row for row in facts["extremes"] if row["language"] == "ja"]
    assert [row["excerpt"] for row in japanese] == list(TEXTS)  # the n-th gained less than the one before
    assert japanese[0]["base"] == 1.5
    assert japanese[0]["change"] == pytest.approx(-0.3)
    assert [row["excerpt"] for row in facts["extremes"] if row["language"] == "en"] == list(ENGLISH_TEXTS)


def test_the_rest_of_a_document_that_the_budget_cut_off_is_no_extreme(tmp_path: Path) -> None:
    rows = {
        model: [
            {"id": f"{n:032x}", "language": "ja", "bytes": size, "bits": bits}
            for n, (size, bits) in enumerate([(1, 8.0 if model == "base" else 1.0), (MIN_BYTES, 100.0)])
        ]
        for model in ("base", "trained")
    }
    files = [
        write_rows(tmp_path, "evaluate", f"examples/{model}-bits_per_byte.jsonl", found)
        for model, found in rows.items()
    ]
    facts = compared(RunArtifacts.read({"evaluate": seal_stage(tmp_path, "evaluate", Outcome(files))}))
    assert facts["documents"] == [{"language": "ja", "documents": 2, "better": 1, "worse": 0}]
    assert [row["bytes"] for row in facts["extremes"]] == [MIN_BYTES]
    assert facts["extremes"][0]["excerpt"] is None  # the held-out texts are not there


def test_without_rows_there_is_nothing_to_compare() -> None:
    facts = compared(RunArtifacts.read({}))
    assert facts["documents"] == facts["extremes"] == facts["questions"] == []

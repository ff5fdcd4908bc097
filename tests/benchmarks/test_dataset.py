"""Breaks when the four stages do not fit together, or a sample that is not in its documents goes unnoticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.dataset import check_samples, main
from tests.tasks.binarize.inputs import en, train_tokenizer, write_lines
from tests.tokenizer.conftest import japanese_documents


@pytest.mark.slow
def test_from_texts_to_a_mixture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    japanese = write_lines(tmp_path / "ja.jsonl", [{"text": text * 3} for text in japanese_documents()])
    english = write_lines(tmp_path / "en.jsonl.gz", [{"text": en(number) * 20} for number in range(400)])
    kept = tmp_path / "kept"

    def keep(out: Path) -> int:
        checked = check_samples(out)
        shutil.copytree(out, kept / str(len(list(kept.glob("*")))))
        return checked

    monkeypatch.setattr("benchmarks.dataset.check_samples", keep)
    base = train_tokenizer(tmp_path / "tokenizer")
    options = ["--candidates", "600", "--words", "none", "--times", "1", "2", "--json"]
    main(["--base", base, "--japanese", japanese, "--english", english, *options])
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(row["stage"], row["times"]) for row in rows] == [
        (stage, times) for times in (1, 2) for stage in ("expand", "initialize", "binarize", "mix")
    ]
    documents = [row["counts"]["documents"] for row in rows if row["stage"] == "binarize"]
    assert documents == [640, 1280], "a copy was taken for a duplicate"
    assert all(row["peak_mib"] > 0 for row in rows)
    for path in (kept / "0" / "corpus" / "documents").iterdir():
        table = pq.read_table(path)
        others = pa.array(["別の文書です。"] * table.num_rows)
        pq.write_table(table.set_column(1, "text", others), path)
    with pytest.raises(RuntimeError, match="is not in document"):
        check_samples(kept / "0")

"""Breaks when the binarize benchmark gives its jobs different texts, or a figure is not what the runs say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks.binarize import Row, _row, _table, main
from benchmarks.binarize_jobs import write_texts
from benchmarks.measure import Used
from tests.tasks.binarize.inputs import en, ja, train_tokenizer, write_lines


@pytest.fixture
def sources(tmp_path: Path) -> list[tuple[Path, float]]:
    japanese = write_lines(tmp_path / "ja.jsonl.gz", [{"text": ja(number)} for number in range(300)])
    english = write_lines(tmp_path / "en.jsonl", [{"text": en(number)} for number in range(300)])
    return [(Path(japanese), 0.01), (Path(english), 1.0)]


def test_all_jobs_are_given_the_same_texts(sources: list[tuple[Path, float]], tmp_path: Path) -> None:
    out = tmp_path / "texts"
    size = write_texts(sources, 2, out)
    texts = [json.loads(line)["text"] for line in (out / "texts.jsonl").read_text().splitlines()]
    assert size == {"documents": len(texts), "bytes": sum(len(text.encode()) for text in texts)}
    once = texts[: len(texts) // 2]
    assert sum(len(text.encode()) for text in once if "雲雀" in text) <= 10_000 < 10_000 + len(ja(99).encode())
    assert [text for text in once if "雲雀" not in text] == [en(number) for number in range(300)]
    assert len(set(texts)) == len(texts), "copies would be dropped"
    lines = [line for path in (out / "jsonl").iterdir() for line in path.read_text().splitlines()]
    assert sorted(json.loads(line)["text"] for line in lines) == sorted(texts)
    rows = [
        text for path in (out / "corpus" / "documents").iterdir() for text in pq.read_table(path)["text"].to_pylist()
    ]
    assert sorted(rows) == sorted(texts)


def test_start_up_is_taken_off_unless_a_job_timed_itself() -> None:
    start = [Used(cpu, 2.0, 50, 50, "") for cpu in (0.5, 1.0, 1.5)]
    runs = [(Used(cpu, 12.0, 100, 80, ""), {"tokens": 900}) for cpu in (6.0, 5.0, 9.0)]
    row = _row("hibari", 2, start, runs)
    assert (row.cpu_s, row.wall_s, row.startup_s, row.peak_mib) == (5.0, 10.0, 1.0, 100)
    loop = _row("sentencepiece", 1, start, [(used, said | {"cpu_s": 10.0, "wall_s": 11.0}) for used, said in runs])
    assert (loop.cpu_s, loop.wall_s) == (10.0, 11.0)
    line = _table([row, loop], 20_000_000).splitlines()[1].split()
    assert line == ["hibari", "2", "2.0", "4.0", "0.00", "900", "1.00", "100", "2.00"]
    with pytest.raises(RuntimeError, match="tokens of the same texts"):
        _row("hibari", 2, start, [*runs, (runs[0][0], {"tokens": 901})])
    with pytest.raises(RuntimeError, match="too short"):
        _row("hibari", 2, start, [(Used(0.9, 12.0, 100, 80, ""), {"tokens": 900})])


@pytest.mark.slow
def test_the_command_runs(
    sources: list[tuple[Path, float]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def with_start_up(name: str, workers: int, startups: list[Used], found: list[Any]) -> Row:
        return _row(name, workers, [Used(0.0, 0.0, 0, 0, "")], found)

    tokenizer = train_tokenizer(tmp_path / "tokenizer")
    texts = [f"{path}:{megabytes}" for path, megabytes in sources]
    rows = ["hibari", "hibari-jsonl", "sentencepiece", "sentencepiece-batch"]
    monkeypatch.setattr("benchmarks.binarize._row", with_start_up)  # which is most of it, of so little text
    main(["--tokenizer", tokenizer, "--texts", *texts, "--rows", *rows, "--workers", "1", "--repeat", "1", "--json"])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [figure["name"] for figure in figures] == rows
    documents = figures[0]["documents"]
    tokens = [figure["tokens"] for figure in figures]
    assert tokens[0] == tokens[1] == tokens[2] + 2 * documents == tokens[3] + 2 * documents  # BOS and EOS

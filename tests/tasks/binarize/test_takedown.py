"""Documents of other sources that were taken down are in no token file, and are counted."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from storage.artifact import Outcome
from storage.documents import document_id
from storage.tombstones import Tombstones
from tasks.binarize.binarize import SourceInput, binarize
from tasks.binarize.config import BinarizeConfig
from tasks.shards import ExecutorConfig
from tests.tasks.binarize.inputs import en, ja, train_tokenizer, write_lines, write_shard

NUM = 60
TAKEN = (5, 17, 18)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[SourceInput], str]:
    """A corpus, English pages with URLs (the last without one), Japanese notes without any."""
    folder = tmp_path_factory.mktemp("inputs")
    english: list[dict[str, object]] = [
        {"id": f"e{n}", "text": en(n), "url": f"http://Pages.example.org/{n}"} for n in range(NUM)
    ]
    english.append({"id": "bare", "text": en(NUM)})
    notes: list[dict[str, object]] = [{"id": f"n{n}", "text": ja(n + 500)} for n in range(30)]
    sources = [
        SourceInput("corpus", "ja", (write_shard(folder / "corpus", "part", range(60)),)),
        SourceInput("web-en", "en", (write_lines(folder / "en.jsonl", english),)),
        SourceInput("notes", "ja", (write_lines(folder / "notes.jsonl", notes),)),
    ]
    return sources, train_tokenizer(folder / "tokenizer")


def run(inputs: tuple[list[SourceInput], str], out: Path, *patterns: str) -> Outcome:
    sources, tokenizer = inputs
    return binarize(
        sources,
        tokenizer,
        BinarizeConfig(validation_ratio=0.2),
        out=str(out),
        executor=ExecutorConfig(workers=1),
        tombstones=Tombstones.of(patterns),
    )


def ids(out: Path, source: str) -> set[bytes]:
    tables = (out / source / "train.documents.parquet", out / source / "validation.parquet")
    return {id for table in tables for id in pq.read_table(table, columns=["id"]).column("id").to_pylist()}


def test_what_is_taken_down_is_in_no_token_file(tmp_path: Path, inputs: tuple[list[SourceInput], str]) -> None:
    before = run(inputs, tmp_path / "before")
    after = run(inputs, tmp_path / "after", *(f"https://pages.example.org/{n}" for n in TAKEN), "host:nobody.jp")
    taken = {document_id("web-en", f"e{n}") for n in TAKEN}
    assert ids(tmp_path / "after", "web-en") == ids(tmp_path / "before", "web-en") - taken
    for source in ("corpus", "notes"):
        assert ids(tmp_path / "after", source) == ids(tmp_path / "before", source)
    assert before.counts["documents_web-en_taken_down"] == 0
    assert {name: n for name, n in after.counts.items() if name.endswith("_taken_down")} == {
        "documents_corpus_taken_down": 0,
        "documents_web-en_taken_down": len(TAKEN),
        "documents_notes_taken_down": 0,
    }
    fates = ("train", "validation", "empty", "taken_down", "duplicate", "held_out_elsewhere")
    for source in ("corpus", "web-en", "notes"):
        counted = sum(after.counts[f"documents_{source}_{fate}"] for fate in fates)
        assert counted == after.counts[f"documents_{source}_read"]


def test_a_source_taken_down_as_a_whole_is_an_error_that_names_it(
    tmp_path: Path, inputs: tuple[list[SourceInput], str]
) -> None:
    sources, tokenizer = inputs
    others = [source for source in sources if source.name != "web-en"]
    lines: list[dict[str, object]] = [
        {"id": f"e{n}", "text": en(n), "url": f"https://pages.example.org/{n}"} for n in range(5)
    ]
    web = SourceInput("web-en", "en", (write_lines(tmp_path / "en.jsonl", lines),))
    with pytest.raises(ValueError, match=r"source 'web-en' has no document to train on .* taken down"):
        run(([*others, web], tokenizer), tmp_path / "out", "host:example.org")

"""Sources as they are published go into token files, each record counted once, and takedowns find them there."""

from __future__ import annotations

import bz2
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from storage.artifact import Outcome
from storage.documents import document_id
from storage.sources import SourceLayout
from storage.tombstones import Tombstones, parse_pattern
from tasks.binarize.binarize import SourceInput, binarize
from tasks.binarize.config import BinarizeConfig, SourceConfig
from tasks.shards import ExecutorConfig
from tests.storage.source_files import dump, lines, page, write
from tests.tasks.binarize.inputs import en, ja, train_tokenizer, write_shard

NUM = 60
TAKEN_DOWN = ("https://a.example.org/7", "https://ja.example.org/wiki/雲雀3")
SOURCES = [
    {"name": "ja-wiki", "language": "ja", "documents": ["jawiki.xml.bz2"]},
    {"name": "refinedweb", "language": "en", "documents": ["rw.parquet"], "layout": "refinedweb"},
    {"name": "arxiv", "language": "en", "documents": ["00.jsonl.zst"], "where": {"meta.pile_set_name": "ArXiv"}},
    {"name": "parallel", "language": "mul", "documents": ["en-ja.tsv"], "pairs_per_document": 2},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The token files of a corpus and four outside sources, two of whose pages were taken down."""
    folder = tmp_path_factory.mktemp("layouts")
    pages = [page(n, f"雲雀{n}", ja(n + 900)) for n in range(NUM)]
    pages += [page(NUM, "転送", "#転送 [[雲雀1]]"), page(NUM + 1, "ノート:雲雀", "話", namespace=1)]
    write(folder / "jawiki.xml.bz2", bz2.compress(dump(*pages)))
    web = [{"content": en(n), "url": f"https://a.example.org/{n}"} for n in range(NUM)]
    pq.write_table(pa.Table.from_pylist(web), folder / "rw.parquet")
    pile = [{"text": en(n + 300), "meta": {"pile_set_name": "ArXiv" if n % 3 else "Github"}} for n in range(NUM)]
    write(folder / "00.jsonl.zst", zstandard.ZstdCompressor().compress(lines([*pile, "no record"])))
    pairs = [("ja", "en"), *((f"雲雀は{n}羽。", f"There are {n} larks.") for n in range(2 * NUM)), ("", "nothing")]
    write(folder / "en-ja.tsv", "".join("\t".join(pair) + "\n" for pair in pairs).encode())
    sources = [SourceInput("corpus", "ja", (write_shard(folder / "corpus", "part", range(NUM)),))]
    for values in SOURCES:
        files = [str(folder / name) for name in values["documents"]]
        source = SourceConfig(**values | {"weight": 1.0, "documents": files, "max_bad_record_ratio": 0.05})
        sources.append(SourceInput(source.name, source.language, tuple(files), SourceLayout(**source.reading)))
    outcome = binarize(
        sources,
        train_tokenizer(folder / "tokenizer"),
        BinarizeConfig(validation_ratio=0.2),
        out=str(folder / "out"),
        executor=ExecutorConfig(workers=1),
        tombstones=Tombstones.of(map(parse_pattern, TAKEN_DOWN)),
    )
    return folder / "out", outcome


@pytest.mark.parametrize(
    ("source", "read", "taken_down", "not_chosen", "unreadable"),
    [("ja-wiki", 60, 1, 2, 0), ("refinedweb", 60, 1, 0, 0), ("arxiv", 40, 0, 20, 1), ("parallel", 60, 0, 1, 0)],
)
def test_every_record_is_counted_once(
    made: tuple[Path, Outcome], source: str, read: int, taken_down: int, not_chosen: int, unreadable: int
) -> None:
    counts = made[1].counts
    told = [counts[f"documents_{source}_{what}"] for what in ("read", "taken_down", "not_chosen", "unreadable")]
    assert told == [read, taken_down, not_chosen, unreadable]
    assert counts[f"documents_{source}_train"] + counts[f"documents_{source}_validation"] == read - taken_down


def test_what_was_taken_down_is_in_no_token_file(made: tuple[Path, Outcome]) -> None:
    out = made[0]
    for source, gone, there in (("ja-wiki", "3", "4"), ("refinedweb", "rw.parquet:8", "rw.parquet:9")):
        tables = (out / source / "train.documents.parquet", out / source / "validation.parquet")
        ids = {id for table in tables for id in pq.read_table(table, columns=["id"]).column("id").to_pylist()}
        assert document_id(source, there) in ids
        assert document_id(source, gone) not in ids

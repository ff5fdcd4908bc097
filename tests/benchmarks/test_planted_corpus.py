"""Breaks when a planted corpus has other duplicates than its list says, differs when made again, or is misjudged."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.planted_corpus import Pairs, judge, read_oracle, read_pairs, write_corpus
from storage.documents import document_schema
from tasks.deduplicate.signatures import shingles

pytestmark = pytest.mark.usefixtures("shards_in_threads")
DOCUMENTS = 400


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, list[str]]:
    return tmp_path, write_corpus(tmp_path, DOCUMENTS, seed=1)


def test_pairs_are_where_the_list_says_and_as_similar(corpus: tuple[Path, list[str]]) -> None:
    folder, shards = corpus
    texts = [text for shard in shards for text in pq.read_table(shard).column("text").to_pylist()]
    pairs = read_pairs(folder)
    assert len(texts) == DOCUMENTS
    assert len(pairs.copies) == 20 + 80
    assert len(set(pairs.originals) | set(pairs.copies)) == 200, "no document is in two pairs"
    for original, copy, jaccard in zip(pairs.originals, pairs.copies, pairs.jaccards, strict=True):
        one, other = shingles(texts[original], 5), shingles(texts[copy], 5)
        assert jaccard == len(one & other) / len(one | other)
    assert (pairs.jaccards == 1).sum() == 20 == DOCUMENTS - len(set(texts))
    assert np.histogram(pairs.jaccards, [0.68, 0.8, 0.9, 0.9999])[0].min() > 15


def test_documents_are_as_curation_writes_them(corpus: tuple[Path, list[str]]) -> None:
    _, shards = corpus
    rows = [row for shard in shards for row in pq.read_table(shard).to_pylist()]
    assert pq.read_schema(shards[0]).equals(document_schema())
    assert len({row["id"] for row in rows}) == len({row["url"] for row in rows}) == DOCUMENTS
    for row in rows:
        assert row["num_characters"] == len(row["text"])
        assert row["url"].startswith(f"https://{row['host']}/")
    by_crawl = {row["crawl"]: [other["fetched_at"] for other in rows if other["crawl"] == row["crawl"]] for row in rows}
    assert len(by_crawl) == 4
    ordered = [by_crawl[crawl] for crawl in sorted(by_crawl)]
    assert all(max(earlier) < min(later) for earlier, later in pairwise(ordered))


def test_a_corpus_made_again_is_the_same_bytes(corpus: tuple[Path, list[str]], tmp_path: Path) -> None:
    again = write_corpus(tmp_path / "again", DOCUMENTS, seed=1, workers=3)
    assert [Path(shard).read_bytes() for shard in again] == [Path(shard).read_bytes() for shard in corpus[1]]
    other = write_corpus(tmp_path / "other", DOCUMENTS, seed=2)
    assert Path(other[0]).read_bytes() != Path(again[0]).read_bytes()


def test_documents_lie_as_they_do_in_shards_of_another_size(corpus: tuple[Path, list[str]], tmp_path: Path) -> None:
    """The planted duplicates do not depend on how the corpus is cut."""
    whole = write_corpus(tmp_path / "whole", DOCUMENTS, seed=1, documents_per_shard=DOCUMENTS)
    assert len(whole) == 1
    texts = [text for shard in corpus[1] for text in pq.read_table(shard).column("text").to_pylist()]
    assert pq.read_table(whole[0]).column("text").to_pylist() == texts


def test_an_oracle_is_read_by_id(tmp_path: Path) -> None:
    def write(name: str, rows: list[dict[str, object]]) -> None:
        with gzip.open(tmp_path / f"oracle_dedup_2k_{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    documents = [(7, "野原の雲雀。"), (3, "春の雲雀。"), (5, "野原の雲雀")]
    write("docs", [{"id": id_, "url": f"https://a.example/{id_}", "text": text} for id_, text in documents])
    write("0.8", [{"a": 5, "b": 7, "jaccard": 0.875}])
    shards, pairs = read_oracle(tmp_path, tmp_path / "oracle")
    assert pq.read_table(shards[0]).column("text").to_pylist() == [text for _, text in documents]
    assert (pairs.originals.tolist(), pairs.copies.tolist(), pairs.jaccards.tolist()) == ([2], [0], [0.875])


def test_recall_and_precision_by_hand() -> None:
    """Pairs 0-1 (1.0), 2-3 (.85), 4-5 (.75), and 6 alone; the copy of every pair and 6 are dropped, but 3 is kept."""
    pairs = Pairs(np.array([0, 2, 4]), np.array([1, 3, 5]), np.array([1.0, 0.85, 0.75]))
    kept = np.array([True, False, True, True, True, False, False])
    quality = judge(kept, pairs)
    assert (quality.documents, quality.kept) == (7, 4)
    assert (quality.recall_90, quality.recall_80) == (1.0, 0.5)
    assert quality.precision == pytest.approx(1 / 3), "of 1, 5 and 6 only 1 has a partner of 0.8"
    nothing = judge(np.ones(7, bool), pairs)
    assert (nothing.recall_90, nothing.recall_80, nothing.precision) == (0.0, 0.0, None)


def test_either_of_a_pair_may_be_the_one_that_is_dropped() -> None:
    pairs = Pairs(np.array([0]), np.array([1]), np.array([0.95]))
    assert judge(np.array([False, True]), pairs) == judge(np.array([True, False]), pairs)

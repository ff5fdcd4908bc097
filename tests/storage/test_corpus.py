"""Breaks when a corpus of several generations reads a document twice, one that gave way, or in another order."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from storage.artifact import Manifest, data_files, new_file, seal
from storage.corpus import (
    CorpusShard,
    corpus_shards,
    corpus_texts,
    count_corpus,
    earlier_generations,
    generations,
    read_corpus,
)
from storage.documents import ROWS_PER_GROUP, write_documents
from storage.uri import join

FIRST, SECOND, THIRD = (f"lark-{digit * 12}" for digit in "012")


def id_of(number: int) -> bytes:
    """Every 256th id ends in a zero byte, which no comparison may cut off."""
    return number.to_bytes(16, "little")


def text_of(number: int) -> str:
    return f"{number}羽目の雲雀が畑から上がる。"


def numbers_in(shards: Iterable[CorpusShard]) -> list[int]:
    return [int.from_bytes(id, "little") for shard in shards for id, _ in corpus_texts(shard)]


def make(
    root: Path,
    folder: str,
    documents: Mapping[str, Iterable[int]],
    superseded: Mapping[str, Iterable[int]] | None = None,
    earlier: Iterable[str] = (),
) -> str:
    """A generation as deduplication leaves it: numbers of documents, and of those that gave way, by shard."""
    uri = join(str(root), "deduplicate", folder)
    files = []
    for key, numbers in documents.items():
        columns = {"id": pa.array(map(id_of, numbers), pa.binary(16)), "text": [text_of(n) for n in numbers]}
        files.append(write_documents(uri, f"documents/{key}.parquet", pa.table(columns)))
    for key, numbers in (superseded or {}).items():
        columns = {
            "rule": pa.array([81 for _ in numbers], pa.uint8()),
            "id": pa.array(map(id_of, numbers), pa.binary(16)),
        }
        files.append(write_documents(uri, f"superseded/{key}.parquet", pa.table(columns)))
    if earlier:
        with new_file(uri, "generations.json") as file:
            file.write(json.dumps({"earlier": list(earlier)}).encode())
        files.append(files[0].of("generations.json", file))
    seal(uri, Manifest("deduplicate", "lark", folder[5:] * 6, "3", {}, {}, {}, files, {}, "", "2026-01-01", 1.0))
    return uri


@pytest.fixture
def corpora(tmp_path: Path) -> list[str]:
    """Three generations: 7 comes back with the second and goes with the third, 2 goes and is kept again."""
    return [
        make(tmp_path, FIRST, {"a": [0, 1, 2, 3], "b": range(256, 260)}),
        make(tmp_path, SECOND, {"a": [7], "c": [20, 21]}, {"a": [1, 2]}, [FIRST]),
        make(tmp_path, THIRD, {"a-b": [30], "d": [40]}, {"a": [1, 7], "b": [256, 259], "c": [21]}, [FIRST, SECOND]),
    ]


def test_a_corpus_made_at_once_is_all_of_its_documents(corpora: list[str]) -> None:
    shards = corpus_shards(corpora[0])
    assert [(shard.uri, shard.superseded) for shard in shards] == [
        (uri, None) for uri in data_files(corpora[0], "documents/")
    ]
    assert numbers_in(shards) == [0, 1, 2, 3, 256, 257, 258, 259]
    assert [uri for uri, _ in generations(corpora[0])] == corpora[:1]


def test_what_gave_way_is_left_out_and_what_came_back_is_in(corpora: list[str]) -> None:
    assert numbers_in(corpus_shards(corpora[1])) == [0, 3, 7, 256, 257, 258, 259, 20, 21]
    # The newest lists alone count: 2 is no longer superseded, 7 is, although it came with the second generation.
    assert numbers_in(corpus_shards(corpora[2])) == [30, 0, 2, 3, 257, 258, 20, 40]
    assert [uri for uri, _ in generations(corpora[2])] == corpora


def test_shards_come_as_their_files_are_named_and_generations_oldest_first(corpora: list[str]) -> None:
    """`a-b.parquet` sorts before `a.parquet`: in the order in which one artifact lists its files."""
    shards = corpus_shards(corpora[2])
    assert [shard.key for shard in shards] == ["a-b", "a", "a", "b", "c", "d"]
    assert [shard.uri.split("/")[-3] for shard in shards] == [THIRD, FIRST, SECOND, FIRST, SECOND, THIRD]
    assert sorted(shard.uri.rsplit("/", 1)[1] for shard in shards) == [shard.uri.rsplit("/", 1)[1] for shard in shards]


def test_counts_are_those_of_the_documents_that_are_read(corpora: list[str]) -> None:
    for corpus in corpora:
        for shard in corpus_shards(corpus):
            assert count_corpus(shard) == len(numbers_in([shard]))


def test_any_columns_can_be_asked_for(corpora: list[str]) -> None:
    shard = next(shard for shard in corpus_shards(corpora[2]) if shard.superseded)
    for columns, expected in ((["text"], ["text"]), (["text", "id"], ["id", "text"]), (None, ["id", "text"])):
        (batch,) = read_corpus(shard, columns)
        assert sorted(batch.schema.names) == expected
        assert batch.column("text").to_pylist() == [text_of(number) for number in (0, 2, 3)]
    with pytest.raises(ValueError, match="no column moon"):
        list(read_corpus(shard, ["moon"]))


def test_a_shard_of_many_row_groups_is_streamed(tmp_path: Path) -> None:
    number = 2 * ROWS_PER_GROUP + 10
    gone = range(0, number, 3)
    make(tmp_path, FIRST, {"a": range(number)})
    (shard,) = corpus_shards(make(tmp_path, SECOND, {}, {"a": gone}, [FIRST]))
    batches = list(read_corpus(shard, ["id"]))
    assert len(batches) == 3
    assert sum(batch.num_rows for batch in batches) == count_corpus(shard) == number - len(gone)
    assert numbers_in([shard]) == [n for n in range(number) if n % 3]


def test_a_shard_travels_to_a_worker(corpora: list[str]) -> None:
    shards = corpus_shards(corpora[2])
    assert pickle.loads(pickle.dumps(shards)) == shards


def test_what_is_missing_is_named_with_what_to_do(corpora: list[str], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no complete artifact at"):
        corpus_shards(str(tmp_path / "deduplicate" / "nothing"))
    Path(corpora[1], "documents", "c.parquet").write_bytes(b"torn")
    with pytest.raises(FileNotFoundError, match=rf"{THIRD} is built onto .*{SECOND}, which is not there, or not comp"):
        corpus_shards(corpora[2])
    shutil.rmtree(corpora[0])
    with pytest.raises(FileNotFoundError, match=rf"{FIRST}.*deduplicate at once, without deduplicate\.onto"):
        corpus_shards(corpora[2])


def test_the_earlier_generations_are_named_without_looking_at_them(corpora: list[str]) -> None:
    (_, manifest) = generations(corpora[2])[-1]
    shutil.rmtree(corpora[0])
    assert earlier_generations(corpora[2], manifest) == [FIRST, SECOND]

"""Verification over shards: the numbers of Python's sets, each text read once, and nothing done twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from storage.documents import write_parquet
from tasks.deduplicate import verify
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.index import IndexShard
from tasks.deduplicate.jaccard import ShingleSets
from tasks.deduplicate.planted import edited, planted_hash, planted_texts
from tasks.deduplicate.signatures import shingles
from tasks.deduplicate.verify import verify_pairs
from tasks.shards import ExecutorConfig, ShardFailedError

ONE = ExecutorConfig(workers=1)
CONFIG = DeduplicateConfig()
SCHEMA = pa.schema([pa.field("text", pa.string(), nullable=False)])
SIZES = {"a": 5, "b": 0, "c": 11, "d": 3}

pytestmark = pytest.mark.usefixtures("shards_in_threads")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Texts of which number i + 9 is an edited copy of number i; one is empty."""
    numbers = np.arange(sum(SIZES.values())) % 9
    keys = planted_hash(7, np.arange(len(numbers)))
    originals = planted_texts(numbers)
    copies = edited(originals, np.linspace(0.7, 0.95, len(numbers)), CONFIG.ngram, keys).to_arrow().to_pylist()
    return [*originals.to_arrow().to_pylist()[:9], "", *copies[10:]]


@pytest.fixture
def corpus(tmp_path: Path, texts: Sequence[str]) -> tuple[list[IndexShard], dict[str, str]]:
    """The texts as shards with two rows a row group, and an empty one."""
    shards, documents, first = [], {}, 0
    for key, number in SIZES.items():
        batch = pa.record_batch([pa.array(texts[first : first + number], pa.string())], schema=SCHEMA)
        write_parquet(str(tmp_path), f"{key}.parquet", [batch], SCHEMA, rows_per_group=2)
        shards.append(IndexShard(key, "unread", first, number))
        documents[key] = str(tmp_path / f"{key}.parquet")
        first += number
    return shards, documents


def expected(pairs: np.ndarray, texts: Sequence[str]) -> list[float]:
    sets = [shingles(text, CONFIG.ngram) for text in texts]
    return [len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in pairs]


def all_pairs(num_documents: int) -> np.ndarray:
    """Every pair, out of order, the worse-ranked on either side."""
    left, right = np.triu_indices(num_documents, 1)
    order = np.argsort(planted_hash(3, np.arange(len(left))))
    pairs = np.stack([left, right], axis=1)[order]
    pairs[::2] = pairs[::2, ::-1]
    return pairs


@pytest.mark.parametrize("at_a_time", [1, 30_000, 1 << 23])
def test_every_pair_has_the_similarity_of_its_sets(
    at_a_time: int,
    corpus: tuple[list[IndexShard], dict[str, str]],
    texts: Sequence[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However few shingles are compared at a time: a pair alone is never cut."""
    monkeypatch.setattr(verify, "MAX_SHINGLES", at_a_time)
    pairs = all_pairs(len(texts))
    out = tmp_path / "out"
    values = verify_pairs(pairs, *corpus, CONFIG, out=str(out), executor=ONE)
    assert values.tolist() == expected(pairs, texts)
    groups = len(list(out.glob("_work/verify/*.values")))
    assert groups == {1: len(pairs), 1 << 23: 1}.get(at_a_time, groups)
    assert groups > 1 or at_a_time == 1 << 23


def test_more_workers_find_the_same(
    corpus: tuple[list[IndexShard], dict[str, str]],
    texts: Sequence[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verify, "MAX_SHINGLES", 20_000)
    pairs = all_pairs(len(texts))
    found = {}
    for workers in (1, 3):
        out = tmp_path / str(workers)
        values = verify_pairs(pairs, *corpus, CONFIG, out=str(out), executor=ExecutorConfig(workers=workers))
        files = {path.name: path.read_bytes() for path in out.glob("_work/verify/*")}
        found[workers] = (values.tobytes(), files)
    assert found[1] == found[3]


def test_an_object_store_is_read_by_ranges(
    corpus: tuple[list[IndexShard], dict[str, str]], texts: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "MAX_SHINGLES", 20_000)
    pairs = all_pairs(len(texts))
    assert verify_pairs(pairs, *corpus, CONFIG, out="memory://verify", executor=ONE).tolist() == expected(pairs, texts)


def test_only_what_pairs_need_is_read_and_only_once(
    corpus: tuple[list[IndexShard], dict[str, str]],
    texts: Sequence[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shards, documents = corpus
    del documents["d"]  # no document of it is in a pair
    read: list[str] = []
    of_texts = verify.shingle_sets

    def remembering(some: pa.Array, ngram: int) -> ShingleSets:
        read.extend(some.to_pylist())
        return of_texts(some, ngram)

    monkeypatch.setattr(verify, "shingle_sets", remembering)
    pairs = np.array([[0, 6], [6, 9], [0, 15], [15, 6]])
    values = verify_pairs(pairs, shards, documents, CONFIG, out=str(tmp_path / "out"), executor=ONE)
    assert values.tolist() == expected(pairs, texts)
    assert read == [texts[row] for row in (0, 6, 9, 15)]


def test_a_killed_verification_does_not_read_finished_shards_again(
    corpus: tuple[list[IndexShard], dict[str, str]],
    texts: Sequence[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = all_pairs(len(texts))
    with monkeypatch.context() as broken:
        broken.setattr(verify, "compare_pairs", lambda shard: 1 / 0)
        with pytest.raises(ShardFailedError):
            verify_pairs(pairs, *corpus, CONFIG, out=str(tmp_path / "out"), executor=ONE)
    monkeypatch.setattr(verify, "make_sets", lambda shard: pytest.fail(f"{shard.key} is read again"))
    values = verify_pairs(pairs, *corpus, CONFIG, out=str(tmp_path / "out"), executor=ONE)
    assert values.tolist() == expected(pairs, texts)


def test_no_pairs_need_nothing(tmp_path: Path) -> None:
    none = np.empty((0, 2), np.int64)
    assert verify_pairs(none, [], {}, CONFIG, out=str(tmp_path / "out"), executor=ONE).shape == (0,)
    assert not (tmp_path / "out").exists()


def test_documents_that_are_not_at_hand_are_named(
    corpus: tuple[list[IndexShard], dict[str, str]], tmp_path: Path
) -> None:
    shards, documents = corpus
    del documents["c"]
    with pytest.raises(ValueError, match=r"shards c \(1 in all\): their documents are needed"):
        verify_pairs(np.array([[0, 6]]), shards, documents, CONFIG, out=str(tmp_path / "out"), executor=ONE)


def test_a_shard_that_lost_rows_is_an_error(
    corpus: tuple[list[IndexShard], dict[str, str]], texts: Sequence[str], tmp_path: Path
) -> None:
    shards, documents = corpus
    shards[2] = IndexShard("c", "unread", 5, 30)
    shards[3] = IndexShard("d", "unread", 35, 3)
    with pytest.raises(ShardFailedError, match="1 of 2 documents found"):
        verify_pairs(np.array([[6, 30]]), shards, documents, CONFIG, out=str(tmp_path / "out"), executor=ONE)

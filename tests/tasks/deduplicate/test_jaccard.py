"""Exact similarity of texts, held against Python's sets."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from tasks.deduplicate.jaccard import jaccards_of_texts, shingle_sets
from tasks.deduplicate.signatures import shingles

TEXTS = [
    "雲雀は春の野原で歌う。雲雀は春の野原で眠る。",
    "雲雀も春の野原で歌う。雀は朝の野原で眠る。",
    "",
    "春",
    "春の野原",  # shorter than 5
    "春の野原で",  # one shingle
    "café naïve ÅΩ — 1234567890",  # one, two and three bytes a character
    "𠮷野家🐦‍⬛で朝食を🐦‍⬛",  # four
    "ああああああああああああ",  # one shingle, many times
]


def of_sets(left: str, right: str, ngram: int) -> float:
    one, other = shingles(left, ngram), shingles(right, ngram)
    return len(one & other) / len(one | other)


@pytest.mark.parametrize("ngram", [1, 3, 5, 32])
def test_a_set_has_every_distinct_shingle_once_in_ascending_order(ngram: int) -> None:
    sets = shingle_sets(pa.array(TEXTS), ngram)
    assert len(sets.starts) == len(TEXTS) + 1
    for number, text in enumerate(TEXTS):
        expected = sorted(xxhash.xxh3_64_intdigest(shingle) for shingle in shingles(text, ngram))
        assert sets.hashes[sets.starts[number] : sets.starts[number + 1]].tolist() == expected, text


@pytest.mark.parametrize("ngram", [1, 2, 5])
def test_similarity_is_that_of_python_sets(ngram: int) -> None:
    left = [text for text in TEXTS for _ in TEXTS]
    right = TEXTS * len(TEXTS)
    expected = [of_sets(one, other, ngram) for one, other in zip(left, right, strict=True)]
    assert jaccards_of_texts(pa.array(left), pa.array(right), ngram).tolist() == expected
    assert len({value for value in expected if 0 < value < 1}) > 1, "nothing is compared"


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_a_slice_of_an_array_is_its_own_texts(kind: pa.DataType) -> None:
    whole = pa.array(TEXTS, kind)
    part = shingle_sets(whole.slice(4, 2), 2)
    alone = shingle_sets(pa.array(TEXTS[4:6], kind), 2)
    assert part.starts.tolist() == alone.starts.tolist()
    assert part.hashes.tolist() == alone.hashes.tolist()


def test_no_texts_have_no_sets() -> None:
    assert shingle_sets(pa.array([], pa.string()), 5).starts.tolist() == [0]
    assert jaccards_of_texts(pa.array([], pa.string()), pa.array([], pa.string()), 5).shape == (0,)


def test_similarities_found_by_brute_force(shared_data: Path) -> None:
    """All 415 pairs of 2,000 documents that an independent program found to have a similarity of 0.8 or more."""
    folder = shared_data / "oracles"

    def lines(name: str) -> list[dict[str, object]]:
        with gzip.open(folder / f"oracle_dedup_2k_{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    texts = pa.array([str(row["text"]) for row in lines("docs")])
    for name in ("0.8", "0.9"):
        pairs = lines(name)
        left, right = (texts.take(pa.array([int(str(pair[side])) for pair in pairs])) for side in "ab")
        expected = np.array([pair["jaccard"] for pair in pairs], np.float64)
        # The file has nine decimals.
        assert np.abs(jaccards_of_texts(left, right, 5) - expected).max() <= 1e-9

"""Planted texts are the same everywhere, unlike one another, and as similar as they are said to be."""

from __future__ import annotations

import hashlib
import math
from itertools import combinations

import numpy as np
import pytest

from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.planted import (
    PAIRS_AT_A_TIME,
    curve_bin,
    edited,
    measured_s_curve,
    planted_hash,
    planted_pairs,
    planted_texts,
    s_curve,
)
from tasks.deduplicate.signatures import shingles


def similarity(left: str, right: str, ngram: int = 5) -> float:
    one, other = shingles(left, ngram), shingles(right, ngram)
    return len(one & other) / len(one | other)


def texts(numbers: list[int], seed: int = 0) -> list[str]:
    return planted_texts(np.array(numbers), seed).to_arrow().to_pylist()


def test_planted_texts_never_change() -> None:
    """Benchmarks of different days are comparable."""
    digest = hashlib.sha256("\0".join(texts([0, 1, 2, 1 << 40])).encode()).hexdigest()
    assert digest == "1b549bdedcb3b5d8b834f03d346d00cca72ca27ce3abc0dccb9986ec60b85b10"


def test_a_text_depends_on_its_number_and_seed_alone() -> None:
    together = texts(list(range(20)))
    assert together == [texts([number])[0] for number in range(20)]
    assert texts([19, 3]) == [together[19], together[3]]
    assert not set(together) & set(texts(list(range(20)), seed=1))


def test_planted_texts_are_like_pages_and_unlike_one_another() -> None:
    some = texts(list(range(200)))
    lengths = [len(text) for text in some]
    assert 1750 < np.mean(lengths) < 2000
    assert min(lengths) > 600
    assert sum("ぁ" <= character <= "ん" for text in some for character in text) > 0.2 * sum(lengths)
    sets = [shingles(text, 5) for text in some[:60]]
    assert max(len(one & other) / len(one | other) for one, other in combinations(sets, 2)) < 0.02


def test_texts_in_arrow_are_their_code_points() -> None:
    planted = planted_texts(np.arange(5))
    arrow = planted.to_arrow()
    arrow.validate(full=True)
    for number, text in enumerate(arrow.to_pylist()):
        points = planted.points[planted.starts[number] : planted.starts[number + 1]]
        assert [ord(character) for character in text] == points.tolist()
    assert planted_texts(np.array([], np.int64)).to_arrow().to_pylist() == []


@pytest.mark.parametrize("wanted", [0.70, 0.80, 0.90, 0.97])
def test_edited_copies_are_about_as_similar_as_wanted(wanted: float) -> None:
    originals = planted_texts(np.arange(100))
    copies = edited(originals, np.full(100, wanted), 5, planted_hash(5, np.arange(100)))
    pairs = zip(originals.to_arrow().to_pylist(), copies.to_arrow().to_pylist(), strict=True)
    found = [similarity(*pair) for pair in pairs]
    assert abs(np.mean(found) - wanted) < 0.005
    assert np.std(found) < 0.012


@pytest.mark.parametrize(("low", "high", "ngram"), [(0.70, 0.73, 5), (0.97, 1.0, 5), (0.8, 0.9, 3)])
def test_planted_pairs_are_in_their_bin_and_their_similarity_is_exact(low: float, high: float, ngram: int) -> None:
    count = PAIRS_AT_A_TIME + 10
    pairs = [
        pair
        for some in planted_pairs(low, high, count, ngram=ngram)
        for pair in zip(some.originals.to_pylist(), some.copies.to_pylist(), some.jaccards.tolist(), strict=True)
    ]
    assert len(pairs) == len({original for original, _, _ in pairs}) == count
    for original, copy, jaccard in pairs[::20]:
        assert jaccard == similarity(original, copy, ngram)
        assert low <= jaccard < high
    assert np.std([jaccard for _, _, jaccard in pairs]) > (high - low) / 8, "they are spread over the bin"


def test_a_bin_that_no_pair_fits_into_ends() -> None:
    """One changed character changes at least one shingle of at most 3,000."""
    assert list(planted_pairs(0.9999, 1.0, 3)) == []


def test_the_s_curve_of_forty_bands_of_twenty_rows() -> None:
    expected = [0.0, 0.031, 0.371, 0.794, 0.994, 1.0]
    assert s_curve(40, 20, np.array([0.0, 0.7, 0.8, 0.85, 0.9, 1.0])) == pytest.approx(expected, abs=1e-3)
    assert s_curve(1, 3, np.array([0.5])) == pytest.approx([0.125])


def test_figures_of_a_bin_by_hand() -> None:
    config = DeduplicateConfig(bands=1, rows=1)
    figures = curve_bin(0.5, 0.9, np.array([0.5, 0.8]), np.array([True, False]), config)
    assert (figures.pairs, figures.observed) == (2, 0.5)
    assert figures.mean_jaccard == figures.theory == pytest.approx(0.65)
    assert figures.standard_error == pytest.approx(math.sqrt(0.25 + 0.16) / 2)


@pytest.mark.parametrize(("bands", "rows"), [(40, 20), (14, 8)])
def test_signatures_find_as_many_pairs_as_the_s_curve_says(bands: int, rows: int) -> None:
    """A permutation too few, or a shingle hashed wrongly, and some bin is far off."""
    config = DeduplicateConfig(bands=bands, rows=rows)
    curve = measured_s_curve(config, 120, edges=(0.70, 0.80, 0.85, 0.90))
    assert [found.pairs for found in curve] == [120] * 3
    for found in curve:
        assert abs(found.observed - found.theory) < 4 * found.standard_error, found
    assert curve == measured_s_curve(config, 120, edges=(0.70, 0.80, 0.85, 0.90))

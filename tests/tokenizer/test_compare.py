"""Fertility counted by hand, intervals by arithmetic, and what new pieces are worth."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.tokenizer.hand_made import write_base, write_expanded
from tokenizer import compare
from tokenizer.compare import (
    OpenTokenizer,
    RatioSums,
    entropy,
    longest_used,
    measure_text,
    most_useful,
    never_used,
    open_tokenizer,
    part_of_character_tokens,
    renyi_efficiency,
    student_quantile,
)

# Characters, bytes, and tokens by hand: the base spells 。 in three bytes, and `la` is one piece.
TEXTS = ["雲雀が鳴く。", "雲雀", "lark", "鳴く雲雀\n"]
CHARACTERS, BYTES = [6, 2, 4, 5], [18, 6, 4, 13]
BASE_TOKENS, EXPANDED_TOKENS = [8, 2, 3, 5], [4, 1, 3, 3]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[OpenTokenizer]:
    folder = tmp_path_factory.mktemp("tokenizers")
    paths = {"base": write_base(folder), "expanded": write_expanded(folder)}
    return [open_tokenizer(name, str(path)) for name, path in paths.items()]


def test_fertility_is_what_one_counts_by_hand(both: list[OpenTokenizer]) -> None:
    measured = measure_text(both, iter(TEXTS), reference=0)
    base, expanded = measured.tokenizers
    assert (measured.documents, measured.characters, measured.bytes) == (4, sum(CHARACTERS), sum(BYTES))
    assert (base.tokens, expanded.tokens) == (18, 11)
    per_character, per_byte = expanded.per_character.ratio(), expanded.per_byte.ratio()
    assert per_character is not None
    assert per_byte is not None
    assert per_character.ratio == 11 / 17
    assert per_byte.ratio == 11 / 41
    against = expanded.against_reference.ratio()
    assert against is not None
    assert against.ratio == 11 / 18


def test_bytes_of_a_character_are_byte_fallback_and_a_newline_is_not(both: list[OpenTokenizer]) -> None:
    base = measure_text(both, TEXTS, reference=0).tokenizers[0]
    assert part_of_character_tokens(both[0], base.used) == 3, "the bytes of 。, not the newline, which is one too"


def test_what_new_pieces_are_worth(both: list[OpenTokenizer]) -> None:
    expanded = both[1]
    used = measure_text(both, TEXTS, reference=0).tokenizers[1].used
    found = [(use.text, use.count, use.base_tokens, use.tokens_saved) for use in most_useful(expanded, used, 9)]
    assert found == [("雲雀が鳴く", 1, 5, 4), ("雲雀", 2, 2, 2), ("鳴く", 1, 2, 1)]
    saved = sum(BASE_TOKENS) - sum(EXPANDED_TOKENS)
    assert sum(use.tokens_saved for use in most_useful(expanded, used, 9)) == saved, "every token saved is some piece's"
    assert [piece.text for piece in never_used(expanded, used)] == ["雲雀が"]
    assert [use.text for use in longest_used(expanded, used, 2)] == ["雲雀が鳴く", "雲雀"]
    assert [use.text for use in most_useful(expanded, used, 1)] == ["雲雀が鳴く"]


def test_a_tokenizer_without_new_pieces_shows_its_own_longest(both: list[OpenTokenizer]) -> None:
    base = both[0]
    used = measure_text(both, TEXTS, reference=0).tokenizers[0].used
    assert longest_used(base, used, 1)[0].text == "la"
    assert (most_useful(base, used, 9), never_used(base, used), base.new_pieces) == ([], [], ())


def test_batches_change_nothing(both: list[OpenTokenizer], monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = measure_text(both, TEXTS * 3, reference=0)
    monkeypatch.setattr(compare, "_BATCH_CHARACTERS", 5)
    one_by_one = measure_text(both, TEXTS * 3, reference=0)
    for ours, theirs in zip(at_once.tokenizers, one_by_one.tokenizers, strict=True):
        assert np.array_equal(ours.used, theirs.used)
        assert replace(ours, used=None) == replace(theirs, used=None)  # type: ignore[arg-type]


def test_a_round_trip_that_the_base_makes_otherwise_is_a_failure(both: list[OpenTokenizer]) -> None:
    texts = ["lark", "la▁rk"]  # SentencePiece reads its own sign as a space, in both
    fine = measure_text(both, texts, reference=0)
    assert [(each.lossy_documents, each.round_trip_failures) for each in fine.tokenizers] == [(1, 0), (1, 0)]
    shifted = replace(both[1], encoder=ShiftedDecoder(both[1]))  # type: ignore[arg-type]
    broken = measure_text([both[0], shifted], ["雲雀が鳴く", "lark"], reference=0).tokenizers[1]
    assert (broken.lossy_documents, broken.round_trip_failures) == (2, 2)


class ShiftedDecoder:
    """An encoder that decodes to other text."""

    def __init__(self, tokenizer: OpenTokenizer) -> None:
        self.vocab_size = tokenizer.encoder.vocab_size
        self.encode_texts = tokenizer.encoder.encode_texts

    def decode(self, ids: list[int]) -> str:
        return "?"


def test_an_interval_is_that_of_the_ratio_estimator() -> None:
    """By hand: y = 2 3 5 4, x = 4 5 8 9, r = 14/26; residuals y - r x, n/(n-1), Student's t with 3 degrees."""
    y, x = np.array([2, 3, 5, 4]), np.array([4, 5, 8, 9])
    sums = RatioSums()
    sums.add(y[:1], x[:1])
    sums.add(y[1:], x[1:])
    found = sums.ratio()
    assert found is not None
    residuals = y - 14 / 26 * x
    error = math.sqrt(4 / 3 * float((residuals**2).sum())) / 26
    assert found.ratio == 14 / 26
    assert found.low == pytest.approx(14 / 26 - student_quantile(0.975, 3) * error)
    assert found.high == pytest.approx(14 / 26 + student_quantile(0.975, 3) * error)


def test_intervals_hold_what_they_promise() -> None:
    """Of 400 samples of 30 documents the interval holds the true ratio in about 95 of 100."""
    generator = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        x = generator.integers(200, 2000, 30)
        y = np.rint(x * generator.normal(0.7, 0.1, 30)).astype(np.int64)
        sums = RatioSums()
        sums.add(y, x)
        found = sums.ratio()
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.7 <= found.high
    assert 0.92 < held / 400 < 0.98


def test_a_pairing_with_itself_has_no_width_and_few_documents_no_interval() -> None:
    sums = RatioSums()
    sums.add(np.array([7, 1, 12, 5]), np.array([7, 1, 12, 5]))
    paired = sums.ratio()
    assert paired is not None
    assert (paired.ratio, paired.low, paired.high) == (1, 1, 1)
    few = RatioSums()
    few.add(np.array([7, 1, 12]), np.array([9, 2, 14]))
    found = few.ratio()
    assert found is not None
    assert (found.low, found.high) == (None, None)
    assert RatioSums().ratio() is None


@pytest.mark.parametrize(("degrees", "value"), [(3, 3.1824), (5, 2.5706), (10, 2.2281), (30, 2.0423), (10**6, 1.95997)])
def test_students_t(degrees: int, value: float) -> None:
    assert student_quantile(0.975, degrees) == pytest.approx(value, rel=1.5e-3)


def test_entropies() -> None:
    """`pick @@ed pick @@l @@ed pick @@les`: 0.8265 and 1.8424 bits are what the authors' tokenization-scorer has."""
    used = np.array([3, 0, 2, 1, 1])
    assert renyi_efficiency(used) == pytest.approx(0.8265064834, abs=1e-9)
    assert entropy(used) == pytest.approx(1.842371, abs=1e-6)
    assert renyi_efficiency(np.array([2, 2, 2, 0])) == pytest.approx(1)
    assert renyi_efficiency(np.array([0, 9])) is None
    assert entropy(np.array([0, 9])) == 0


def test_a_lone_piece_of_nowhere_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no tokenizer at"):
        open_tokenizer("x", str(tmp_path))

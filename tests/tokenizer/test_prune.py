"""Pruning: what is rare goes, what others are built from stays, and the size fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from tokenizer.expansion import ExpandOptions
from tokenizer.prune import fitting, prune

PARTS = {"ab": ("a", "b"), "abc": ("ab", "c"), "de": ("d", "e"), "fg": ("f", "g"), "hi": ("h", "i")}


def run(uses: Mapping[str, int], size: int, min_count: int = 5) -> list[str]:
    def count(pieces: Sequence[str]) -> Mapping[str, int]:
        return {piece: uses[piece] for piece in pieces}

    def parts(pieces: Sequence[str]) -> Mapping[str, Sequence[str]]:
        return {piece: PARTS[piece] for piece in pieces if piece in PARTS}

    kept, counts = prune(list(uses), count=count, parts=parts, min_count=min_count, fit=lambda n: min(n, size))
    assert list(counts) == kept
    return kept


def test_rare_pieces_go_but_parts_of_others_stay() -> None:
    assert run({"ab": 0, "abc": 5, "de": 4, "fg": 5}, size=9) == ["ab", "abc", "fg"]


def test_pieces_that_cannot_be_formed_go() -> None:
    assert run({"ab": 9, "zz": 100, "fg": 9}, size=9) == ["ab", "fg"]


def test_the_lowest_ranked_go_until_the_size_fits() -> None:
    uses = {"hi": 9, "ab": 0, "de": 9, "abc": 9, "fg": 9}
    assert run(uses, size=4) == ["hi", "ab", "de", "abc"]
    # Without abc nothing needs ab any more, and nothing uses it.
    assert run(uses, size=3) == ["hi", "de"]


def test_counts_that_fall_when_another_piece_goes_are_noticed() -> None:
    def count(pieces: Sequence[str]) -> Mapping[str, int]:
        rest = {"ab": 9, "de": 9 if "fg" in pieces else 1, "fg": 2}
        return {piece: rest[piece] for piece in pieces}

    kept, _ = prune(
        ["ab", "de", "fg"],
        count=count,
        parts=lambda pieces: {p: PARTS[p] for p in pieces},
        min_count=5,
        fit=lambda n: n,
    )
    assert kept == ["ab"]


@pytest.mark.parametrize(
    ("number", "cap", "expected"), [(11_183, None, 11_176), (20_000, 11_180, 11_176), (7, None, 0)]
)
def test_fitting(number: int, cap: int | None, expected: int) -> None:
    """11,176 new pieces make Swallow's 43,176."""
    assert fitting(number, base_vocab=32_000, options=ExpandOptions(align_to=8, max_new_pieces=cap)) == expected


def test_fitting_says_when_no_multiple_is_in_reach() -> None:
    with pytest.raises(ValueError, match=r"expand.align_to: 32003 base pieces and at most 4 new ones .* 8"):
        fitting(4, base_vocab=32_003, options=ExpandOptions(align_to=8))

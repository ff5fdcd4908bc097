"""Combinations of base rows, against their formulas written out; random rows belong to their ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tokenizer.expansion import NewPiece
from tokenizer.new_rows import Combination, combined_rows, shares_of_first
from tokenizer.safetensors_stream import MatrixRows

HIDDEN = 6
ROWS = np.random.default_rng(4).standard_normal((9, HIDDEN)).astype(np.float32)


def piece(index: int, count: int, *base_ids: int) -> NewPiece:
    return NewPiece(index, "", "", b"", count, base_ids)


PIECES = [piece(9, 30, 2, 5), piece(10, 10, 2, 7, 7), piece(11, 0, 8, 1)]


@pytest.fixture
def table(tmp_path: Path) -> MatrixRows:
    path = tmp_path / "table"
    path.write_bytes(b"before" + ROWS.tobytes())
    return MatrixRows(path, 6, len(ROWS), 4 * HIDDEN)


def rows_of(
    table: MatrixRows, combination: Combination, pieces: list[NewPiece] = PIECES, name: str = "t", seed: int = 1
) -> np.ndarray:
    return np.concatenate(list(combined_rows(table, "F32", pieces, combination, table=name, seed=seed)))


def test_mean_leading_and_first(table: MatrixRows) -> None:
    assert np.allclose(rows_of(table, "mean")[1], (ROWS[2] + 2 * ROWS[7]) / 3)
    assert np.allclose(rows_of(table, "leading")[1], (4 * ROWS[2] + 2 * ROWS[7] + ROWS[7]) / 7)
    assert np.array_equal(rows_of(table, "first"), ROWS[[2, 2, 8]])


def test_weights_are_occurrences_in_the_new_pieces_of_the_sample(table: MatrixRows) -> None:
    # Token 2 stands in 30 + 10 occurrences, 5 in 30, 7 twice in 10; 8 and 1 in one that was never used, counted once.
    found = rows_of(table, "weighted")
    assert np.allclose(found[0], (40 * ROWS[2] + 30 * ROWS[5]) / 70)
    assert np.allclose(found[1], (40 * ROWS[2] + 20 * ROWS[7] + 20 * ROWS[7]) / 80)
    assert np.allclose(found[2], (ROWS[8] + ROWS[1]) / 2)


def test_a_random_row_depends_on_seed_table_and_id_alone(table: MatrixRows) -> None:
    found = rows_of(table, "random")
    assert np.array_equal(rows_of(table, "random", PIECES[::-1])[::-1], found)
    assert np.array_equal(rows_of(table, "random", PIECES[2:])[0], found[2])
    assert not np.array_equal(rows_of(table, "random", seed=2), found)
    assert not np.array_equal(rows_of(table, "random", name="u"), found)
    many = rows_of(table, "random", [piece(index, 1, 0) for index in range(9, 1009)])
    assert abs(many.std() - 0.02) < 0.001
    assert abs(many.mean()) < 0.001


def test_blocks_do_not_show(table: MatrixRows) -> None:
    pieces = [piece(9 + number, number, number % 9, (number * 5) % 9) for number in range(600)]
    for combination in ("mean", "weighted", "leading"):
        found = rows_of(table, combination, pieces)
        assert found.shape == (600, HIDDEN)
        weights = {"mean": (1, 1), "leading": (2, 1)}.get(combination)
        if weights is not None:
            first, second = ROWS[[p.base_ids[0] for p in pieces]], ROWS[[p.base_ids[1] for p in pieces]]
            assert np.allclose(found, (weights[0] * first + weights[1] * second) / sum(weights), atol=1e-6)


def test_shares_of_pieces_with_one_first_token_add_up_to_one() -> None:
    shares = shares_of_first(PIECES)
    assert np.allclose(shares[:2], [0.75, 0.25])
    assert shares[2] == 1.0


def test_rows_are_read_as_asked_for(table: MatrixRows) -> None:
    assert np.array_equal(table[2:5].view(np.float32), ROWS[2:5])
    assert np.array_equal(table[np.array([7, 0, 7])].view(np.float32), ROWS[[7, 0, 7]])
    with pytest.raises(AssertionError, match="row 9 of 9"):
        table[np.array([9])]

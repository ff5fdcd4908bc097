"""The rows of new pieces: combinations of the base's rows, or random, and how likely their pieces start.

In: a base table as raw bytes, and the new pieces with their base ids and counts. Out: float32 rows, in blocks.

How base rows r1 … rk of a piece are combined (`Combination`):

    mean      (r1 + … + rk) / k: Yao et al. 2021; Swallow (Fujii et al. 2024, section 3.1)
    weighted  the rows weighted by how often their tokens stand in the new pieces' occurrences in the sample
    leading   weights 1, 1/2, 1/4, …: the row of the first token, which the piece's logit must compete with, counts most
    first     r1
    random    N(0, 0.02) in every dimension; each row has its own generator, seeded by (seed, table, id)

In the output head the logit of a new piece can further be shifted along a vector v whose product with final hidden
states is nearly 1 (`tokenizer.calibration`): adding s·v to a row adds about s to its logit, in nats, wherever the
piece may stand. v is short against a row (SmolLM2: 0.06 against 3.2), so that a tied table's inputs hardly move.

    for block in combined_rows(rows, "BF16", pieces, "mean", table=EMBEDDING, seed=1234): ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import xxhash

from tokenizer.expansion import NewPiece
from tokenizer.random_model import STANDARD_DEVIATION
from tokenizer.safetensors_stream import MatrixRows, to_float32

Combination = Literal["mean", "weighted", "leading", "first", "random"]
Shift = Literal["none", "frequency", "share"] | float

ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class RowOptions:
    """How new rows begin; the fields of the run file's `initialize` section, which describes them."""

    new_rows: Combination = "mean"
    new_output_rows: Combination | None = None
    output_shift: Shift = "none"
    frequency_share: float = 0.5
    calibration_tokens: int = 4096

    @property
    def calibrated(self) -> bool:
        """Whether hidden states of the base are needed."""
        return self.output_shift not in ("none", 0)


def combined_rows(
    base_rows: MatrixRows,
    dtype: str,
    pieces: Sequence[NewPiece],
    combination: Combination,
    *,
    table: str,
    seed: int,
) -> Iterator[np.ndarray]:
    """The pieces' rows, float32 `(at most ROWS_AT_ONCE, hidden)`, block by block.

    Args:
        base_rows: the base table.
        dtype: safetensors name of the table's dtype.
        table: the tensor's name; with `seed` it decides what random rows are.

    Raises:
        ValueError: a base row that is needed holds an infinity or NaN, or the dtype is no floating one.
    """
    weights = token_weights(pieces) if combination == "weighted" else {}
    for start in range(0, len(pieces), ROWS_AT_ONCE):
        block = pieces[start : start + ROWS_AT_ONCE]
        needed, where = np.unique(np.concatenate([piece.base_ids for piece in block]), return_inverse=True)
        vectors = to_float32(base_rows[needed], dtype)
        if not np.isfinite(vectors).all():
            bad = needed[~np.isfinite(vectors).all(axis=1)]
            raise ValueError(f"embedding row {bad[0]} of the base model holds an infinity or NaN; check the download")
        bounds = np.cumsum([0, *(len(piece.base_ids) for piece in block)])
        parts = (vectors[where[first:last]] for first, last in pairwise(bounds))
        if combination == "mean":  # mean(axis=0) adds rows in order, everywhere alike; np.add.reduceat would not
            yield np.stack([rows.mean(axis=0) for rows in parts])
        elif combination == "random":
            yield np.stack([_random_row(piece.id, vectors.shape[1], table, seed) for piece in block])
        else:
            factors = (_factors(piece, combination, weights) for piece in block)
            yield np.stack([(rows * each[:, None]).sum(axis=0) for rows, each in zip(parts, factors, strict=True)])


def token_weights(pieces: Sequence[NewPiece]) -> dict[int, int]:
    """How often each base token stands in the sample's occurrences of new pieces (at least once each)."""
    weights: dict[int, int] = {}
    for piece in pieces:
        for token in piece.base_ids:
            weights[token] = weights.get(token, 0) + max(piece.count, 1)
    return weights


def shares_of_first(pieces: Sequence[NewPiece]) -> np.ndarray:
    """Per piece, its part of the occurrences of all new pieces with its first base token, float64 `(pieces,)`.

    With rows `first` and a shift by the logarithm of this, the new pieces that begin with a token are together at most
    as likely as the token: the loss on base ids rises by log 2 at most, where v·h is 1.
    """
    counts = np.array([max(piece.count, 0.5) for piece in pieces])
    totals: dict[int, float] = {}
    for piece, count in zip(pieces, counts, strict=True):
        totals[piece.base_ids[0]] = totals.get(piece.base_ids[0], 0.0) + float(count)
    return counts / np.array([totals[piece.base_ids[0]] for piece in pieces])


def _factors(piece: NewPiece, combination: Combination, weights: dict[int, int]) -> np.ndarray:
    """The weights of a piece's base rows, float32 `(base tokens,)`, adding up to 1."""
    number = len(piece.base_ids)
    if combination == "weighted":
        factors: np.ndarray = np.array([weights[token] for token in piece.base_ids], np.float64)
    elif combination == "leading":
        factors = 0.5 ** np.arange(number)
    else:
        assert combination == "first", combination
        factors = np.eye(1, number)[0]
    return (factors / factors.sum()).astype(np.float32)


def _random_row(index: int, hidden: int, table: str, seed: int) -> np.ndarray:
    generator = np.random.default_rng([seed, xxhash.xxh3_64_intdigest(table.encode()), index])
    return generator.standard_normal(hidden, np.float32) * np.float32(STANDARD_DEVIATION)

"""A metric as a function of sums: what every score, interval and comparison is computed from.

An example leaves a few numbers (its columns): 0 or 1 for a right answer, n-gram counts for BLEU. A metric of many
examples is a function of the columns' sums: an accuracy their mean, corpus BLEU the brevity penalty and precisions of
the summed counts, balanced accuracy the mean of the classes' recalls. A bootstrap resample is then a weighted
sum, for all metrics alike, and corpus-level metrics need no text again.

    ACCURACY = mean("accuracy", "score")
    ACCURACY.of(rows)                        # rows with a `columns` mapping each
    ACCURACY.of_sums(weights @ columns)      # (resamples,) from (resamples, columns)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
COUNT = "count"  # a column that every example has: 1


@dataclass(frozen=True)
class Metric:
    """A named function of the sums of some columns.

    Attributes:
        name: "accuracy", "character_f1", "bleu"; unique within a task.
        unit: "share" (0 to 1) or "bits/byte"; BLEU and ROUGE are shares too, as in the Swallow authors' tables.
        columns: whose sums it takes, in this order; `COUNT` is the number of examples.
        of_sums: (..., columns) float64 to (...,); NaN where nothing can be said (no examples of a class).
        lower_is_better: bits per byte.
        per_example: the value of one example is that of its own columns, and the metric is their mean: such metrics can
            be compared item by item.
    """

    name: str
    unit: str
    columns: tuple[str, ...]
    of_sums: Callable[[Floats], Floats]
    lower_is_better: bool = False
    per_example: bool = False

    def matrix(self, rows: Sequence[Mapping[str, Any]]) -> Floats:
        """(examples, columns) of rows that have a mapping `columns`."""
        return np.array(
            [[1.0 if name == COUNT else float(row["columns"][name]) for name in self.columns] for row in rows],
            np.float64,
        ).reshape(len(rows), len(self.columns))

    def of(self, rows: Sequence[Mapping[str, Any]]) -> float:
        """The metric over all these examples."""
        return float(self.of_sums(self.matrix(rows).sum(axis=0)))


def mean(name: str, column: str, unit: str = "share") -> Metric:
    """The mean of a column over the examples."""
    return Metric(name, unit, (column, COUNT), _ratio, per_example=True)


def ratio(name: str, numerator: str, denominator: str, unit: str, *, lower_is_better: bool = False) -> Metric:
    """The sum of one column over that of another: bits per byte."""
    return Metric(name, unit, (numerator, denominator), _ratio, lower_is_better)


def _ratio(sums: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])

"""Two models on the same examples: differences of metrics, with intervals, tests and what could have been seen.

In: example rows of both (`id`, `prompt_hash`, `columns`), asked the same; out: for each metric both values and their
difference. Everything is paired. Scores that are 0 or 1 for an example are tested by McNemar, all others by the
bootstrap. Where every example scores 0, or every one 1, the bootstrap has no width: such scores, differences between
two of them, and averages with one of these have intervals of their own (`tasks.evaluate.intervals`). Models that were
not asked the same are not compared; `why_not_comparable` says what differs.

    sampled = sample_models([metric], {"base": theirs, "trained": ours}, resamples=1000, seed=7, name="jsquad/ja/")
    compare_sampled(sampled["trained"][metric.name], sampled["base"][metric.name], confidence=0.95)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.evaluate.intervals import (
    Estimate,
    column_sums,
    combined,
    mean_of,
    resample_sums,
    unanimous_interval,
    with_interval,
)
from tasks.evaluate.metric import Floats, Metric
from tasks.evaluate.significance import (
    bootstrap_p,
    mcnemar_p,
    minimum_detectable,
    paired_error,
    unpaired_error,
)

ExampleRows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Sampled:
    """What a metric says of one model on some examples, and on each resample of them.

    Attributes:
        num: of examples; of an average, those of its smallest task.
        resampled: (resamples,).
        each: (examples,) the value of every single one, where the metric is their mean.
        is_share: these values are from 0 to 1.
        parts: of an average, its tasks.
    """

    value: float
    resampled: Floats
    num: int
    each: Floats | None = None
    is_share: bool = False
    parts: Sequence[Sampled] = ()

    def estimate(self, confidence: float) -> Estimate:
        if any(part.is_unanimous for part in self.parts):
            return mean_of([part.estimate(confidence) for part in self.parts])
        if self.is_unanimous:
            return unanimous_interval(self.value, self.num, confidence=confidence)
        return with_interval(self.value, self.resampled, self.num, confidence=confidence)

    @property
    def is_unanimous(self) -> bool:
        """Every example scores 0, or every one 1."""
        return self.is_share and self.each is not None and any((self.each == end).all() for end in (0, 1))

    @property
    def mde_unpaired(self) -> float | None:
        """The difference to another such model that as many other examples would show; for planning."""
        if self.each is None or self.num < 2 or not (variance := float(self.each.var())):
            return None
        return minimum_detectable(unpaired_error(variance, self.num))


@dataclass(frozen=True)
class Comparison:
    """Ours minus theirs.

    Attributes:
        p_bootstrap: None where one example tells nothing.
        p_mcnemar: None where an example's score is not 0 or 1.
        wins, losses, ties: examples on which ours is higher, lower, equal; None for metrics of a whole corpus.
        mde: the difference that this many examples, as different as these two models' are, would show with a power of
            80 % at level .05; None where no example differs.
    """

    difference: Estimate
    p_bootstrap: float | None
    p_mcnemar: float | None
    wins: int | None
    losses: int | None
    ties: int | None
    mde: float | None

    @property
    def p(self) -> float | None:
        """Of the sharper test that applies."""
        return self.p_bootstrap if self.p_mcnemar is None else self.p_mcnemar


def sample_models(
    metrics: Sequence[Metric], models: Mapping[str, ExampleRows], *, resamples: int, seed: int, name: str
) -> dict[str, dict[str, Sampled]]:
    """Model -> metric -> its value and resamples; all models have the same examples, and see the same resamples.

    Args:
        name: of the examples: seeds the draws, with `seed`.
    """
    columns = {model: [metric.matrix(rows) for metric in metrics] for model, rows in models.items()}
    sums = resample_sums(
        np.hstack([matrix for own in columns.values() for matrix in own]), resamples, seed=seed, name=name
    )
    found: dict[str, dict[str, Sampled]] = {}
    at = 0
    for model, own in columns.items():
        found[model] = {}
        for metric, matrix in zip(metrics, own, strict=True):
            resampled = metric.of_sums(sums[:, at : at + matrix.shape[1]])
            at += matrix.shape[1]
            value = float(metric.of_sums(column_sums(matrix)))
            each = metric.of_sums(matrix) if metric.per_example else None
            found[model][metric.name] = Sampled(value, resampled, len(matrix), each, metric.unit == "share")
    return found


def average(sampled: Sequence[Sampled]) -> Sampled:
    """The mean of several tasks' values, each resampled within itself."""
    value = sum(one.value for one in sampled) / len(sampled)
    resampled = np.mean([one.resampled for one in sampled], axis=0)
    return Sampled(value, resampled, min(one.num for one in sampled), parts=sampled)


def compare_sampled(ours: Sampled, theirs: Sampled, *, confidence: float) -> Comparison:
    """Ours minus theirs, resampled together."""
    value = ours.value - theirs.value
    resampled = ours.resampled - theirs.resampled
    difference = _difference(ours, theirs, confidence)
    p_bootstrap = None if difference.low is None else bootstrap_p(value, resampled)
    if ours.each is None or theirs.each is None:
        spread = resampled[~np.isnan(resampled)]
        error = float(spread.std(ddof=1)) if len(spread) > 1 else 0.0
        return Comparison(difference, p_bootstrap, None, None, None, None, _mde(error))
    each = ours.each - theirs.each
    wins, losses = int(np.count_nonzero(each > 0)), int(np.count_nonzero(each < 0))
    binary = np.isin(ours.each, (0, 1)).all() and np.isin(theirs.each, (0, 1)).all()
    p_mcnemar = mcnemar_p(wins, losses) if binary else None
    error = paired_error(each) if len(each) > 1 else 0.0
    return Comparison(difference, p_bootstrap, p_mcnemar, wins, losses, len(each) - wins - losses, _mde(error))


def _difference(ours: Sampled, theirs: Sampled, confidence: float) -> Estimate:
    """Paired by the resamples, which two constant scores do not need: those have no covariance."""
    parts = list(zip(ours.parts, theirs.parts, strict=True))
    if any(our.is_unanimous and their.is_unanimous for our, their in parts):
        return mean_of([_difference(our, their, confidence) for our, their in parts])
    if ours.is_unanimous and theirs.is_unanimous:
        return combined([ours.estimate(confidence), theirs.estimate(confidence)], [1, -1])
    value, resampled = ours.value - theirs.value, ours.resampled - theirs.resampled
    return with_interval(value, resampled, ours.num, confidence=confidence)


def _mde(standard_error: float) -> float | None:
    return minimum_detectable(standard_error) if standard_error else None

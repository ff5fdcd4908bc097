"""Is a difference more than noise: p-values, their correction for many tasks, and what could have been seen at all.

In: what two models scored on the same examples, or resampled differences; out: two-sided p-values and effect sizes.

- `bootstrap_p`: the share of resampled differences at least as far from the observed one as that is from zero, plus one
  in both terms (Efron and Tibshirani 1993, chapter 16; Davison and Hinkley 1997, section 4.4). For any metric.
- `mcnemar_p`: for right or wrong, only the examples on which the models disagree say anything; under the null each is
  a fair coin (McNemar 1947). The binomial is exact at every size, so no chi-squared approximation is needed.
- `holm`: of m tasks, the k-th smallest p is multiplied by m - k + 1 (Holm 1979): the chance of one false alarm or more
  over all tasks stays below the level, whatever their dependence.
- `minimum_detectable`: (z[1 - alpha/2] + z[power]) * standard error, the true difference that a two-sided test of level
  alpha finds with that power (Bloom 1995, Minimum Detectable Effects; Card et al. 2020, With Little Power Comes Great
  Responsibility). Paired: the standard error of the mean of the observed differences. Unpaired, for planning: that of
  two independent means of n examples each, sqrt(2 * variance / n), where the variance of a share p is p * (1 - p).

    mcnemar_p(wins=9, losses=1)                                    # 0.0215
    minimum_detectable(unpaired_error(0.076 * 0.924, 250))         # 0.066: MGSM, 250 questions, 7.6 % right
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np

from tasks.evaluate.metric import Floats

ALPHA, POWER = 0.05, 0.8
_ROUNDING = 1e-12  # two ways to the same difference of shares may differ by so much


def bootstrap_p(difference: float, resampled: Floats) -> float:
    """Of a difference and its resamples; NaN resamples are left out."""
    known = resampled[~np.isnan(resampled)]
    as_far = np.count_nonzero(np.abs(known - difference) >= abs(difference) - _ROUNDING)
    return (1 + as_far) / (1 + len(known))


def mcnemar_p(wins: int, losses: int) -> float:
    """Of the numbers of examples that only the one, and only the other model has right."""
    from scipy.special import bdtr  # a third of a second

    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5))) if wins != losses else 1.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The same, corrected for there being so many; at most 1, and in the order of the uncorrected ones.

    >>> holm({"jsquad": 0.01, "niilc": 0.04, "mgsm_ja": 0.03})
    {'jsquad': 0.03, 'mgsm_ja': 0.06, 'niilc': 0.06}
    """
    corrected: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: (p_values[name], name))):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[name]))
        corrected[name] = largest
    return corrected


def minimum_detectable(standard_error: float, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """The difference that a two-sided test of level `alpha` finds with this power."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * standard_error


def paired_error(differences: Floats) -> float:
    """Standard error of the mean of the examples' differences (n of at least 2)."""
    return float(differences.std(ddof=1)) / len(differences) ** 0.5


def unpaired_error(variance: float, num_examples: int) -> float:
    """Standard error of the difference of two independent means of `num_examples` each."""
    return float((2 * variance / num_examples) ** 0.5)

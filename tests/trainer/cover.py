"""Pairwise covering: few cases in which every two values of two options meet.

Most faults of a combination need two options to meet, rarely more (Kuhn et al. 2004). In: the values of every option,
and which cases can exist. Out: a list of cases, the same at every call. All cases that can exist are made, and the one
with the most pairs that are still missing is taken, again and again (the greedy set cover); with twelve options that
is tens of thousands of cases and half a second.

    cases = covering({"tp": [1, 2], "tied": [True, False], ...}, allowed, together=[("tp", "pp", "dp")])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np

Values = dict[str, Any]
Combination = tuple[tuple[str, Any], ...]


def covering(
    options: Mapping[str, Sequence[Any]],
    allowed: Callable[[Values], bool],
    together: Iterable[tuple[str, ...]] = (),
) -> list[Values]:
    """Cases that hold every pair of values of two options, and every combination of `together`, that can exist.

    Args:
        options: option -> its values.
        allowed: whether a case can exist.
        together: options of which all combinations are wanted, beside the pairs of all.
    """
    cases = [dict(zip(options, values, strict=True)) for values in product(*options.values())]
    cases = [case for case in cases if allowed(case)]
    held, num_combinations = _held(cases, options, [*combinations(options, 2), *together])
    missing = np.ones(num_combinations, bool)
    chosen: list[Values] = []
    while missing.any():
        best = int(missing[held].sum(axis=1).argmax())
        missing[held[best]] = False
        chosen.append(cases[best])
    return chosen


def _held(
    cases: Sequence[Values], options: Mapping[str, Sequence[Any]], wanted: Sequence[tuple[str, ...]]
) -> tuple[np.ndarray, int]:
    """Which combination each case holds, int64 (cases, wanted), numbered through; and how many there are."""
    places = {name: np.array([values.index(case[name]) for case in cases]) for name, values in options.items()}
    columns, total = [], 0
    for names in wanted:
        sizes = [len(options[name]) for name in names]
        codes = np.ravel_multi_index([places[name] for name in names], sizes)
        found, column = np.unique(codes, return_inverse=True)
        columns.append(column + total)
        total += len(found)
    return np.stack(columns, axis=1), total


def combination(case: Values, names: Iterable[str]) -> Combination:
    """The values a case has for some options."""
    return tuple((name, case[name]) for name in names)


def cheapest(cases: Sequence[Values], cost: Callable[[Values], float]) -> list[Values]:
    """Some of the cases in which every value of every option still occurs, chosen by new values per cost."""
    missing = {pair for case in cases for pair in case.items()}
    chosen: list[Values] = []
    while missing:
        best = max(cases, key=lambda case: len(missing & case.items()) / cost(case))
        missing -= best.items()
        chosen.append(best)
    return chosen

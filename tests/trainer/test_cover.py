"""The covering leaves no pair out, and the parity matrix no layout."""

from __future__ import annotations

from dataclasses import asdict
from itertools import combinations, product
from typing import Any

from tests.trainer.cover import Values, cheapest, covering
from tests.trainer.parity_cases import OPTIONS, allowed, fast_cases, matrix

COLOURS: dict[str, list[Any]] = {"a": [1, 2, 3], "b": ["x", "y"], "c": [True, False], "d": [0, 5, 9]}


def _can_exist(case: Values) -> bool:
    return case["a"] != 3 or case["b"] == "x"


def _pairs(case: Values) -> set[Any]:
    return set(combinations(sorted(case.items()), 2))


def test_every_pair_that_can_exist_occurs_and_no_other() -> None:
    chosen = covering(COLOURS, _can_exist)
    everything = [dict(zip(COLOURS, values, strict=True)) for values in product(*COLOURS.values())]
    possible = set().union(*(_pairs(case) for case in everything if _can_exist(case)))
    assert set().union(*map(_pairs, chosen)) == possible
    assert (("a", 3), ("b", "y")) not in possible
    assert len(chosen) < 15, "of 30 that can exist"


def test_combinations_wanted_together_all_occur() -> None:
    chosen = covering(COLOURS, _can_exist, together=[("a", "b", "d")])
    assert len({(case["a"], case["b"], case["d"]) for case in chosen}) == (2 * 2 + 1) * 3
    assert chosen == covering(COLOURS, _can_exist, together=[("a", "b", "d")])


def test_the_cheapest_cases_keep_every_value() -> None:
    cases = covering(COLOURS, _can_exist)
    chosen = cheapest(cases, lambda case: case["a"])
    assert {pair for case in chosen for pair in case.items()} == {pair for case in cases for pair in case.items()}
    assert len(chosen) < len(cases)


def test_the_matrix_holds_every_layout_and_every_pair_of_options() -> None:
    cases = matrix()
    sizes = OPTIONS["tp"]
    layouts = {layout for layout in product(sizes, repeat=3) if layout[0] * layout[1] * layout[2] <= 8}
    assert {(case.tp, case.pp, case.dp) for case in cases} == layouts
    found = set().union(*(_pairs(asdict(case)) for case in cases))
    for (one, values), (other, others) in combinations(sorted(OPTIONS.items()), 2):
        for pair in product(values, others):
            possible = _some_case_allows(dict(zip((one, other), pair, strict=True)))
            assert (((one, pair[0]), (other, pair[1])) in found) == possible, (one, other, pair)
    assert len(cases) <= 60


def test_the_fast_cases_touch_every_value() -> None:
    chosen = [asdict(case) for case in fast_cases(matrix())]
    assert len(chosen) <= 12
    assert all({case[name] for case in chosen} == set(values) for name, values in OPTIONS.items())


def _some_case_allows(fixed: Values) -> bool:
    free = {name: values for name, values in OPTIONS.items() if name not in fixed and name in _DECIDING}
    rest = {name: values[0] for name, values in OPTIONS.items()}
    return any(allowed(rest | fixed | dict(zip(free, values, strict=True))) for values in product(*free.values()))


_DECIDING = ("tp", "pp", "dp", "sequence_parallel", "virtual_stages", "data_parallel")

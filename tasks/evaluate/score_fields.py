"""What the rows of scores and of comparisons have in common: values, intervals, tests, averages, all rounded alike.

row = estimate_fields(score.estimate(0.95), "value", "ci_low", "ci_high") | test_fields(compared)
correct(rows)      # fills in p_holm
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.evaluate.averages import Average
from tasks.evaluate.comparison import Comparison, Sampled
from tasks.evaluate.intervals import Estimate
from tasks.evaluate.scored_tasks import METRICS
from tasks.evaluate.significance import holm

AVERAGE = "average"  # the task, metric and kind of an average's row
_LANGUAGES = {"ja": "Japanese", "en": "English"}

Row = dict[str, Any]


def estimate_fields(estimate: Estimate, *names: str) -> Row:
    """Value and bounds under these names."""
    return dict(zip(names, map(rounded, (estimate.value, estimate.low, estimate.high)), strict=True))


def difference_fields(compared: Comparison, theirs: Sampled) -> Row:
    """The difference, also as a part of their value, and what is known of it."""
    row = estimate_fields(compared.difference, "difference", "difference_low", "difference_high")
    row["relative"] = rounded(compared.difference.value / theirs.value) if theirs.value else None
    return row | {
        "p_mcnemar": rounded_p(compared.p_mcnemar),
        "p_bootstrap": rounded_p(compared.p_bootstrap),
        "p_holm": None,
        "wins": compared.wins,
        "losses": compared.losses,
        "ties": compared.ties,
        "mde": rounded(compared.mde),
    }


def average_fields(found: Average, profile: str) -> Row:
    """What the row of an average is; `n` is the number of tasks."""
    language = _LANGUAGES[found.language]
    return {
        "task": AVERAGE,
        "profile": profile,
        "metric": AVERAGE,
        "unit": "share",
        "language": found.language,
        "category": found.category,
        "n": len(found.tasks),
        "label": f"{language} average" if found.category is None else f"{language} {found.category}",
        "kind": AVERAGE,
        "headline": True,
        "tasks": list(found.tasks),
        "missing": list(found.missing),
        "stand_ins": dict(found.stand_ins),
    }


def correct(rows: Sequence[Row], family: Sequence[str]) -> None:
    """Fill in `p_holm` of the headline metrics over whole languages; averages, which are made of them, have none.

    The project's own measures are no benchmarks, and are corrected among themselves.

    Args:
        family: fields in which rows agree that are corrected together.
    """
    families: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        whole = row["category"] is None and row.get("subset", "all") == "all" and row["task"] != AVERAGE
        if whole and row["headline"] and row.get("p_bootstrap") is not None:
            families[*(row[name] for name in family), row["task"] in METRICS].append(row)
    for members in families.values():
        corrected = holm({str(number): row_p(row) for number, row in enumerate(members)})
        for number, row in enumerate(members):
            row["p_holm"] = rounded_p(corrected[str(number)])


def row_p(row: Mapping[str, Any]) -> float:
    """The uncorrected p-value of a row that has one: McNemar's where it applies, else the bootstrap's."""
    return float(row["p_bootstrap"] if row["p_mcnemar"] is None else row["p_mcnemar"])


def rounded(value: float | None) -> float | None:
    """To the sixth decimal; None where there is nothing to say."""
    return None if value is None or math.isnan(value) else round(value, 6)


def rounded_p(p: float | None) -> float | None:
    """To six significant digits: small ones differ in their order of magnitude."""
    return None if p is None else float(f"{p:.6g}")

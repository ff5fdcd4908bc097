"""Exact match.

In: a prediction and what it is compared with; out: 1 or 0, and the metric that is their mean.

    exact_match(" １８ ", ["18", "十八"]) == 1.0
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.evaluate.metric import mean
from tasks.evaluate.metrics.normalise import nfkc

EXACT_MATCH = mean("exact_match", "exact_match")


def exact_match(pred: str, golds: Sequence[str]) -> float:
    """1 where the prediction is one of the accepted answers, all after NFKC and without white space around; else 0."""
    return float(nfkc(pred).strip() in {nfkc(gold).strip() for gold in golds})


def harness_exact_match(pred: str, gold: str) -> float:
    """1 where prediction and answer are equal after NFKC; as in llm-jp-eval 1.1, a space before one makes it wrong."""
    return float(nfkc(pred) == nfkc(gold))

"""chrF: how many character n-grams a translation and its reference share (Popović, 2015), by sacrebleu.

In: a hypothesis and its reference; out: a share. Unlike corpus BLEU it is a value of each sentence, so two models can
be compared sentence by sentence. The settings are sacrebleu's defaults: n-grams of 1 to 6 characters, white space left
out, recall counted twice as much as precision (beta 2).

    sentence_chrf("雲雀が高く鳴く。", "雲雀が鳴いている。")
"""

from __future__ import annotations

from functools import cache
from typing import Any

from tasks.evaluate.metric import mean
from tasks.evaluate.metrics.normalise import encodable

SENTENCE_CHRF = mean("sentence_chrf", "chrf")


def sentence_chrf(hypothesis: str, reference: str) -> float:
    """chrF of one sentence, 0 to 1."""
    score: float = _chrf().sentence_score(encodable(hypothesis), [encodable(reference)]).score
    return score / 100


@cache
def _chrf() -> Any:
    from sacrebleu.metrics import CHRF

    return CHRF()

"""The log-likelihood of whole texts, by any backend that has that of continuations.

A text longer than the model reads is scored in windows, each id once, with at least one id before it: the first window
scores what fits, the last begins as early as it can, as in lm-evaluation-harness.

    scored = rolling(lambda windows: backend.loglikelihood(windows), batch, window=2048)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from tasks.evaluate.requests import Fitted, Scored


def rolling(
    score: Callable[[Sequence[Fitted]], Sequence[Scored]], batch: Sequence[Fitted], window: int
) -> list[Scored]:
    """One score for each text.

    Args:
        score: log-likelihoods of continuations.
        batch: `Rolling` requests, uncut.
        window: ids that the model reads at once; the one after them is scored too.
    """
    windows = [list(_windows(each, window)) for each in batch]
    values = iter(score([one for own in windows for one in own]))
    results = []
    for own in windows:
        scored = [next(values) for _ in own]
        results.append(
            Scored(
                math.fsum(each.log_likelihood for each in scored),
                all(each.is_greedy for each in scored),
                sum(each.num_tokens for each in scored),
            )
        )
    return results


def _windows(text: Fitted, window: int) -> Iterator[Fitted]:
    """A text's windows, of at most `window` ids and the one after them, as contexts and what is scored after them."""
    ids = [*text.context, *text.continuation]
    scored = len(text.context)
    while scored < len(ids):
        end = min(len(ids), scored + window if scored > len(text.context) else window + 1)
        yield Fitted(text.request, ids[max(0, end - window - 1) : scored], ids[scored:end])
        scored = end

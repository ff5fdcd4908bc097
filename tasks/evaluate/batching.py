"""Which requests a model answers together.

In: requests as token ids; out: batches of their places. Longest first, so that what does not fit into memory fails at
once and the time left is not underestimated; requests of like length together, since those that are written to end
together. Requests that share a context stay together, whatever the batch size, because the context is then read once.
A pure function of the requests: a resumed evaluation makes the same batches.

    for batch in plan_batches(fitted, batch_size=16):
        backend.loglikelihood([fitted[place] for place in batch], common_prefix(fitted))
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from tasks.evaluate.requests import Fitted

MIN_PREFIX = 8  # ids; fewer are not worth a pass of their own


def plan_batches(fitted: Sequence[Fitted], batch_size: int, items: Sequence[int] | None = None) -> list[list[int]]:
    """Places in `fitted`, in batches of `batch_size` questions.

    Args:
        fitted: of one method.
        batch_size: questions in a batch: the requests of one context are one.
        items: for each request, the item it belongs to: then the requests of an item are one question, also where their
            contexts differ (XWinograd), so that a near tie between them is seen.
    """
    questions: dict[Hashable, list[int]] = {}
    for place, each in enumerate(fitted):
        questions.setdefault(items[place] if items else tuple(each.context), []).append(place)
    longest_first = sorted(
        questions.values(), key=lambda places: max(fitted[place].num_tokens for place in places), reverse=True
    )
    return [
        [place for places in longest_first[start : start + batch_size] for place in places]
        for start in range(0, len(longest_first), batch_size)
    ]


def common_prefix(fitted: Sequence[Fitted]) -> list[int]:
    """The ids that all contexts begin with, leaving each at least one of its own; empty where they are few."""
    if not fitted:
        return []
    # What the smallest and the largest in the order of ids share, all between them share too.
    contexts = [each.context for each in fitted]
    low, high = min(contexts, key=tuple), max(contexts, key=tuple)
    most = min(map(len, contexts)) - 1
    length = next((place for place, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), most)
    length = min(length, most)
    return list(low[:length]) if length >= MIN_PREFIX else []

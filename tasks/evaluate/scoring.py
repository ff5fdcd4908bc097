"""Log-likelihoods of continuations: each context read once, whatever number of choices continue it.

In: requests as ids, and the ids all contexts begin with; out: log-likelihood, and whether greedy decoding would
have written the continuation. An item (the requests with equal contexts) is one sequence of the pass: its context, then
its continuations as branches that do not see one another. A continuation's first id is answered by the logits
after the context, so one of a single id adds nothing to the pass. Only the places that answer something go through
the output head.

A sum depends in its last bits on what else was in the pass: matrix products are split differently. Where that
could decide (the best two choices of an item nearly tie, as sums, per byte, per character or per id; or an id of
a continuation nearly ties with the most likely one), the requests in question are computed again, each alone in a
pass of its own, and that value is returned: the same whatever the batch.

    scorer = Scorer(PackedModel(module))
    scored = scorer.loglikelihood(batch, prefix)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from tasks.evaluate.attention import Branching, KeysValues, Pass
from tasks.evaluate.packed import PackedModel
from tasks.evaluate.requests import Fitted, LogLikelihood, Scored
from tasks.evaluate.rolling import rolling

MAX_LOGITS = 1 << 26  # 256 MiB in float32
MAX_BRANCHES = 512  # ids
MIN_SHARED = 8  # ids of a context that is read once for all its continuations
# Between batches logits of SmolLM2-135M differ by up to 3e-5, sums over 34 ids by 6e-5: these are ten times as much.
LOGIT_TOLERANCE = 3e-4
SUM_TOLERANCE = 1e-3  # for sums down to -100; more in proportion below
_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class _Item:
    """A context and continuations of it; `places` of these in the batch."""

    context: Sequence[int]
    continuations: tuple[Sequence[int], ...]
    places: tuple[int, ...]

    @property
    def num_scored(self) -> int:
        """Places of the pass that go through the output head."""
        return 1 + sum(len(ids) - 1 for ids in self.continuations)


@dataclass(frozen=True)
class _Value:
    """Of one continuation. `is_close`: whether it is greedy hangs on less than `LOGIT_TOLERANCE`."""

    log_likelihood: float
    is_greedy: bool
    is_close: bool


class Scorer:
    """Answers `loglikelihood`; counts in `recomputed` the requests computed again because something nearly tied."""

    def __init__(self, model: PackedModel) -> None:
        self._model = model
        self.recomputed = 0

    @torch.inference_mode()
    def loglikelihood(self, batch: Sequence[Fitted], prefix: Sequence[int] = ()) -> list[Scored]:
        """Scores in the order of the batch.

        Raises:
            ValueError: a context does not begin with the prefix and go on; or the model's output is not finite.
        """
        values = self._values(batch, prefix)
        if self._model.dtype == torch.float32:
            for place in sorted(_near_ties(batch, values)):
                (values[place],) = self._values([batch[place]], ())
                self.recomputed += 1
        return [
            Scored(value.log_likelihood, value.is_greedy, len(each.continuation))
            for each, value in zip(batch, values, strict=True)
        ]

    def rolling(self, batch: Sequence[Fitted], max_length: int) -> list[Scored]:
        """Whole texts, in windows of `max_length` ids where they are longer."""
        return rolling(self.loglikelihood, batch, max_length)

    def _values(self, batch: Sequence[Fitted], prefix: Sequence[int]) -> list[_Value]:
        kept = self._model.kept(prefix)
        values: list[_Value | None] = [None] * len(batch)
        for items in self._passes(_items(batch, prefix), len(prefix)):
            found = self._pass(items, kept)
            for place, value in zip((place for item in items for place in item.places), found, strict=True):
                if not math.isfinite(value.log_likelihood):
                    raise ValueError(
                        f"the model gives a log-likelihood of {value.log_likelihood}: its weights or activations are "
                        "not finite; check the checkpoint, or evaluate in fp32"
                    )
                values[place] = value
        return [value for value in values if value is not None]

    def _passes(self, items: Iterable[_Item], before: int) -> Iterator[list[_Item]]:
        """Items that go through the model together, within `pass_ids` and `MAX_LOGITS` where they can be."""
        waiting: list[_Item] = []
        ids = scored = 0
        most_scored = max(1, MAX_LOGITS // self._model.vocab_size)
        for item in (part for whole in items for part in _split(whole, before, most_scored)):
            more = len(item.context) + item.num_scored
            if waiting and (ids + more > self._model.pass_ids or scored + item.num_scored > most_scored):
                yield waiting
                waiting, ids, scored = [], 0, 0
            waiting.append(item)
            ids, scored = ids + more, scored + item.num_scored
        if waiting:
            yield waiting

    def _pass(self, items: Sequence[_Item], kept: KeysValues | None) -> list[_Value]:
        """One value for each continuation, item by item."""
        before = kept.length if kept else 0
        ids: list[int] = []
        positions: list[int] = []
        wanted: list[int] = []
        rows: list[int] = []  # of the logits, for each scored id
        targets: list[int] = []
        sequences = []
        for item in items:
            sequence = Branching(len(item.context), tuple(len(each) - 1 for each in item.continuations))
            sequences.append(sequence)
            positions.extend(before + position for position in sequence.positions())
            ids.extend(item.context)
            after_context = len(wanted)
            wanted.append(len(ids) - 1)
            for continuation in item.continuations:
                rows.extend((after_context, *range(len(wanted), len(wanted) + len(continuation) - 1)))
                wanted.extend(range(len(ids), len(ids) + len(continuation) - 1))
                ids.extend(continuation[:-1])
                targets.extend(continuation)
        logits = self._model.logits(ids, positions, Pass(sequences, kept), wanted)
        lengths = [len(each) for item in items for each in item.continuations]
        return _values_of(logits, rows, targets, lengths)


def _items(batch: Sequence[Fitted], prefix: Sequence[int]) -> list[_Item]:
    """Requests with equal contexts as one item, in the order of their first.

    An item is the same in every batch: its continuations are put in order, and one after a few ids only, which is no
    question but the beginning of a text, is an item of its own.
    """
    begins = tuple(prefix)
    places: dict[tuple[object, ...], list[int]] = {}
    for place, each in enumerate(batch):
        context = tuple(each.context)
        if context[: len(begins)] != begins or len(context) == len(begins):
            raise ValueError(f"a context of {len(context)} ids does not begin with the prefix of {len(begins)} ids")
        places.setdefault((context, place if len(context) < MIN_SHARED else None), []).append(place)
    items = []
    for those in places.values():
        those.sort(key=lambda place: tuple(batch[place].continuation))
        context = tuple(batch[those[0]].context[len(begins) :])
        items.append(_Item(context, tuple(batch[place].continuation for place in those), tuple(those)))
    return items


def _split(item: _Item, before: int, most_scored: int) -> Iterator[_Item]:
    """An item in parts that are worth a pass together: of at most `most_scored` scored places, and no more ids in
    the continuations than `MAX_BRANCHES` or twice the context, for attention compares all of them with each other.
    """
    most_ids = max(MAX_BRANCHES, 2 * (before + len(item.context)))
    first = 0
    while first < len(item.places):
        end, ids = first + 1, len(item.continuations[first])
        while end < len(item.places) and ids + len(item.continuations[end]) <= min(most_ids, most_scored):
            ids += len(item.continuations[end])
            end += 1
        yield _Item(item.context, item.continuations[first:end], item.places[first:end])
        first = end


def _values_of(logits: torch.Tensor, rows: list[int], targets: list[int], lengths: list[int]) -> list[_Value]:
    """A value for each continuation.

    Args:
        logits: (places, vocabulary) float32; overwritten.
        rows: of `logits`, for each scored id of all continuations.
        targets: these ids.
        lengths: ids of each continuation.
    """
    row = torch.tensor(rows, device=logits.device)
    target = torch.tensor(targets, device=logits.device)
    owner = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths)).to(logits.device)
    best = logits.amax(dim=-1)
    wanted = logits[row, target]
    lead = wanted - best[row]  # over the best other id: so far 0 where it is the best itself
    surely_not = _any(lead <= -LOGIT_TOLERANCE, owner, len(lengths))
    # The best other id is looked for only where the answer hangs on it: all ids of the continuation may be greedy.
    open_ = ((lead == 0) & ~surely_not[owner]).nonzero()[:, 0]
    others = logits[row[open_]]
    is_lowest = others.argmax(dim=-1) == target[open_]
    lead[open_] = wanted[open_] - others.scatter_(1, target[open_, None], float("-inf")).amax(dim=-1)
    is_best = lead >= 0
    is_best[open_] &= is_lowest
    is_close = _any(lead.abs() < LOGIT_TOLERANCE, owner, len(lengths)) & ~surely_not
    # In place and some rows at a time, so that they stay in the processor's cache.
    sums = [
        block.sub_(top[:, None]).exp_().sum(dim=-1)
        for block, top in zip(logits.split(_ROWS_AT_ONCE), best.split(_ROWS_AT_ONCE), strict=True)
    ]
    log_likelihoods = (wanted - (best + torch.log(torch.cat(sums)))[row]).double().cpu()
    totals = [float(values.sum()) for values in log_likelihoods.split(lengths)]
    greedy = (~_any(~is_best, owner, len(lengths))).tolist()
    return [_Value(*fields) for fields in zip(totals, greedy, is_close.tolist(), strict=True)]


def _any(values: torch.Tensor, owner: torch.Tensor, count: int) -> torch.Tensor:
    """(count,) whether any of an owner's values is true."""
    return torch.zeros(count, dtype=torch.int32, device=values.device).index_add_(0, owner, values.int()) > 0


def _near_ties(batch: Sequence[Fitted], values: Sequence[_Value]) -> set[int]:
    """Places whose value decides something by less than it may differ between batches."""
    close = {place for place, value in enumerate(values) if value.is_close}
    questions: dict[tuple[int, ...], list[int]] = {}
    for place, each in enumerate(batch):
        questions.setdefault((0, *each.context), []).append(place)
        questions.setdefault((1, *each.continuation), []).append(place)  # one ending after each of several sentences
    for places in questions.values():
        if len(places) > 1:
            close.update(_close_to_best(places, batch, values))
    return close


def _close_to_best(places: Sequence[int], batch: Sequence[Fitted], values: Sequence[_Value]) -> set[int]:
    close: set[int] = set()
    tolerance = SUM_TOLERANCE * max(1.0, -min(values[place].log_likelihood for place in places) / 100)
    for lengths in zip(*(_lengths(batch[place]) for place in places), strict=True):
        ratios = [values[place].log_likelihood / length for place, length in zip(places, lengths, strict=True)]
        best = max(ratios)
        near = [place for place, ratio in zip(places, ratios, strict=True) if best - ratio < tolerance / min(lengths)]
        if len(near) > 1:
            close.update(near)
    return close


def _lengths(fitted: Fitted) -> tuple[int, ...]:
    """What a sum is divided by before choices are compared: nothing, bytes, characters, ids."""
    text = fitted.request.continuation if isinstance(fitted.request, LogLikelihood) else ""
    return 1, max(1, len(text.encode())), max(1, len(text)), len(fitted.continuation)

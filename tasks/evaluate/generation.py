"""Greedy generation of a batch: one pass over the contexts, then the next id of every row, or the next few.

In: requests as ids, and the ids all contexts begin with; out: text up to the stop. Keys and values of what is not
common are kept row by row, without padding between a context and what is written after it; rows that begin alike
beyond that (some of the same shots in front) are read once and copied. Ids that are likely to follow are guessed and
checked in the same pass (`drafts`). A row that ends leaves the batch: the last row takes its place.

Stops are looked for in the decoded text, so a stop may be spread over ids, or share one with text before it. The text
is decoded after the context's last id, because SentencePiece drops a space that a text begins with. It ends at a stop,
at the end of the document, or at a limit.

The best two ids can be nearer to one another than logits are between passes of different shape. Then the row is
computed again from its ids alone, in one pass without prefix or batch, and the best id of that is taken (the lowest of
equal ones): so the text does not depend on the batch, nor on what was guessed.

    generated = Generator(PackedModel(module), encoder, ends={2}, max_length=2048).generate_until(batch, prefix)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice, pairwise
from typing import Literal

import torch

from tasks.evaluate.attention import Branching, KeysValues, Pass
from tasks.evaluate.drafts import Drafts
from tasks.evaluate.loops import loop_end
from tasks.evaluate.packed import PackedModel
from tasks.evaluate.requests import Fitted, Generate, Generated
from tasks.evaluate.scoring import LOGIT_TOLERANCE
from tasks.evaluate.step import Step
from tokenizer.encoder import Encoder

BYTES_OF_A_CHARACTER = 4  # at most, in UTF-8; an id is a byte at least
MIN_SHARED = 32  # ids; fewer are read again rather than copied
_UNDECODED = "\ufffd"


@dataclass(frozen=True)
class _Choice:
    """The most likely id; `is_close`: another is so nearly as likely that the batch could decide between them."""

    token: int
    is_close: bool


@dataclass
class _Row:
    """A request while it is answered. `own`: ids of its context after the common prefix."""

    place: int
    request: Generate
    context: Sequence[int]
    own: int
    limit: int
    drafts: Drafts
    known: int = 0  # characters that hold no loop
    ids: list[int] = field(default_factory=list)
    ended: Generated | None = None

    def after(self, start: int) -> Sequence[int]:
        """The ids of its context from there on."""
        return self.context[start:]

    def guess(self) -> list[int]:
        """Ids that may come after the next one; as many as it may write after that, at most."""
        return self.drafts.next(self.limit - len(self.ids) - 1)

    def take(self, token: int, ends: Collection[int], encoder: Encoder) -> None:
        """Append an id, and end where the text does."""
        if token in ends:
            self._end(self.text(encoder), "end_of_text")
            return
        self.ids.append(token)
        self.drafts.append(token)
        text = self.text(encoder)
        whole = len(text.rstrip(_UNDECODED))
        stop = min((place for stop in self.request.stops if stop and (place := text.find(stop)) >= 0), default=None)
        most = self.request.max_characters
        loop = loop_end(text[:whole], self.known) if self.request.stop_loops else None
        self.known = whole
        limits = [place for place in (most, loop) if place is not None]
        if stop is not None and (not limits or stop <= min(limits)):
            self._end(text[:stop], "stop")
        elif loop is not None and (most is None or loop < most):
            self._end(text[:loop], "loop")
        elif most is not None and whole >= most:
            self._end(text[:most], "characters")
        elif len(self.ids) == self.limit:
            self._end(text, "tokens")

    def text(self, encoder: Encoder) -> str:
        """What was written so far; a character that is not complete yet is U+FFFD."""
        last = self.context[-1]
        return encoder.decode([last, *self.ids])[len(encoder.decode([last])) :]

    def _end(self, text: str, reason: Literal["stop", "end_of_text", "tokens", "characters", "loop"]) -> None:
        self.ended = Generated(text, len(self.ids), reason)


class Generator:
    """Answers `generate_until`; counts in `recomputed` the ids computed again because two nearly tied.

    Args:
        ends: ids that end a document or a turn.
        max_length: ids the model can read.
    """

    def __init__(self, model: PackedModel, encoder: Encoder, ends: Collection[int], max_length: int) -> None:
        self._model = model
        self._encoder = encoder
        self._ends = frozenset(ends)
        self._max_length = max_length
        self.recomputed = 0

    @torch.inference_mode()
    def generate_until(self, batch: Sequence[Fitted], prefix: Sequence[int] = ()) -> list[Generated]:
        """Answers in the order of the batch.

        Raises:
            ValueError: a context does not begin with the prefix and go on, or leaves no room; or logits are not finite.
        """
        rows = [self._row(place, each, prefix) for place, each in enumerate(batch)]
        kept = self._model.kept(prefix)
        for part in self._parts(rows):
            self._generate(part, kept)
        return [row.ended for row in rows if row.ended is not None]

    def _row(self, place: int, fitted: Fitted, prefix: Sequence[int]) -> _Row:
        request, context = fitted.request, fitted.context
        assert isinstance(request, Generate)
        if tuple(context[: len(prefix)]) != tuple(prefix) or len(context) == len(prefix):
            raise ValueError(f"a context of {len(context)} ids does not begin with the prefix of {len(prefix)} ids")
        limits = [self._max_length - len(context)]
        if request.max_tokens is not None:
            limits.append(request.max_tokens)
        if request.max_characters is not None:
            limits.append(BYTES_OF_A_CHARACTER * request.max_characters)
        if min(limits) < 1:
            raise ValueError(
                f"a context of {len(context)} ids leaves no room to generate: the model reads {self._max_length} and "
                f"the limits are {request.max_tokens} tokens, {request.max_characters} characters"
            )
        return _Row(place, request, context, len(context) - len(prefix), min(limits), Drafts(context))

    def _parts(self, rows: Sequence[_Row]) -> Iterator[list[_Row]]:
        """Rows whose keys and values take at most `PackedModel.cache_room` together, or one."""
        room = self._model.cache_room
        part: list[_Row] = []
        longest = 0
        for row in rows:
            longest = max(longest, row.own + row.limit)
            if part and (len(part) + 1) * longest * self._model.cache_bytes > room:
                yield part
                part, longest = [], row.own + row.limit
            part.append(row)
        if part:
            yield part

    def _generate(self, rows: Sequence[_Row], kept: KeysValues | None) -> None:
        """Answer rows whose keys and values fit into memory together."""
        rows = sorted(rows, key=lambda row: tuple(row.context))  # so that neighbours share the most
        own = max(row.own for row in rows)
        cache = KeysValues(len(rows), own + min(64, max(row.limit for row in rows)))
        for row, choice in zip(rows, self._read(rows, kept, cache), strict=True):
            self._take(row, [], [choice])
        active = list(rows)
        while _without_ended(active, cache):
            self._step(active, kept, cache)

    def _step(self, rows: Sequence[_Row], kept: KeysValues | None, cache: KeysValues) -> None:
        """One id more for each row, and those after it that were guessed right."""
        before = kept.length if kept else 0
        guesses = [row.guess() for row in rows]
        lengths = [row.own + len(row.ids) - 1 for row in rows]
        counts = [1 + len(guessed) for guessed in guesses]
        logits = self._model.logits(
            [token for row, guessed in zip(rows, guesses, strict=True) for token in (row.ids[-1], *guessed)],
            [before + length + new for length, count in zip(lengths, counts, strict=True) for new in range(count)],
            Step(cache, lengths, counts, kept),
            range(sum(counts)),
            least=1,
        )
        choices = iter(self._choices(logits))
        for row, guessed, count in zip(rows, guesses, counts, strict=True):
            self._take(row, guessed, list(islice(choices, count)))

    def _take(self, row: _Row, guessed: Sequence[int], choices: Sequence[_Choice]) -> None:
        """Give a row what the model writes next: the choice after each id that was guessed right, and one more."""
        for place, choice in enumerate(choices):
            token = self._alone(row) if choice.is_close else choice.token
            row.take(token, self._ends, self._encoder)
            if row.ended:
                return
            if place == len(guessed) or token != guessed[place]:
                row.drafts.learn(len(guessed), place)
                return

    def _read(self, rows: Sequence[_Row], kept: KeysValues | None, cache: KeysValues) -> list[_Choice]:
        """Put the contexts into the cache, some rows at a time; the first id of each answer.

        What a context shares with the one before it, beyond the ids common to all, is not read again.
        """
        before = kept.length if kept else 0
        shared = [0, *(_shared(row, after, before) for row, after in pairwise(rows))]
        new = [row.own - past for row, past in zip(rows, shared, strict=True)]
        choices: list[_Choice] = []
        first = 0
        while first < len(rows):
            end, ids = first, 0
            while end < len(rows) and (end == first or ids + new[end] <= self._model.pass_ids):
                ids += new[end]
                end += 1
            some = slice(first, end)
            pairs = list(zip(rows[some], shared[some], strict=True))
            logits = self._model.logits(
                [token for row, past in pairs for token in row.after(before + past)],
                [before + place for row, past in pairs for place in range(past, row.own)],
                Pass([Branching(count) for count in new[some]], kept, cache, first, shared[some]),
                [end - 1 for end in accumulate(new[some])],
            )
            choices.extend(self._choices(logits))
            first = end
        return choices

    def _choices(self, logits: torch.Tensor) -> list[_Choice]:
        """The most likely id of each row of logits (overwritten), and whether the next one is nearly as likely."""
        best_id = logits.argmax(dim=-1)
        best = logits.gather(1, best_id[:, None])[:, 0]
        logits.scatter_(1, best_id[:, None], float("-inf"))
        margins = (best - logits.amax(dim=-1)).tolist()
        if not bool(torch.isfinite(best).all()):
            raise ValueError("the model's logits are not finite; check the checkpoint, or evaluate in fp32")
        exact = self._model.dtype == torch.float32
        pairs = zip(best_id.tolist(), margins, strict=True)
        return [_Choice(token, exact and margin < LOGIT_TOLERANCE) for token, margin in pairs]

    def _alone(self, row: _Row) -> int:
        """The next id of a row, from its ids alone in one pass."""
        self.recomputed += 1
        ids = [*row.context, *row.ids]
        sequence = Branching(len(ids))
        logits = self._model.logits(ids, sequence.positions(), Pass([sequence]), [len(ids) - 1])
        return int(logits[0].argmax())


def _without_ended(rows: list[_Row], cache: KeysValues) -> bool:
    """Take out the rows that have ended, the last ones into their places; whether any is left."""
    for place in reversed(range(len(rows))):
        if rows[place].ended:
            last = rows.pop()
            if place < len(rows):
                rows[place] = last
                cache.move(len(rows), place)
    return bool(rows)


def _shared(row: _Row, other: _Row, before: int) -> int:
    """Ids behind the first `before` that both contexts begin with, leaving the other one at least; 0 for a few."""
    most = min(row.own, other.own - 1)
    pairs = zip(row.after(before), other.after(before)[:most], strict=False)
    length = next((place for place, (a, b) in enumerate(pairs) if a != b), most)
    return length if length >= MIN_SHARED else 0

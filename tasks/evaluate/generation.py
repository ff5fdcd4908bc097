"""Greedy generation of a batch: one pass over the contexts, then one id for every row at a time.

In: requests as ids, and the ids all contexts begin with; out: text up to the stop. Keys and values of what is not
common are kept row by row, without padding between a context and what is written after it. A row that ends leaves
the batch: the last row takes its place.

Stops are looked for in the decoded text, so a stop may be spread over ids, or share one with text before it. The text
is decoded after the context's last id, because SentencePiece drops a space that a text begins with. It ends at a stop,
at the end of the document, or at a limit.

The best two ids can be nearer to one another than logits are between batches of different shape. Then the row is
computed again from its ids alone, in one pass without prefix or batch, and the best id of that is taken (the lowest of
equal ones): so the text does not depend on the batch.

    generated = Generator(PackedModel(module), encoder, ends={2}, max_length=2048).generate_until(batch, prefix)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from tasks.evaluate.attention import Branching, KeysValues, Pass, Step
from tasks.evaluate.loops import loop_end
from tasks.evaluate.packed import PackedModel
from tasks.evaluate.requests import Fitted, Generate, Generated
from tasks.evaluate.scoring import LOGIT_TOLERANCE
from tokenizer.encoder import Encoder

BYTES_OF_A_CHARACTER = 4  # at most, in UTF-8; an id is a byte at least
_UNDECODED = "\ufffd"


@dataclass
class _Row:
    """A request while it is answered. `own`: ids of its context after the common prefix."""

    place: int
    request: Generate
    context: Sequence[int]
    own: int
    limit: int
    known: int = 0  # characters that hold no loop
    ids: list[int] = field(default_factory=list)
    ended: Generated | None = None

    def take(self, token: int, ends: Collection[int], encoder: Encoder) -> None:
        """Append an id, and end where the text does."""
        if token in ends:
            self._end(self.text(encoder), "end_of_text")
            return
        self.ids.append(token)
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
        return _Row(place, request, context, len(context) - len(prefix), min(limits))

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

    def _generate(self, rows: list[_Row], kept: KeysValues | None) -> None:
        own = max(row.own for row in rows)
        cache = KeysValues(len(rows), own + min(64, max(row.limit for row in rows)))
        tokens = self._read(rows, kept, cache)
        before = kept.length if kept else 0
        active = list(rows)
        while True:
            for place in reversed(range(len(active))):
                row = active[place]
                row.take(tokens[place], self._ends, self._encoder)
                if row.ended:
                    last = active.pop()
                    if last is not row:
                        active[place] = last
                        cache.move(len(active), place)
            if not active:
                return
            lengths = [row.own + len(row.ids) - 1 for row in active]
            step = Step(cache, torch.tensor(lengths, device=self._model.device), max(lengths), kept)
            logits = self._model.logits(
                [row.ids[-1] for row in active],
                [before + length for length in lengths],
                step,
                range(len(active)),
                least=1,
            )
            tokens = self._choose(active, logits)

    def _read(self, rows: Sequence[_Row], kept: KeysValues | None, cache: KeysValues) -> list[int]:
        """Put the contexts into the cache, some rows at a time; the first id of each answer."""
        before = kept.length if kept else 0
        tokens: list[int] = []
        first = 0
        while first < len(rows):
            end, ids = first, 0
            while end < len(rows) and (end == first or ids + rows[end].own <= self._model.pass_ids):
                ids += rows[end].own
                end += 1
            some = rows[first:end]
            sequences = [Branching(row.own) for row in some]
            ends = torch.tensor([row.own for row in some]).cumsum(0) - 1
            logits = self._model.logits(
                [token for row in some for token in row.context[before:]],
                [before + position for sequence in sequences for position in sequence.positions()],
                Pass(sequences, kept, cache, first),
                ends.tolist(),
            )
            tokens.extend(self._choose(some, logits))
            first = end
        return tokens

    def _choose(self, rows: Sequence[_Row], logits: torch.Tensor) -> list[int]:
        """The most likely id of each row."""
        best_id = logits.argmax(dim=-1)
        best = logits.gather(1, best_id[:, None])[:, 0]
        logits.scatter_(1, best_id[:, None], float("-inf"))
        margins = (best - logits.amax(dim=-1)).tolist()
        if not bool(torch.isfinite(best).all()):
            raise ValueError("the model's logits are not finite; check the checkpoint, or evaluate in fp32")
        tokens: list[int] = best_id.tolist()
        if self._model.dtype == torch.float32:
            for place, margin in enumerate(margins):
                if margin < LOGIT_TOLERANCE:
                    tokens[place] = self._alone(rows[place])
        return tokens

    def _alone(self, row: _Row) -> int:
        """The next id of a row, from its ids alone in one pass."""
        self.recomputed += 1
        ids = [*row.context, *row.ids]
        sequence = Branching(len(ids))
        logits = self._model.logits(ids, sequence.positions(), Pass([sequence]), [len(ids) - 1])
        return int(logits[0].argmax())

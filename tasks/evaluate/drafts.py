"""Guesses of what a model writes next, from what was written before.

A model that repeats itself, or takes over a passage, writes what once followed the same ids. So the ids that followed
the last few the last time are guessed to follow again, and the model reads them all in one pass: those it would have
written itself are taken, as many at once as agree, and the first other id is its own choice. The text is that of
greedy decoding id by id; a pass over several ids costs little more than one over a single id, which has to read as many
weights, keys and values. Source: Saxena 2023, Prompt Lookup Decoding; Leviathan et al. 2023, Fast Inference from
Transformers via Speculative Decoding, for checking several ids in one pass.

    drafts = Drafts([5, 6, 7, 8, 9, 5, 6, 7, 8], least=4)
    drafts.next(3)   # [9, 5, 6]
"""

from __future__ import annotations

from collections.abc import Iterable

SAME = 6  # ids that must have been written before: three Japanese characters of a tokenizer made for English
FIRST = 4  # ids guessed at first
MOST = 16  # at most


class Drafts:
    """All ids of a request, context and answer, and what followed the last few of them before."""

    def __init__(self, ids: Iterable[int]) -> None:
        self._ids: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self._room = FIRST
        for token in ids:
            self.append(token)

    def append(self, token: int) -> None:
        self._after[tuple(self._ids[-SAME:])] = len(self._ids)
        self._ids.append(token)

    def next(self, most: int) -> list[int]:
        """Up to `most` ids that may follow; none where the last `SAME` ids are new."""
        start = self._after.get(tuple(self._ids[-SAME:]))
        if start is None or len(self._ids) < SAME:
            return []
        period = len(self._ids) - start
        return [self._ids[start + place % period] for place in range(min(most, self._room))]

    def learn(self, guessed: int, right: int) -> None:
        """Guess twice as many after all were right, and no more than were right after one was wrong."""
        if guessed:
            self._room = min(MOST, 2 * right) if right == guessed else max(1, right)

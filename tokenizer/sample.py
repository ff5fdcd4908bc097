"""The corpus sample on which new pieces are learned and counted.

In: a corpus. Out: whole documents in reading order. Documents are ranked by xxh3-64 of their text, seeded
with the run's seed; the sample is the shortest beginning of that ranking with at least `characters`
characters, or the whole corpus where it has no more. Membership depends on the texts only, so neither shard
order nor the number of workers changes it. One pass, and no more than the sample (and one document) in
memory.

    sample = draw_sample(texts, characters=10_000_000, seed=1234)
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import xxhash

Texts = Callable[[], Iterator[str]]


@dataclass(frozen=True)
class CorpusSample:
    """Documents drawn from a corpus, and the size of that corpus."""

    documents: list[str]
    corpus_documents: int
    corpus_characters: int

    @property
    def characters(self) -> int:
        return sum(map(len, self.documents))


def draw_sample(texts: Texts, *, characters: int, seed: int) -> CorpusSample:
    """Draw whole documents of `characters` characters or barely more, by the rule in the module's docstring.

    Raises:
        ValueError: the corpus is empty.
    """
    chosen: list[tuple[int, int, str]] = []  # a heap, the highest hash first
    corpus_documents = corpus_characters = chosen_characters = 0
    for index, text in enumerate(texts()):
        corpus_documents += 1
        corpus_characters += len(text)
        chosen_characters += len(text)
        heapq.heappush(chosen, (-xxhash.xxh3_64_intdigest(text.encode(), seed), -index, text))
        while chosen_characters - len(chosen[0][2]) >= characters:
            chosen_characters -= len(heapq.heappop(chosen)[2])
    if corpus_characters == 0:
        raise ValueError(
            f"expand: the corpus has {corpus_documents} documents and no text, expected some Japanese; "
            "see what the stages before dropped"
        )
    in_order = sorted(chosen, key=lambda document: -document[1])
    return CorpusSample([text for _, _, text in in_order if text], corpus_documents, corpus_characters)

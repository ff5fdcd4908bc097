"""The corpus sample on which new pieces are learned and counted.

In: a corpus. Out: whole documents in reading order. Documents that are held out for validation
(`storage.held_out`: by a hash of the id) are never in it, so that fertility and loss are measured on text that
the vocabulary has not seen. The others are ranked by xxh3-64 of their text, seeded with the run's seed; the
sample is the shortest beginning of that ranking with at least `characters` characters, or all of them where
they have no more. Membership depends on ids and texts only, so neither shard order nor the number of workers
changes it. One pass, and no more than the sample (and one document) in memory.

    sample = draw_sample(lambda: learnable(documents, 0.01), characters=10_000_000, seed=1234)
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import xxhash

from storage.held_out import is_validation

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


def learnable(documents: Iterable[tuple[bytes, str]], validation_ratio: float) -> Iterator[str]:
    """The texts of these documents, (id, text) each, that are not held out for validation."""
    return (text for id_, text in documents if not is_validation(id_, validation_ratio))


def draw_sample(texts: Texts, *, characters: int, seed: int) -> CorpusSample:
    """Draw whole documents of `characters` characters or barely more, by the rule in the module's docstring.

    Raises:
        ValueError: the corpus is empty, or everything in it is held out.
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
            f"expand: the corpus has {corpus_documents} documents to learn on and no text in them, expected some "
            "Japanese; see what the stages before dropped, and binarize.validation_ratio for what is held out"
        )
    in_order = sorted(chosen, key=lambda document: -document[1])
    return CorpusSample([text for _, _, text in in_order if text], corpus_documents, corpus_characters)

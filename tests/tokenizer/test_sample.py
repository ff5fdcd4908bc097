"""The corpus sample: the same documents whatever their order, and no more than asked for."""

from __future__ import annotations

import pytest

from storage.held_out import is_validation
from tokenizer.sample import draw_sample, learnable

TEXTS = [f"{number}番目の文書です。" * (number % 7 + 1) for number in range(300)]


def test_a_small_corpus_is_taken_whole_and_in_order() -> None:
    sample = draw_sample(lambda: iter([*TEXTS, ""]), characters=10**9, seed=1)
    assert sample.documents == TEXTS
    assert sample.corpus_documents == 301
    assert sample.characters == sample.corpus_characters == sum(map(len, TEXTS))


def test_the_order_of_documents_does_not_decide() -> None:
    forward = draw_sample(lambda: iter(TEXTS), characters=3_000, seed=1)
    backward = draw_sample(lambda: iter(TEXTS[::-1]), characters=3_000, seed=1)
    assert forward.documents == backward.documents[::-1]
    assert 3_000 <= forward.characters < 3_000 + max(map(len, TEXTS))


def test_a_larger_sample_holds_the_smaller_and_seeds_differ() -> None:
    small = draw_sample(lambda: iter(TEXTS), characters=1_000, seed=1).documents
    large = draw_sample(lambda: iter(TEXTS), characters=5_000, seed=1).documents
    other = draw_sample(lambda: iter(TEXTS), characters=1_000, seed=2).documents
    assert set(small) < set(large)
    assert small != other


def test_an_empty_corpus_is_refused() -> None:
    with pytest.raises(ValueError, match="expand: the corpus has 2 documents to learn on and no text"):
        draw_sample(lambda: iter(["", ""]), characters=10, seed=1)


def test_held_out_documents_are_never_learned_on() -> None:
    """Their fertility and loss are what the expansion is judged by."""
    documents = [(number.to_bytes(16, "big"), text) for number, text in enumerate(TEXTS)]
    held_out = {text for id_, text in documents if is_validation(id_, 0.2)}
    assert 30 < len(held_out) < 90
    sample = draw_sample(lambda: learnable(documents, 0.2), characters=10**9, seed=1)
    assert sample.documents == [text for text in TEXTS if text not in held_out]
    assert draw_sample(lambda: learnable(documents, 0.0), characters=10**9, seed=1).documents == TEXTS

"""What is dropped when parts are merged, and which copy stays."""

from __future__ import annotations

import numpy as np

from tasks.binarize.merge import PartRows, select

THRESHOLD = 100


def rows(*documents: tuple[int, int], ids: list[int] | None = None) -> PartRows:
    """(text, split hash) of each document; equal texts are equal numbers."""
    texts = np.array([(text % 3, text) for text, _ in documents], np.uint64).reshape(-1, 2)
    keys = np.array([(7, key) for key in ids or range(len(documents))], np.uint64).reshape(-1, 2)
    return PartRows(keys, texts, np.array([split for _, split in documents], np.uint64))


def test_the_first_copy_stays_on_the_side_its_id_puts_it() -> None:
    (selection,) = select([rows((1, 500), (2, 50), (1, 50), (2, 500), (3, 99), (4, 100))], THRESHOLD)
    assert selection.train.tolist() == [True, False, False, False, False, True]
    assert selection.validation.tolist() == [False, True, False, False, True, False]
    assert selection.duplicate.tolist() == [False, False, True, True, False, False]
    assert not selection.held_out_elsewhere.any()


def test_a_text_held_out_by_one_source_is_trained_on_by_none() -> None:
    first, second = select([rows((1, 50), (2, 500), (3, 500)), rows((1, 500), (2, 500), (3, 50))], THRESHOLD)
    assert first.train.tolist() == [False, True, False]
    assert first.held_out_elsewhere.tolist() == [False, False, True]
    assert second.train.tolist() == [False, True, False]
    assert second.held_out_elsewhere.tolist() == [True, False, False]
    assert second.validation.tolist() == [False, False, True]


def test_texts_that_share_half_a_hash_are_different_texts() -> None:
    first, second = select([rows((1, 50), (4, 500)), rows((7, 500), (10, 50))], THRESHOLD)
    assert first.train.tolist() == [False, True]
    assert second.train.tolist() == [True, False]


def test_every_document_has_one_fate() -> None:
    random = np.random.default_rng(5)
    sources = [rows(*zip(random.integers(0, 60, 200), random.integers(0, 500, 200), strict=True)) for _ in range(3)]
    for selection, source in zip(select(sources, THRESHOLD), sources, strict=True):
        fates = [selection.train, selection.validation, selection.duplicate, selection.held_out_elsewhere]
        assert (np.sum(fates, axis=0) == 1).all()
        texts = source.text_hashes[:, 1].tolist()
        assert selection.duplicate.tolist() == [text in texts[:row] for row, text in enumerate(texts)]


def test_shared_ids_are_marked_once_each() -> None:
    (selection,) = select([rows((1, 500), (2, 500), (3, 500), (1, 500), ids=[5, 5, 6, 5])], THRESHOLD)
    assert selection.shared_id.tolist() == [False, True, False, False]  # the last is a duplicate anyway


def test_sources_without_documents() -> None:
    empty, full = select([rows(), rows((1, 50))], THRESHOLD)
    assert empty.train.shape == (0,)
    assert full.validation.tolist() == [True]

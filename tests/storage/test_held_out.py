"""Membership of the validation split: a pure function of the document's id."""

from __future__ import annotations

import pytest

from storage.documents import document_id
from storage.held_out import is_validation, split_hash

IDS = [document_id("B.warc.gz", offset) for offset in range(20_000)]


def test_membership_is_known_and_stays() -> None:
    """Fails when the hash changes: documents trained on before would then be measured on."""
    assert split_hash(bytes(16)) == 13716382589137775808
    assert split_hash(document_id("A.warc.gz", 0)) == 13241654773582205935


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.5])
def test_the_share_held_out_is_the_ratio(ratio: float) -> None:
    held_out = sum(is_validation(document, ratio) for document in IDS)
    assert abs(held_out / len(IDS) - ratio) < 4 * (ratio * (1 - ratio) / len(IDS)) ** 0.5


def test_a_larger_ratio_only_adds_documents() -> None:
    small = {document for document in IDS if is_validation(document, 0.02)}
    large = {document for document in IDS if is_validation(document, 0.05)}
    assert small < large

"""Which documents are held out: those whose id hashes below the validation ratio.

A pure function of the document's id, so a document stays on its side when crawls are added, sources
reordered or the tokenizer changed, and a larger ratio only adds documents to those held out before.

    if is_validation(document_id, 0.02): ...
"""

from __future__ import annotations

import xxhash

# Ids are xxh3 hashes themselves; a seed of its own keeps the split independent of whatever else they decide.
SPLIT_SEED = 0x68696261


def split_hash(document_id: bytes) -> int:
    """Where a document stands between 0 and 2**64: xxh3-64 of its id."""
    return xxhash.xxh3_64_intdigest(document_id, seed=SPLIT_SEED)


def validation_threshold(ratio: float) -> int:
    """Documents whose `split_hash` lies below are held out."""
    return int(ratio * 2**64)


def is_validation(document_id: bytes, ratio: float) -> bool:
    return split_hash(document_id) < validation_threshold(ratio)

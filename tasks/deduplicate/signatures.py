"""MinHash signatures of documents, folded to one 64-bit hash a band.

A document's shingles are its character n-grams (code points, no normalisation); a text shorter than one n-gram is
its own only shingle, so that short texts do not all collide. Shingles are hashed by xxh3 (lowest 32 bits, as
datasketch's affine32 scheme wants), permuted by datasketch, and each band's `rows` minima are hashed by xxh3 to
64 bits: what two near-duplicates share is one such number at the same band.

The scheme's name is part of what the stage's fingerprint covers: signatures of two schemes cannot be compared.

    signer = Signer(ngram=5, bands=40, rows=20)
    signer.bands_of("吾輩は猫である。")      # uint64 (40,)
"""

from __future__ import annotations

import numpy as np
import xxhash
from datasketch import MinHash

SCHEME = "datasketch-affine32-xxh3-codepoints-1"
_SEED = 1


class Signer:
    """Computes band hashes; holds the permutations, which cost more than a document."""

    def __init__(self, *, ngram: int, bands: int, rows: int) -> None:
        self._ngram, self._bands, self._rows = ngram, bands, rows
        self._empty = MinHash(num_perm=bands * rows, seed=_SEED, hashfunc=_hash32, scheme="affine32")

    def bands_of(self, text: str) -> np.ndarray:
        """uint64 (bands,): equal numbers at the same position mean a shared bucket."""
        minhash = self._empty.copy()
        minhash.update_batch(list(shingles(text, self._ngram)))
        rows = np.ascontiguousarray(minhash.hashvalues, dtype="<u4").reshape(self._bands, self._rows)
        return np.array([xxhash.xxh3_64_intdigest(row.tobytes()) for row in rows], dtype=np.uint64)


def shingles(text: str, ngram: int) -> set[bytes]:
    """The distinct character n-grams of a text, in UTF-8; the text itself where it is shorter than one."""
    if len(text) <= ngram:
        return {text.encode()}
    return {text[start : start + ngram].encode() for start in range(len(text) - ngram + 1)}


def exact_digest(text: str) -> bytes:
    """16 bytes equal for texts that differ in white space only."""
    return xxhash.xxh3_128_digest("".join(text.split()).encode())


def _hash32(shingle: bytes) -> int:
    return xxhash.xxh3_64_intdigest(shingle) & 0xFFFFFFFF

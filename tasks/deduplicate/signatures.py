"""MinHash signatures of documents, folded to one 64-bit hash a band, and the digest that finds exact copies.

A document's shingles are its character n-grams (code points, no normalisation); a text no longer than one n-gram is
its own only shingle, so that short texts do not all collide. Shingles are hashed by xxh3 (lowest 32 bits), permuted
as datasketch 2's `affine32` scheme with seed 1 does, and each band's `rows` minima are hashed by xxh3 to 64 bits:
what two near-duplicates share is one such number at the same band. `tasks.deduplicate.kernel` computes them; with
kind `datasketch` that library does: 35 times slower at 800 hashes, and the same numbers.

The scheme's name is part of what the stage's fingerprint covers and of every index: signatures of two schemes cannot be
compared.

    signer = Signer(ngram=5, bands=40, rows=20)
    signer.sign(pa.array(["吾輩は猫である。"])).bands      # uint64 (1, 40)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import xxhash

if TYPE_CHECKING:
    from datasketch import MinHash

SCHEME = "datasketch-affine32-xxh3-codepoints-1"
SEED = 1  # of the permutations
_HIGHEST = 0xFFFFFFFF  # where every minimum starts
_MINIMA_AT_A_TIME = 1 << 16  # of a call of the kernel: 256 KiB, which with the texts stay in a second-level cache


@dataclass(frozen=True)
class Signed:
    """Of n texts: `bands` uint64 (n, bands), `exact` uint8 (n, 16): equal for texts that differ in white space only."""

    bands: np.ndarray
    exact: np.ndarray


class Signer:
    """Computes signatures; holds the permutations."""

    def __init__(self, ngram: int, bands: int, rows: int, kind: Literal["hibari", "datasketch"] = "hibari") -> None:
        self._ngram, self._bands, self._rows = ngram, bands, rows
        self._factors, self._summands = permutations(bands * rows)
        self._datasketch = _empty_minhash(bands * rows) if kind == "datasketch" else None

    def sign(self, texts: pa.Array) -> Signed:
        """Band hashes and exact digests of all texts.

        Args:
            texts: strings or large strings without nulls; may be a slice.

        Raises:
            ValueError: a text is null or not UTF-8.
        """
        bands = np.empty((len(texts), self._bands), np.uint64)
        exact = np.empty((len(texts), 16), np.uint8)
        step = max(1, _MINIMA_AT_A_TIME // (self._bands * self._rows))
        for first in range(0, len(texts), step):
            some = texts.slice(first, step)
            bands[first : first + step] = self._band_hashes(self._minima(some))
            exact[first : first + step] = self._exact_digests(some)
        return Signed(bands, exact)

    def minhash(self, text: str) -> np.ndarray:
        """The signature that bands are cut from: uint32 (bands * rows,)."""
        return self._minima(pa.array([text], pa.string()))[0]

    def _minima(self, texts: pa.Array) -> np.ndarray:
        """uint32 (texts, bands * rows)."""
        octets, offsets = _buffers(texts)
        if self._datasketch is not None:
            return np.stack([_by_datasketch(self._datasketch, text, self._ngram) for text in texts.to_pylist()])
        from tasks.deduplicate.kernel import fill_minima

        minima = np.full((len(texts), self._bands * self._rows), _HIGHEST, np.uint32)
        broken = fill_minima(octets, offsets, self._ngram, self._factors, self._summands, minima)
        if broken >= 0:
            raise ValueError("a text is not UTF-8; write the documents again with a tool that checks it")
        return minima

    def _band_hashes(self, minima: np.ndarray) -> np.ndarray:
        """xxh3-64 of each band's minima, uint64 (texts, bands)."""
        if self._datasketch is not None:
            rows = minima.astype("<u4").reshape(-1, self._rows)
            hashes = [xxhash.xxh3_64_intdigest(row.tobytes()) for row in rows]
            return np.array(hashes, np.uint64).reshape(-1, self._bands)
        from tasks.deduplicate.kernel import fill_bands

        bands = np.empty((len(minima), self._bands), np.uint64)
        fill_bands(_read_only(minima.reshape(-1).view(np.uint8)), bands)
        return bands

    def _exact_digests(self, texts: pa.Array) -> np.ndarray:
        """`exact_digest` of each text, uint8 (texts, 16)."""
        if self._datasketch is not None:
            digests = list(map(exact_digest, texts.to_pylist()))
        else:
            from tasks.deduplicate.kernel import compact

            octets, offsets = _buffers(texts)
            left, ends = np.empty(int(offsets[-1] - offsets[0]), np.uint8), np.empty(len(offsets), np.int64)
            compact(octets, offsets, left, ends)
            digests = [xxhash.xxh3_128_digest(left.data[first:last]) for first, last in pairwise(ends.tolist())]
        return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)


def compile_ahead() -> None:
    """Have the kernel compiled and kept before workers start, which would each compile it."""
    Signer(1, 1, 1).sign(pa.array([""]))


def permutations(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors (odd) and summands of datasketch's affine32 permutations with seed 1: uint32 (number,) each."""
    generator = np.random.RandomState(SEED)
    factors = generator.randint(0, 1 << 31, number, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return factors, generator.randint(0, 1 << 32, number, dtype=np.uint32)


def to_datasketch(values: np.ndarray) -> MinHash:
    """A datasketch MinHash of `Signer.minhash`'s values, which datasketch can compare, store and index."""
    minhash = _empty_minhash(len(values))
    minhash.hashvalues = np.array(values, np.uint32)
    return minhash


def _empty_minhash(num_permutations: int) -> MinHash:
    from datasketch import MinHash

    return MinHash(num_permutations, seed=SEED, hashfunc=_hash32, scheme="affine32")


def _by_datasketch(empty: MinHash, text: str, ngram: int) -> np.ndarray:
    minhash = empty.copy()
    minhash.update_batch(list(shingles(text, ngram)))
    return minhash.hashvalues


def shingles(text: str, ngram: int) -> set[bytes]:
    """The distinct character n-grams of a text, in UTF-8; the text itself where it is no longer than one."""
    if len(text) <= ngram:
        return {text.encode()}
    return {text[start : start + ngram].encode() for start in range(len(text) - ngram + 1)}


def exact_digest(text: str) -> bytes:
    """16 bytes equal for texts that differ in white space only."""
    return xxhash.xxh3_128_digest("".join(text.split()).encode())


def _hash32(shingle: bytes) -> int:
    return xxhash.xxh3_64_intdigest(shingle) & 0xFFFFFFFF


def _buffers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of an Arrow string array, uint8, and the offsets between texts, int64 (texts + 1,)."""
    if texts.null_count:
        raise ValueError(f"{texts.null_count} of {len(texts)} documents have no text (null)")
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    _, offsets, data = texts.buffers()
    octets = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
    places = np.frombuffer(offsets, width, len(texts) + 1, texts.offset * np.dtype(width).itemsize)
    return _read_only(octets), places.astype(np.int64)


def _read_only(octets: np.ndarray) -> np.ndarray:
    """The kernel is compiled for arrays like an Arrow buffer; another kind would be compiled once more."""
    octets = octets.view()
    octets.setflags(write=False)
    return octets

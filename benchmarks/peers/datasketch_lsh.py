"""datasketch over document shards: MinHash of character n-grams by its scheme affine32 with xxh3, and its LSH.

    python datasketch_lsh.py KEPT.npy BANDS ROWS NGRAM SHARD...

A document is kept, and indexed, if no document indexed before shares a band with it. KEPT.npy gets a bool for each
document. One thread.
"""

from __future__ import annotations

import sys

import numpy as np
import pyarrow.parquet as pq
import xxhash
from datasketch import MinHash, MinHashLSH


def main(kept_path: str, bands: int, rows: int, ngram: int, shards: list[str]) -> None:
    """Decide which documents are kept."""
    empty = MinHash(num_perm=bands * rows, hashfunc=hash32, scheme="affine32")
    index = MinHashLSH(num_perm=bands * rows, params=(bands, rows))
    kept: list[bool] = []
    for shard in shards:
        for batch in pq.ParquetFile(shard).iter_batches(batch_size=2000, columns=["text"], use_threads=False):
            for text in batch.column("text").to_pylist():
                minhash = empty.copy()
                minhash.update_batch([shingle.encode() for shingle in shingles(text, ngram)])
                kept.append(not index.query(minhash))
                if kept[-1]:
                    index.insert(len(kept), minhash, check_duplication=False)
    np.save(kept_path, np.array(kept))


def shingles(text: str, ngram: int) -> set[str]:
    """The distinct character n-grams of a text."""
    return {text[start : start + ngram] for start in range(max(1, len(text) - ngram + 1))}


def hash32(shingle: bytes) -> int:
    """What the scheme permutes."""
    return xxhash.xxh3_64_intdigest(shingle) & 0xFFFFFFFF


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])

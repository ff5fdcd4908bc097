"""rensa over document shards: R-MinHash of character n-grams, its LSH, one document kept of those that share a band.

    python rensa_lsh.py KEPT.npy BANDS ROWS NGRAM SHARD...

Signatures are computed and indexed a batch at a time, as matrices, the fastest way that rensa has. Its flags mark every
member of a group, so for one to be kept the flagged documents (and no others) are sketched again as objects, which is
what its index takes as a query: a document goes if an earlier one shares a band with it. One thread. KEPT.npy gets a
bool for each document.
"""

from __future__ import annotations

import os
import sys

os.environ["RAYON_NUM_THREADS"] = "1"  # read when rensa first works

import numpy as np
import pyarrow.parquet as pq
from rensa import RMinHash, RMinHashLSH

SEED = 42
ROWS_AT_A_TIME = 2000


def main(kept_path: str, bands: int, rows: int, ngram: int, shards: list[str]) -> None:
    """Decide which documents are kept."""
    num_perm = bands * rows
    index = RMinHashLSH(threshold=0.8, num_perm=num_perm, num_bands=bands)
    kept: list[bool] = []
    for shard in shards:
        batches = pq.ParquetFile(shard).iter_batches(batch_size=ROWS_AT_A_TIME, columns=["text"], use_threads=False)
        for batch in batches:
            sets = [shingles(text, ngram) for text in batch.column("text").to_pylist()]
            matrix = RMinHash.digest_matrix_from_token_sets(sets, num_perm, SEED)
            first = len(kept)
            flags = index.insert_matrix_and_query_duplicate_flags(matrix, first)
            kept += [True] * len(sets)
            flagged = [place for place, is_flagged in enumerate(flags) if is_flagged]
            for place, sketch in zip(
                flagged, RMinHash.from_token_sets([sets[place] for place in flagged], num_perm, SEED), strict=True
            ):
                kept[first + place] = min(index.query(sketch)) >= first + place
    np.save(kept_path, np.array(kept))


def shingles(text: str, ngram: int) -> set[str]:
    """The distinct character n-grams of a text."""
    return {text[start : start + ngram] for start in range(max(1, len(text) - ngram + 1))}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])

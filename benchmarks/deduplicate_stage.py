"""The deduplicate stage alone, over any document shards, with refinement off: what `benchmarks.deduplicate` measures.

python -m benchmarks.deduplicate_stage OUT --bands 40 --rows 20 --workers 2 SHARD...
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of numpy and Arrow: a worker is one core

import numpy as np
import pyarrow.parquet as pq

from storage.ledger import Rule
from tasks.shards import ExecutorConfig


def main(arguments: Sequence[str] | None = None) -> None:
    """Deduplicate."""
    from tasks.deduplicate.config import DeduplicateConfig, VerifyConfig
    from tasks.deduplicate.deduplicate import deduplicate
    from tasks.refine.config import RefineConfig

    options = _parser().parse_args(arguments)
    config = DeduplicateConfig(
        ngram=options.ngram, bands=options.bands, rows=options.rows, verify=VerifyConfig(enabled=options.verify)
    )
    refine = RefineConfig.model_validate(
        {
            "hosts": {"files": (), "patterns": ()},
            "boilerplate": {"enabled": False},
            "japanese_punctuation": False,
            "footer": {"files": ()},
            "pii": {"enabled": False},
        }
    )
    deduplicate(
        options.shards,
        config,
        refine,
        out=str(options.out),
        executor=ExecutorConfig(workers=options.workers),
        pairs_per_bin=options.s_curve,
    )


def kept_documents(out: Path) -> np.ndarray:
    """Which documents the stage kept, bool (documents,), in the order of the shards, by its ledger."""
    ledgers = sorted((out / "ledger").glob("*.parquet"))
    rules = [pq.read_table(ledger, columns=["rule"]).column("rule").to_numpy() for ledger in ledgers]
    return np.concatenate(rules) == Rule.KEPT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("shards", nargs="+")
    parser.add_argument("--ngram", type=int, default=5)
    parser.add_argument("--bands", type=int, default=40)
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--verify", action="store_true", help="compare the texts of documents that share a bucket")
    parser.add_argument("--s-curve", type=int, default=0, metavar="N", help="measure it with N planted pairs a bin")
    parser.add_argument("--workers", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()

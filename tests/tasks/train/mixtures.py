"""Mixtures of random tokens on disk, for the tiny model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from storage.mixture_plan import MixturePlan
from storage.mixture_writer import write_plan, write_split
from tests.storage.token_sources import Source, write_sources


def write_mixture(root: Path, num_samples: int = 64, validation_samples: int = 0) -> str:
    """A mixture of random tokens of the tiny model's vocabulary."""
    random = np.random.default_rng(0)

    def documents(count: int) -> list[list[int]]:
        return [random.integers(0, 96, 40).tolist() for _ in range(count)]

    sources = [
        Source(name, language, documents(count), documents(count // 4))
        for name, language, count in (("corpus", "ja", 40), ("web-en", "en", 12))
    ]
    binarized, out = str(root / "binarize/b"), str(root / "mix/m")
    catalog = write_sources(binarized, sources)
    plan = MixturePlan(16, 1, {})
    for split, count in (("train", num_samples), ("validation", validation_samples)):
        if count:
            plan.splits[split], _ = write_split(out, split, plan, binarized, catalog, [0.8, 0.2], num_samples=count)
    write_plan(out, plan)
    return out

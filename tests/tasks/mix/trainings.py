"""Runs of the mix stage that continue one another, without the trainings between them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from storage.artifact import Manifest, Outcome, seal
from storage.mixture import Mixture
from tasks.mix.config import MixConfig
from tasks.mix.mix import mix
from tests.storage.token_sources import Source, write_sources
from trainer.batch_ramp import BatchRamp


class Run:
    """A root in which mixtures are made one after the other."""

    def __init__(self, root: Path, sources: Sequence[Source], name: str = "b-0") -> None:
        self.root = root
        self.mixtures: list[str] = []
        self.tokenize(sources, name)

    def tokenize(self, sources: Sequence[Source], name: str) -> None:
        """Make token files; later mixtures are of these."""
        self.binarized = str(self.root / "binarize" / name)
        write_sources(self.binarized, sources)

    def mix(
        self,
        weights: Mapping[str, float],
        *,
        seq_len: int = 8,
        batch: int = 1,
        ramp: BatchRamp | None = None,
        step: int | None = None,
        **config: Any,
    ) -> Outcome:
        """The next mixture; with a `step` it continues the last one after it. `samples` gives the budget."""
        number = len(self.mixtures)
        out = self.root / "mix" / f"m-{number:012}"
        if (samples := config.pop("samples", None)) is not None:
            config["train_tokens"] = samples * seq_len
        if step is not None:
            config["continues"] = {"training": self.training(number - 1), "step": step}
        ceilings, seed = config.pop("ceilings", None), config.pop("seed", 7)
        settings = MixConfig(**{"validation_tokens": 0, "max_epochs": 100} | config)
        outcome = mix(
            self.binarized, weights, settings,
            seq_len=seq_len, seed=seed, out=str(out), global_batch=batch, batch_ramp=ramp, ceilings=ceilings,
        )  # fmt: skip
        fingerprint = f"{number:012}" + "0" * 52
        literals: dict[str, Any] = {"global_batch": batch, "seq_len": seq_len}
        literals |= {"batch_ramp": ramp.model_dump()} if ramp else {}
        made: dict[str, Any] = {
            "files": outcome.files,
            "counts": outcome.counts,
            "details": outcome.details,
            "content_digest": "",
        }
        manifest = Manifest("mix", "m", fingerprint, "2", literals, {}, {}, started="", seconds=0.0, **made)
        seal(str(out), manifest)
        self.mixtures.append(str(out))
        return outcome

    def training(self, number: int) -> str:
        """The work folder of a training on that mixture."""
        folder = self.root / "train" / f"m-{number:012}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "job.json").write_text(json.dumps({"mixture": self.mixtures[number]}))
        return str(folder)

    def targets(self, number: int, first: int, last: int) -> Counter[int]:
        """How often each token was a target in samples [first, last) of that mixture."""
        return targets(self.mixtures[number], first, last)


def targets(mixture: str, first: int, last: int, split: str = "train") -> Counter[int]:
    """How often each token was a target in samples [first, last), read sample by sample."""
    counts: Counter[int] = Counter()
    with Mixture.open(mixture, split) as order:
        for number in range(first, last):
            sample = order[number]
            counts.update(sample.tokens[1 : len(sample.tokens) - sample.padding].tolist())
    return counts

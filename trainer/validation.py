"""Loss on held-out text while training: per language, in nats per token and bits per byte.

In: the mixture's validation split, of which the first `validation_samples` are read: the order blends the sources by
their weights from the first sample on, so every language is in there as it is in training. Out: for each language its
mean loss, its bits per byte where the language's bytes per token are known, and the tokens both are taken over.

Every data-parallel rank reads its part. Where the samples do not share out evenly, the last batch is filled up with
copies that have no targets and so weigh nothing: the figures are the same under any layout, but for rounding.

    held_out = open_validation(job, mesh)
    found = validate(engine, held_out, job, mesh)     # {"ja": {"loss": 2.1, "bits_per_byte": 0.93, "tokens": 65536}}
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import torch

from storage.mixture import Mixture
from storage.mixture_plan import read_plan
from trainer.config import TrainConfig, TrainJob
from trainer.data import Batch, SampleOrder, make_batch
from trainer.loss import LossSums
from trainer.mesh import Mesh
from trainer.metrics import bits_per_byte

logger = logging.getLogger(__name__)

LanguageResult = dict[str, float]
SPLIT = "validation"


class Evaluates(Protocol):
    """What is needed of a `trainer.engine.Engine`."""

    def evaluate(self, batches: Iterable[Batch], losses: LossSums) -> None: ...


def open_validation(job: TrainJob, mesh: Mesh) -> Mixture | None:
    """The job's held-out samples; None where it asks for no validation, or where the mixture holds none."""
    if not job.train.validate_every:
        return None
    split = read_plan(job.mixture).splits.get(SPLIT)
    if split is None or split.num_samples <= split.first_sample:
        if mesh.is_first:
            logger.warning(
                "%s holds no sample for validation: training goes on without, and without a guard against forgetting; "
                "set mix.validation_tokens to at least %d, or train.validate_every to 0",
                job.mixture, job.train.seq_len,
            )  # fmt: skip
        return None
    return Mixture.open(job.mixture, SPLIT)


def validate(engine: Evaluates, mixture: SampleOrder, job: TrainJob, mesh: Mesh) -> dict[str, LanguageResult]:
    """Language -> `loss` (nats per token), `bits_per_byte` where known, `tokens`; every rank takes part and gets all.

    Languages that do not occur in the samples that are read are left out.
    """
    losses = LossSums(mixture.languages, mesh.device)
    engine.evaluate(validation_batches(mixture, job.train, mesh.place.dp, mesh.device), losses)
    _, per_language = losses.reduce(mesh)
    tokens, bits = losses.num_targets(), bits_per_byte(per_language, job.bytes_per_token)
    return {
        language: {
            "loss": loss,
            **({"bits_per_byte": bits[language]} if language in bits else {}),
            "tokens": tokens[language],
        }
        for language, loss in per_language.items()
    }


def validation_batches(
    mixture: SampleOrder, config: TrainConfig, dp_rank: int, device: torch.device
) -> Iterator[Batch]:
    """One rank's batches, each of `micro_batch` samples; every rank has as many."""
    for ids in validation_ids(mixture, config, dp_rank):
        yield make_batch([_sample(mixture, index) for index in ids], mixture, device)


def validation_ids(mixture: SampleOrder, config: TrainConfig, dp_rank: int) -> list[list[int | None]]:
    """The samples of one rank's batches, in order; None for one that fills up."""
    first = mixture.first_sample
    last = min(mixture.num_samples, first + config.validation_samples)
    per_pass = config.micro_batch * config.parallel.dp
    passes = -(-(last - first) // per_pass)
    filled: list[int | None] = [*range(first, last), *itertools.repeat(None, passes * per_pass - (last - first))]
    begin = config.micro_batch * dp_rank
    return [filled[at : at + config.micro_batch] for at in range(begin, len(filled), per_pass)]


def _sample(mixture: SampleOrder, index: int | None) -> Any:
    """A sample; in place of None the first, all of it padding."""
    if index is not None:
        return mixture[index]
    return replace(mixture[mixture.first_sample], padding=mixture.seq_len)

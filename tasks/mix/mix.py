"""mix: which source gives how many tokens, and the order in which training reads them.

In: a binarize artifact and a weight for each source to use, in tokens after tokenisation. Out:
`mixture.json`, the index arrays beside it (`storage.mixture_writer`), for training and, with the same
weights, for validation, and the consumption ledger. The token budget is cut to whole steps. A source that would have to
be read more often than its ceiling allows is an error that says what would fit. Validation reads each held-out document
at most once, unless a source holds out less than a single sample.

A mixture may continue that of an earlier training after some step: sample numbers go on, and of each source that was
read before, first what is left of the epoch that was begun is read (`storage.consumption`).

    outcome = mix(binarized, {"corpus": 0.9, "web-en": 0.1}, MixConfig(), seq_len=512, seed=1234, out=...)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from storage.artifact import Outcome, read_manifest
from storage.blend import normalised
from storage.consumption import Continuation, Ledger, Phase, write_ledger
from storage.continuation import continue_mixture, mixture_of
from storage.mixture_plan import MixturePlan, PlannedSource, SplitPlan
from storage.mixture_writer import write_plan, write_split
from storage.packing import PackingFacts, packing_facts
from storage.token_catalog import TokenSource, read_catalog, token_prefix
from storage.tokens import TokenFile
from storage.uri import join
from tasks.mix.budget import Supply, check_budget
from tasks.mix.config import MixConfig
from trainer.batch_ramp import BatchRamp, batch_of, samples_before, steps_for

logger = logging.getLogger(__name__)


def mix(
    binarized: str,
    weights: Mapping[str, float],
    config: MixConfig,
    *,
    seq_len: int,
    seed: int,
    out: str,
    global_batch: int = 1,
    batch_ramp: BatchRamp | None = None,
    ceilings: Mapping[str, float] | None = None,
) -> Outcome:
    """Plan the mixture and store its order below `out`.

    Args:
        weights: by source name; need not add up to 1. Their order is that of the mixture's sources.
        global_batch: sequences of an optimizer step; the samples make whole steps.
        batch_ramp: smaller steps at the beginning.
        ceilings: most epochs of single sources, by name; `config.max_epochs` of all others.

    Returns:
        counts `samples`, `tokens`, and of each source `samples_<name>`, `tokens_<name>` and
        `epochs_x1000_<name>`; the same with `validation_` before them; details `splits`, a table of each,
        and `phases`. Samples and epochs count from the run's beginning, tokens are this mixture's own.

    Raises:
        ValueError: weights of unknown sources, a budget below one step, already spent, or beyond what the sources hold;
            an earlier training that cannot be continued.
    """
    sources = _chosen(binarized, weights)
    num_steps = steps_for(config.train_tokens // seq_len, batch_ramp, global_batch)
    if num_steps == 0:
        batch = batch_of(1, batch_ramp, global_batch)
        raise ValueError(
            f"mix.train_tokens is {config.train_tokens}, less than one step of {batch} sequences of "
            f"{seq_len} tokens ({batch * seq_len}): raise it"
        )
    num_samples = samples_before(num_steps + 1, batch_ramp, global_batch)
    continued, ledger = _continuation(config, binarized, sources, num_steps, seq_len, global_batch, batch_ramp)
    first = continued.samples if continued else 0
    supplies = _supplies(binarized, sources, weights, config, ceilings or {}, continued, seq_len)
    check_budget([item.supply for item in supplies], (num_samples - first) * seq_len, first * seq_len)
    plan = MixturePlan(seq_len, seed, {}, config.packing, config.attention)
    shares = list(weights.values())
    plan.splits["train"], files = write_split(
        out, "train", plan, binarized, sources, shares,
        num_samples=num_samples, fills=[item.supply.fill for item in supplies], continued=continued,
    )  # fmt: skip
    if asked := config.validation_tokens // seq_len:
        plan.splits["validation"], written = _write_validation(out, plan, binarized, sources, shares, asked)
        files += written
    files.append(write_plan(out, plan))
    ledger.phases.append(_planned_phase(out, plan))
    files += write_ledger(out, ledger)
    outcome = Outcome(files=files, details=_details(config, seq_len, supplies, ledger))
    for split, planned in plan.splits.items():
        _count(outcome, split, planned, seq_len)
    return outcome


def _chosen(binarized: str, weights: Mapping[str, float]) -> list[TokenSource]:
    known = {source.name: source for source in read_catalog(binarized)}
    if missing := [name for name in weights if name not in known]:
        raise ValueError(f"mix: no tokens of {missing} in {binarized}, only of {sorted(known)}: run binarize again")
    return [known[name] for name in weights]


def _continuation(
    config: MixConfig,
    binarized: str,
    sources: Sequence[TokenSource],
    num_steps: int,
    seq_len: int,
    global_batch: int,
    batch_ramp: BatchRamp | None,
) -> tuple[Continuation | None, Ledger]:
    """What is continued, and the ledger up to there; an empty one for a run that begins."""
    if config.continues is None:
        return None, Ledger([], [])
    training, step = config.continues.training, config.continues.step
    mixture = mixture_of(training)
    manifest = read_manifest(mixture)
    assert manifest is not None, f"{mixture} was complete a moment ago"
    if (batch := int(manifest.literals["global_batch"])) != global_batch:
        raise ValueError(
            f"mix.continues: {training} has steps of {batch} samples, and train.global_batch is {global_batch}: keep "
            f"it, so that the numbers of steps and samples go on"
        )
    if (ramp := manifest.literals.get("batch_ramp")) != (batch_ramp and batch_ramp.model_dump(mode="json")):
        raise ValueError(
            f"mix.continues: {training} has train.batch_ramp {ramp or 'none'}, and here it is "
            f"{batch_ramp.model_dump() if batch_ramp else 'none'}: keep it, so that the numbers of steps and samples "
            f"go on"
        )
    first = samples_before(step + 1, batch_ramp, global_batch)
    if step >= num_steps:
        raise ValueError(
            f"mix.train_tokens is {config.train_tokens:,}, {num_steps:,} steps of {global_batch} sequences of "
            f"{seq_len} tokens counted from the first of {training}, and mix.continues.step is {step:,}: "
            f"nothing is left to train; raise mix.train_tokens above {first * seq_len:,}"
        )
    return continue_mixture(mixture, first, binarized, sources)


@dataclass(frozen=True)
class _Source:
    """A source's supply, and what either way of packing does to its documents."""

    supply: Supply
    facts: Mapping[str, PackingFacts]
    documents: int


def _supplies(
    binarized: str,
    sources: Sequence[TokenSource],
    weights: Mapping[str, float],
    config: MixConfig,
    ceilings: Mapping[str, float],
    continued: Continuation | None,
    seq_len: int,
) -> list[_Source]:
    found = []
    for source, weight in zip(sources, normalised(list(weights.values())), strict=True):
        facts = _packing_facts(binarized, source, "train", seq_len)
        history = continued.histories.get(source.name) if continued else None
        own = source.name in ceilings
        supply = Supply(
            source.name,
            weight,
            source.splits["train"].tokens,
            max_epochs=ceilings.get(source.name, config.max_epochs),
            setting=f"sources.{source.name}.max_epochs" if own else "mix.max_epochs",
            consumed=history.num_tokens if history else 0,
            fill=1 - facts[config.packing].padding,
        )
        found.append(_Source(supply, facts, source.splits["train"].documents))
    return found


def _packing_facts(binarized: str, source: TokenSource, split: str, seq_len: int) -> dict[str, PackingFacts]:
    with TokenFile.open(join(binarized, token_prefix(source.name, split))) as tokens:
        return packing_facts(tokens.document_lengths, seq_len)


def _write_validation(
    out: str,
    plan: MixturePlan,
    binarized: str,
    sources: Sequence[TokenSource],
    shares: Sequence[float],
    asked: int,
) -> tuple[SplitPlan, list]:
    """The held-out documents, in an order of their own that no continuation changes."""
    held_out = _held_out(sources, shares)
    fills = [
        1 - _packing_facts(binarized, source, "validation", plan.seq_len)[plan.packing].padding
        for source, _ in held_out
    ]
    return write_split(
        out,
        "validation",
        plan,
        binarized,
        [source for source, _ in held_out],
        [weight for _, weight in held_out],
        num_samples=_validation_samples(held_out, fills, asked, plan.seq_len),
        fills=fills,
    )


def _held_out(sources: Sequence[TokenSource], weights: Sequence[float]) -> list[tuple[TokenSource, float]]:
    """Sources that hold out anything, with their weights."""
    held_out = [
        (source, weight) for source, weight in zip(sources, weights, strict=True) if source.splits["validation"].tokens
    ]
    if not held_out:
        raise ValueError(
            "mix: no source holds out a document: raise binarize.validation_ratio, "
            "or set mix.validation_tokens to 0 to do without validation"
        )
    return held_out


def _validation_samples(
    held_out: Sequence[tuple[TokenSource, float]], fills: Sequence[float], asked: int, seq_len: int
) -> int:
    """As many as asked, but so few that no source is read twice; as many as there are sources at least."""
    shares = normalised([weight / fill for (_, weight), fill in zip(held_out, fills, strict=True)])
    once = min(
        int((source.splits["validation"].tokens / fill - 1) // seq_len / share)
        for (source, _), share, fill in zip(held_out, shares, fills, strict=True)
    )
    num_samples = max(min(asked, once), len(held_out))
    if num_samples < asked:
        logger.warning(
            "validation reads %d samples of %d tokens instead of %d: no more is held out at these weights",
            num_samples,
            seq_len,
            asked,
        )
    return num_samples


def _planned_phase(out: str, plan: MixturePlan) -> Phase:
    """This mixture as the run's last phase, as if all of it had been read."""
    split = plan.splits["train"]

    def by_name(value: Callable[[PlannedSource], Any]) -> dict[str, Any]:
        return {source.name: value(source) for source in split.sources}

    return Phase(
        mixture=out.rstrip("/").rpartition("/")[2],
        digest=split.digest,
        first_sample=split.first_sample,
        end_sample=split.num_samples,
        seq_len=plan.seq_len,
        packing=plan.packing,
        weights=by_name(lambda source: source.weight),
        tokens=by_name(lambda source: source.targets),
        epochs=by_name(lambda source: round(source.epochs_in_all, 6)),
    )


def _details(config: MixConfig, seq_len: int, sources: Sequence[_Source], ledger: Ledger) -> dict[str, Any]:
    """What the report shows beside the splits."""
    return {
        "seq_len": seq_len,
        "packing": config.packing,
        "attention": config.attention,
        "packings": {
            packing: {item.supply.name: asdict(item.facts[packing]) for item in sources}
            for packing in ("concatenate", "best_fit")
        },
        "phases": [asdict(phase) for phase in ledger.phases],
        "splits": {},
    }


def _count(outcome: Outcome, split: str, plan: SplitPlan, seq_len: int) -> None:
    prefix = "" if split == "train" else f"{split}_"
    counts = outcome.counts
    here = plan.num_samples - plan.first_sample
    counts[f"{prefix}samples"] = plan.num_samples
    counts[f"{prefix}tokens"] = sum(source.targets for source in plan.sources)
    table = []
    for source in plan.sources:
        counts[f"{prefix}samples_{source.name}"] = source.samples
        counts[f"{prefix}tokens_{source.name}"] = source.targets
        counts[f"{prefix}epochs_x1000_{source.name}"] = round(source.epochs_in_all * 1000)
        table.append(
            {
                "name": source.name,
                "language": source.language,
                "weight": source.weight,
                "achieved": source.targets / counts[f"{prefix}tokens"],
                "tokens": source.targets,
                "available_tokens": source.num_tokens,
                "epochs": round(source.epochs_in_all, 6),
                "consumed_before": source.consumed,
                "padding": 1 - source.targets / max(source.samples * seq_len, 1),
            }
        )
    outcome.details["splits"][split] = {
        "num_samples": plan.num_samples,
        "first_sample": plan.first_sample,
        "digest": plan.digest,
        "continues": plan.continues,
        "max_deviation_samples": plan.max_deviation,
        "padding": 1 - counts[f"{prefix}tokens"] / (here * seq_len),
        "sources": table,
    }

"""mix: which source gives how many tokens, and the order in which training reads them.

In: a binarize artifact and a weight for each source to use, in tokens after tokenisation. Out:
`mixture.json` and the index arrays beside it (`storage.mixture_plan`), for training and, with the same
weights, for validation. The token budget is cut to whole steps. A source that would have to be read more
than `max_epochs` times is an error that says what would fit. Validation reads each held-out document at
most once, unless a source holds out less than a single sample.

    outcome = mix(binarized, {"corpus": 0.9, "web-en": 0.1}, MixConfig(), seq_len=512, seed=1234, out=...)
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from storage.artifact import Outcome
from storage.mixture_plan import MixturePlan, SplitPlan, write_plan, write_split
from storage.sample_order import normalised
from storage.token_catalog import TokenSource, read_catalog
from tasks.mix.config import MixConfig

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
) -> Outcome:
    """Plan the mixture and store its order below `out`.

    Args:
        weights: by source name; need not add up to 1. Their order is that of the mixture's sources.
        global_batch: sequences of an optimizer step; the number of samples is a multiple of it.

    Returns:
        counts `samples`, `tokens`, and of each source `samples_<name>`, `tokens_<name>` and
        `epochs_x1000_<name>`; the same with `validation_` before them; details `splits`, a table of each.

    Raises:
        ValueError: weights of unknown sources, a budget below one step or beyond what the sources hold.
    """
    sources = _chosen(binarized, weights)
    shares = list(weights.values())
    num_samples = config.train_tokens // (seq_len * global_batch) * global_batch
    if num_samples == 0:
        raise ValueError(
            f"mix.train_tokens is {config.train_tokens}, less than one step of {global_batch} sequences of "
            f"{seq_len} tokens ({global_batch * seq_len}): raise it"
        )
    _check_budget(sources, normalised(shares), num_samples * seq_len, config.max_epochs)
    splits: dict[str, SplitPlan] = {}
    splits["train"], files = write_split(
        out, "train", binarized, sources, shares, num_samples=num_samples, seq_len=seq_len, seed=seed
    )
    if asked := config.validation_tokens // seq_len:
        held_out = _held_out(sources, shares)
        splits["validation"], written = write_split(
            out,
            "validation",
            binarized,
            [source for source, _ in held_out],
            [weight for _, weight in held_out],
            num_samples=_validation_samples(held_out, asked, seq_len),
            seq_len=seq_len,
            seed=seed,
        )
        files += written
    files.append(write_plan(out, MixturePlan(seq_len, seed, splits)))
    outcome = Outcome(files=files, details={"seq_len": seq_len, "splits": {}})
    for split, plan in splits.items():
        _count(outcome, split, plan, seq_len)
    return outcome


def _chosen(binarized: str, weights: Mapping[str, float]) -> list[TokenSource]:
    known = {source.name: source for source in read_catalog(binarized)}
    if missing := [name for name in weights if name not in known]:
        raise ValueError(f"mix: no tokens of {missing} in {binarized}, only of {sorted(known)}: run binarize again")
    return [known[name] for name in weights]


def _check_budget(sources: Sequence[TokenSource], shares: Sequence[float], budget: int, max_epochs: float) -> None:
    """No source is asked for more than `max_epochs` times its tokens.

    Raises:
        ValueError: with a line for each source that runs out, and the budget that would fit all.
    """
    problems = []
    for source, share in zip(sources, shares, strict=True):
        available = source.splits["train"].tokens
        needed = share * budget
        if needed <= available * max_epochs:
            continue
        problems.append(
            f"source {source.name!r} runs out: {share:.4g} of {budget:,} tokens is {needed:,.0f}, and it has "
            f"{available:,}, {needed / max(available, 1):.2f} epochs where mix.max_epochs is {max_epochs:g}; "
            f"{needed - available * max_epochs:,.0f} tokens are missing (a share of at most "
            f"{available * max_epochs / budget:.4g} would fit)"
        )
    if problems:
        fits = min(
            int(source.splits["train"].tokens * max_epochs / share)
            for source, share in zip(sources, shares, strict=True)
        )
        problems.append(
            f"at these weights mix.train_tokens may be at most {fits:,}: lower it, change the weights, "
            "add documents or raise mix.max_epochs"
        )
        raise ValueError("mix: " + "\n".join(problems))


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


def _validation_samples(held_out: Sequence[tuple[TokenSource, float]], asked: int, seq_len: int) -> int:
    """As many as asked, but so few that no source is read twice; as many as there are sources at least."""
    shares = normalised([weight for _, weight in held_out])
    once = min(
        int((source.splits["validation"].tokens - 1) // seq_len / share)
        for (source, _), share in zip(held_out, shares, strict=True)
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


def _count(outcome: Outcome, split: str, plan: SplitPlan, seq_len: int) -> None:
    prefix = "" if split == "train" else f"{split}_"
    counts = outcome.counts
    counts[f"{prefix}samples"] = plan.num_samples
    counts[f"{prefix}tokens"] = plan.num_samples * seq_len
    table = []
    for source in plan.sources:
        counts[f"{prefix}samples_{source.name}"] = source.samples
        counts[f"{prefix}tokens_{source.name}"] = source.samples * seq_len
        counts[f"{prefix}epochs_x1000_{source.name}"] = round(source.epochs * 1000)
        table.append(
            {
                "name": source.name,
                "language": source.language,
                "weight": source.weight,
                "achieved": source.samples / plan.num_samples,
                "tokens": source.samples * seq_len,
                "available_tokens": source.num_tokens,
                "epochs": source.epochs,
            }
        )
    outcome.details["splits"][split] = {
        "num_samples": plan.num_samples,
        "digest": plan.digest,
        "max_deviation_samples": plan.max_deviation,
        "sources": table,
    }

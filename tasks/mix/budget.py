"""Whether the sources hold what is asked of them, and what would fit where they do not.

In: per source its weight, tokens, ceiling of epochs and what was read of it before. Out: nothing, or an error that says
for each source that runs out how many tokens are missing and the largest share that fits; then the largest budget at
these weights, and weights that fill the budget, where there are any.

    check_budget([Supply("corpus", 0.9, tokens=10**9, max_epochs=4)], positions=10**9)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Proposed shares stay this much below what would just fit, so that they still do once they are printed and scaled.
MARGIN = 1e-4


@dataclass(frozen=True)
class Supply:
    """One source of the mixture.

    Attributes:
        weight: share of the tokens, all together 1.
        tokens: an epoch of it.
        max_epochs: passes over it in the whole run.
        setting: the field that says so.
        consumed: tokens that the run has read of it before, each as often as it was.
        fill: part of its samples that is not padding.
    """

    name: str
    weight: float
    tokens: int
    max_epochs: float
    setting: str = "mix.max_epochs"
    consumed: int = 0
    fill: float = 1.0

    @property
    def left(self) -> float:
        """Tokens that may still be read."""
        return max(self.tokens * self.max_epochs - self.consumed, 0.0)


def positions_per_token(supplies: Sequence[Supply]) -> float:
    """Positions of samples that it takes to read a token at these weights: 1, and more where there is padding."""
    return sum(supply.weight / supply.fill for supply in supplies)


def check_budget(supplies: Sequence[Supply], positions: int, positions_before: int = 0) -> None:
    """No source is asked for more than its ceiling.

    Args:
        positions: to be read, padding counted.
        positions_before: that the run has read before.

    Raises:
        ValueError: with a line for each source that runs out, and what would fit.
    """
    per_token = positions_per_token(supplies)
    budget = positions / per_token
    problems = [_problem(supply, budget) for supply in supplies if supply.weight * budget > supply.left]
    if not problems:
        return
    fits = min(supply.left / supply.weight for supply in supplies) * per_token
    problems.append(
        f"at these weights mix.train_tokens may be at most {positions_before + int(fits):,}: lower it, change the "
        "weights, add documents or raise the ceiling"
    )
    problems.append(_proposal(supplies, budget, positions_before))
    raise ValueError("mix: " + "\n".join(problems))


def _problem(supply: Supply, budget: float) -> str:
    needed, had = supply.weight * budget, supply.consumed
    read = f" and has read {had:,} before" if had else ""
    return (
        f"source {supply.name!r} runs out: {supply.weight:.4g} of {budget:,.0f} tokens is {needed:,.0f}, and it has "
        f"{supply.tokens:,}{read}, {(needed + had) / max(supply.tokens, 1):.2f} epochs where {supply.setting} is "
        f"{supply.max_epochs:g}; {needed - supply.left:,.0f} tokens are missing (a share of at most "
        f"{supply.left / budget:.4g} would fit)"
    )


def _proposal(supplies: Sequence[Supply], budget: float, positions_before: int) -> str:
    """Weights that fill the budget, as near to those given as may be; or that there are none."""
    shares = fitting_shares([supply.weight for supply in supplies], [supply.left / budget for supply in supplies])
    if shares is None:
        most = positions_before + int(sum(supply.left / supply.fill for supply in supplies))
        return f"no weights fill it: up to their ceilings all sources together make {most:,} tokens"
    named = [f"{supply.name} {share:.6g}" for supply, share in zip(supplies, shares, strict=True) if share > 0]
    gone = [supply.name for supply, share in zip(supplies, shares, strict=True) if share <= 0]
    without = f"; without {', '.join(gone)}, of which all was read" if gone else ""
    return f"weights that fit this budget: {', '.join(named)}{without}"


def fitting_shares(shares: Sequence[float], largest: Sequence[float]) -> list[float] | None:
    """Shares that add up to 1, none above its largest: what one cannot give, the others give in proportion.

    Returns:
        None where all together cannot give 1.
    """
    limits = [limit * (1 - MARGIN) for limit in largest]
    if sum(limits) < 1:
        return None
    fixed: dict[int, float] = {}
    while True:
        free = [number for number in range(len(shares)) if number not in fixed]
        rest = 1 - sum(fixed.values())
        weight = sum(shares[number] for number in free)
        found = {number: shares[number] / weight * rest for number in free}
        over = [number for number in free if found[number] > limits[number]]
        if not over:
            return [(fixed | found)[number] for number in range(len(shares))]
        fixed |= {number: limits[number] for number in over}

"""Running out of tokens: what is missing, and proposals that hold."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.mix.budget import Supply, check_budget, fitting_shares, positions_per_token


def proposed(message: str) -> dict[str, float]:
    """The weights that an error proposes."""
    words = message.split("weights that fit this budget: ")[1].split(";")[0].split(", ")
    return {name: float(share) for name, share in (word.split(" ") for word in words)}


def supplies(weights: dict[str, float], **changes: object) -> list[Supply]:
    held = {"corpus": 10_000, "web-en": 2_500, "arxiv": 400}
    total = sum(weights.values())
    return [Supply(name, weight / total, held[name], 2.0, **changes) for name, weight in weights.items()]  # type: ignore[arg-type]


def test_enough_is_no_problem() -> None:
    check_budget(supplies({"corpus": 0.8, "web-en": 0.2}), 25_000)


def test_what_is_missing_and_what_would_fit() -> None:
    weights = {"corpus": 0.5, "web-en": 0.3, "arxiv": 0.2}
    with pytest.raises(ValueError, match="runs out") as caught:
        check_budget(supplies(weights), 20_000)
    message = str(caught.value)
    assert "'web-en' runs out: 0.3 of 20,000 tokens is 6,000, and it has 2,500, 2.40 epochs" in message
    assert "1,000 tokens are missing (a share of at most 0.25 would fit)" in message
    assert "'arxiv' runs out" in message
    assert "mix.train_tokens may be at most 4,000" in message
    found = proposed(message)
    assert found["arxiv"] == pytest.approx(0.04, rel=1e-3)
    assert found["web-en"] == pytest.approx(0.25, rel=1e-3)
    check_budget(supplies(found), 20_000)
    check_budget(supplies(weights), 4_000)


def test_no_ratio_is_proposed_where_none_fits() -> None:
    with pytest.raises(ValueError, match="no weights fill it: up to their ceilings all sources together make 25,000"):
        check_budget(supplies({"corpus": 0.5, "web-en": 0.5}), 25_001)


@pytest.mark.parametrize("seed", range(50))
def test_proposals_hold_and_keep_the_ratio_of_what_is_not_short(seed: int) -> None:
    random = np.random.default_rng(seed)
    weights = random.random(int(random.integers(2, 8))) + 1e-3
    shares = list(weights / weights.sum())
    largest = list(random.random(len(shares)) * 1.2)
    found = fitting_shares(shares, largest)
    if found is None:
        assert sum(largest) < 1 + 1e-3
        return
    assert sum(found) == pytest.approx(1)
    assert all(share <= limit for share, limit in zip(found, largest, strict=True))
    free = [number for number, share in enumerate(found) if share < largest[number] * 0.999]
    ratios = [found[number] / shares[number] for number in free]
    assert ratios == pytest.approx([ratios[0]] * len(ratios)) if ratios else True


def test_a_ceiling_is_named_by_its_setting() -> None:
    held = [Supply("corpus", 1.0, 100, 1.5, setting="sources.corpus.max_epochs")]
    with pytest.raises(ValueError, match=r"2\.00 epochs where sources\.corpus\.max_epochs is 1\.5; 50 tokens are"):
        check_budget(held, 200)


def test_what_was_read_before_counts() -> None:
    held = [Supply("corpus", 0.5, 100, 2.0, consumed=150), Supply("web-en", 0.5, 1000, 2.0, consumed=2_100)]
    with pytest.raises(ValueError, match="runs out") as caught:
        check_budget(held, 40, positions_before=2_250)
    message = str(caught.value)
    assert "'web-en' runs out: 0.5 of 40 tokens is 20, and it has 1,000 and has read 2,100 before" in message
    assert "'corpus' runs out" not in message
    assert "mix.train_tokens may be at most 2,250" in message
    assert "weights that fit this budget: corpus 1; without web-en, of which all was read" in message


def test_padding_takes_positions() -> None:
    held = [Supply("corpus", 0.5, 1000, 1.0, fill=0.5), Supply("web-en", 0.5, 1000, 1.0)]
    assert positions_per_token(held) == 1.5
    check_budget(held, 3000)
    with pytest.raises(ValueError, match="may be at most 3,000"):
        check_budget(held, 3002)

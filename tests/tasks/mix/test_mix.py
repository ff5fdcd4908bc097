"""mix: the ratio in tokens, the budget, and what it says when a source runs out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from storage.artifact import Outcome, content_digest, file_entries
from storage.mixture import Mixture
from storage.mixture_plan import read_plan
from tasks.mix.config import MixConfig
from tasks.mix.mix import mix
from tests.storage.token_sources import Source, write_sources
from trainer.batch_ramp import BatchRamp

SEQ_LEN = 16


def documents(first: int, num: int, length: int = 25) -> list[list[int]]:
    return [list(range(first + number * length, first + (number + 1) * length)) for number in range(num)]


# 10,000 and 2,500 tokens to train on; 500 and 100 held out.
SOURCES = [
    Source("corpus", "ja", documents(0, 400), documents(40_000, 20)),
    Source("web-en", "en", documents(20_000, 100), documents(50_000, 4)),
]
WEIGHTS = {"corpus": 0.9, "web-en": 0.1}


def run(
    root: Path,
    weights: Mapping[str, float] = WEIGHTS,
    sources: list[Source] = SOURCES,
    *,
    global_batch: int = 1,
    batch_ramp: BatchRamp | None = None,
    seed: int = 1234,
    **config: Any,
) -> tuple[str, Outcome]:
    binarized, out = str(root / "binarize" / "b-1"), str(root / "mix" / "m-1")
    write_sources(binarized, sources)
    settings = MixConfig(**{"train_tokens": 8000, "validation_tokens": 320, **config})
    outcome = mix(
        binarized, weights, settings,
        seq_len=SEQ_LEN, seed=seed, out=out, global_batch=global_batch, batch_ramp=batch_ramp,
    )  # fmt: skip
    return out, outcome


def test_nine_to_one_to_the_sample(tmp_path: Path) -> None:
    out, outcome = run(tmp_path)
    assert outcome.counts["samples"] == 500
    assert outcome.counts["tokens"] == 8000
    assert (outcome.counts["samples_corpus"], outcome.counts["samples_web-en"]) == (450, 50)
    assert (outcome.counts["tokens_corpus"], outcome.counts["tokens_web-en"]) == (7200, 800)
    assert (outcome.counts["epochs_x1000_corpus"], outcome.counts["epochs_x1000_web-en"]) == (720, 320)
    read = np.array([sample.source for sample in Mixture.open(out)])
    share = np.cumsum(read == 1)
    assert (np.abs(share - 0.1 * np.arange(1, 501)) <= 1).all()
    details = outcome.details["splits"]["train"]
    assert details["digest"] == Mixture.open(out).digest
    assert details["max_deviation_samples"] == pytest.approx(0.8)
    assert [row["achieved"] for row in details["sources"]] == [0.9, 0.1]


def test_the_files_are_those_that_are_named(tmp_path: Path) -> None:
    out, outcome = run(tmp_path)
    assert file_entries(out, [entry.path for entry in outcome.files]) == sorted(
        outcome.files, key=lambda entry: entry.path
    )
    there = {path.relative_to(out).as_posix() for path in Path(out).rglob("*") if path.is_file()}
    assert there == {entry.path for entry in outcome.files}


def test_the_same_plan_is_the_same_bytes_wherever_the_root_lies(tmp_path: Path) -> None:
    digests = {content_digest(run(tmp_path / root)[1].files) for root in ("a", "b/c")}
    assert len(digests) == 1
    assert content_digest(run(tmp_path / "d", seed=5)[1].files) not in digests


@pytest.mark.parametrize("weights", [{"corpus": 9, "web-en": 1}, {"corpus": 1.8e9, "web-en": 0.2e9}])
def test_weights_are_scaled(tmp_path: Path, weights: dict[str, float]) -> None:
    plain, scaled = run(tmp_path / "a")[0], run(tmp_path / "b", weights)[0]
    assert Mixture.open(plain).digest == Mixture.open(scaled).digest


def test_weights_in_another_order_read_the_same_shares(tmp_path: Path) -> None:
    out, outcome = run(tmp_path, {"web-en": 0.1, "corpus": 0.9})
    assert Mixture.open(out).sources == ["web-en", "corpus"]
    assert (outcome.counts["samples_corpus"], outcome.counts["samples_web-en"]) == (450, 50)


def test_a_source_without_a_weight_is_left_out(tmp_path: Path) -> None:
    out, outcome = run(tmp_path, {"corpus": 1})
    assert Mixture.open(out).sources == Mixture.open(out, "validation").sources == ["corpus"]
    assert outcome.counts["samples_corpus"] == 500


def test_budget_is_cut_to_whole_steps(tmp_path: Path) -> None:
    _, outcome = run(tmp_path, global_batch=64)
    assert outcome.counts["samples"] == 448
    with pytest.raises(
        ValueError, match=r"train_tokens is 8000, less than one step of 501 sequences of 16 tokens \(8016\)"
    ):
        run(tmp_path / "b", global_batch=501)


def test_budget_is_cut_to_whole_steps_of_a_growing_batch(tmp_path: Path) -> None:
    """500 samples: two steps of 32 and one of 48, then six of 64; the 4 that are left make no other."""
    ramp = BatchRamp(start=32, increment=16, samples=90)
    _, outcome = run(tmp_path, global_batch=64, batch_ramp=ramp)
    assert outcome.counts["samples"] == 2 * 32 + 48 + 6 * 64
    with pytest.raises(ValueError, match=r"less than one step of 501 sequences of 16 tokens \(8016\)"):
        run(tmp_path / "b", global_batch=502, batch_ramp=BatchRamp(start=501, increment=1, samples=9))


def test_a_source_that_runs_out_says_how_much_is_missing_and_what_fits(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="runs out") as caught:
        run(tmp_path, {"corpus": 0.5, "web-en": 0.5}, train_tokens=32_000, max_epochs=2)
    message = str(caught.value)
    assert "source 'web-en' runs out: 0.5 of 32,000 tokens is 16,000, and it has 2,500, 6.40 epochs" in message
    assert "mix.max_epochs is 2; 11,000 tokens are missing (a share of at most 0.1562 would fit)" in message
    assert "'corpus'" not in message
    assert "train_tokens may be at most 10,000" in message
    assert not (tmp_path / "mix").exists()
    _, outcome = run(tmp_path, {"corpus": 0.5, "web-en": 0.5}, train_tokens=10_000, max_epochs=2)
    assert outcome.counts["epochs_x1000_web-en"] <= 2000


def test_every_source_that_runs_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="runs out") as caught:
        run(tmp_path, {"corpus": 0.5, "web-en": 0.5}, train_tokens=100_000, max_epochs=1)
    assert all(f"source '{name}' runs out" in str(caught.value) for name in WEIGHTS)


def test_unknown_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no tokens of \['arxiv'\] in .*, only of \['corpus', 'web-en'\]"):
        run(tmp_path, {"corpus": 0.9, "arxiv": 0.1})


def test_validation_reads_held_out_documents_at_most_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        out, outcome = run(tmp_path, validation_tokens=80_000)
    assert "instead of 5000" in caplog.text
    # 500 ja tokens hold 31 samples, 0.9 of the whole.
    assert outcome.counts["validation_samples"] == 34
    plan = read_plan(out).splits["validation"]
    assert all(source.epochs <= 1 for source in plan.sources)
    tokens = np.concatenate([sample.tokens[:-1] for sample in Mixture.open(out, "validation")])
    assert len(set(tokens)) == len(tokens)
    assert (tokens >= 40_000).all()


def test_a_language_that_holds_out_less_than_a_sample_is_still_measured(tmp_path: Path) -> None:
    sources = [SOURCES[0], Source("web-en", "en", SOURCES[1].train, [[50_000, 50_001, 50_002]])]
    out, _ = run(tmp_path, sources=sources)
    assert {sample.source for sample in Mixture.open(out, "validation")} == {0, 1}


def test_a_source_that_holds_out_nothing_leaves_validation_to_the_others(tmp_path: Path) -> None:
    sources = [SOURCES[0], Source("web-en", "en", SOURCES[1].train)]
    out, _ = run(tmp_path / "a", sources=sources)
    assert Mixture.open(out, "validation").languages == ["ja"]
    assert Mixture.open(out).languages == ["ja", "en"]
    nothing = [Source(source.name, source.language, source.train) for source in SOURCES]
    with pytest.raises(ValueError, match=r"no source holds out a document: raise binarize\.validation_ratio"):
        run(tmp_path / "b", sources=nothing)


def test_validation_can_be_left_out(tmp_path: Path) -> None:
    out, outcome = run(tmp_path, validation_tokens=0)
    assert list(read_plan(out).splits) == ["train"]
    assert not any("validation" in entry.path for entry in outcome.files)


@pytest.mark.parametrize("fields", [{"train_tokens": 0}, {"validation_tokens": -1}, {"max_epochs": 0}, {"epochs": 1}])
def test_config_mistakes_are_refused(fields: dict) -> None:
    with pytest.raises(ValidationError):
        MixConfig(**fields)


def test_a_source_may_state_its_own_ceiling(tmp_path: Path) -> None:
    write_sources(str(tmp_path / "b"), SOURCES)
    settings = MixConfig(train_tokens=8000, validation_tokens=0, max_epochs=4)

    def planned(ceilings: Mapping[str, float]) -> Outcome:
        out = str(tmp_path / "mix")
        return mix(str(tmp_path / "b"), WEIGHTS, settings, seq_len=SEQ_LEN, seed=1, out=out, ceilings=ceilings)

    assert planned({"web-en": 0.32}).counts["epochs_x1000_web-en"] == 320
    with pytest.raises(
        ValueError, match=r"0\.32 epochs where sources\.web-en\.max_epochs is 0\.3; 50 tokens are missing"
    ):
        planned({"web-en": 0.3, "corpus": 100})


def test_a_proposed_ratio_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights that fit this budget: corpus 0\.79") as caught:
        run(tmp_path / "a", {"corpus": 0.5, "web-en": 0.5}, train_tokens=12_000, max_epochs=1)
    words = str(caught.value).split("budget: ")[1].split(", ")
    weights = {name: float(share) for name, share in (word.split(" ") for word in words)}
    _, outcome = run(tmp_path / "b", weights, train_tokens=12_000, max_epochs=1)
    assert outcome.counts["samples"] == 750


def test_both_ways_of_packing_are_reported_and_the_weights_hold_in_tokens(tmp_path: Path) -> None:
    # Documents of 25 and of 9 tokens in samples of 16: the latter fill them by 9/16 only.
    sources = [SOURCES[0], Source("web-en", "en", documents(20_000, 300, length=9), documents(50_000, 10, length=9))]
    out, outcome = run(tmp_path, {"corpus": 0.7, "web-en": 0.3}, sources, packing="best_fit", attention="within")
    details = outcome.details
    assert (details["packing"], details["attention"]) == ("best_fit", "within")
    facts = details["packings"]
    assert facts["best_fit"]["web-en"] == {"padding": pytest.approx(7 / 16), "truncated": 0}
    assert facts["concatenate"]["web-en"]["truncated"] == pytest.approx(0.5, abs=0.1)
    assert facts["concatenate"]["web-en"]["padding"] == 0
    split = details["splits"]["train"]
    assert [row["achieved"] for row in split["sources"]] == pytest.approx([0.7, 0.3], abs=0.01)
    with Mixture.open(out) as mixture:
        assert outcome.counts["tokens"] == mixture.num_targets(0, 500)
        assert split["padding"] == pytest.approx(1 - mixture.num_targets(0, 500) / 8000)
        assert sum(sample.padding for sample in mixture) == 8000 - mixture.num_targets(0, 500)
    validation = read_plan(out).splits["validation"]
    assert all(source.epochs <= 1 for source in validation.sources)

"""A mixture that continues another one reads what is left, and all of it, whatever changes on the way."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.consumption import History, read_ledger, read_phases
from storage.mixture import Mixture
from storage.mixture_trace import samples_reading
from storage.token_catalog import read_catalog
from tests.storage.test_mixture import documents
from tests.storage.test_mixture_trace import by_tracing
from tests.storage.token_sources import Source
from tests.tasks.mix.trainings import Run, targets
from trainer.batch_ramp import BatchRamp

JA = Source("corpus", "ja", documents(1000, 40), documents(40_000, 12, seed=1))
EN = Source("web-en", "en", documents(20_000, 25, seed=3, longest=60), documents(50_000, 12, seed=2))
NOTES = Source("notes", "ja", documents(30_000, 15, seed=4))
EVERY = [JA, EN, NOTES]


def tokens_of(source: Source) -> list[int]:
    return [token for document in source.train for token in document]


def counts_of(history: History, source: Source) -> Counter[int]:
    """The ranges of a source as counts of its tokens, each of which is another number."""
    tokens = np.array(tokens_of(source))
    return Counter({int(token): int(times) for from_, to, times in history.ranges for token in tokens[from_:to]})


def test_within_an_epoch_every_token_is_a_target_once(tmp_path: Path) -> None:
    """Three mixtures of other weights, sequence lengths and packing read one epoch, but for the stated tail."""
    run = Run(tmp_path, EVERY)
    run.mix({"corpus": 0.6, "web-en": 0.4}, samples=80)
    run.mix({"corpus": 0.2, "web-en": 0.5, "notes": 0.3}, seq_len=16, samples=60, step=30)
    run.mix({"corpus": 0.5, "web-en": 0.5}, seq_len=11, samples=70, step=45, packing="best_fit")
    read = run.targets(0, 0, 30) + run.targets(1, 30, 45) + run.targets(2, 45, 70)
    assert max(read.values()) == 1
    assert len(read) == 30 * 8 + 15 * 16 + Mixture.open(run.mixtures[2]).num_targets(45, 70)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("packings", [("concatenate", "concatenate"), ("best_fit", "concatenate"),
                                      ("concatenate", "best_fit"), ("best_fit", "best_fit")])  # fmt: skip
def test_what_was_read_is_known_to_the_token_and_the_rest_comes_first(
    tmp_path: Path, packings: tuple[str, str], seed: int
) -> None:
    random = np.random.default_rng(seed)
    run = Run(tmp_path, EVERY)
    read: Counter[int] = Counter()
    first = 0
    for phase in range(3):
        weights = dict(zip(("corpus", "web-en", "notes"), random.random(3) + 0.1, strict=True))
        if phase < 2:
            weights.pop(str(random.choice(list(weights))))  # sources come and go
        seq_len, last = int(random.integers(3, 30)), first + int(random.integers(1, 90))
        settings: dict[str, Any] = {"packing": packings[min(phase, 1)], "seed": seed, "samples": last + 40}
        run.mix(weights, seq_len=seq_len, step=first or None, **settings)
        known = {source.name: counts_of(source.history, find(source.name)) for source in
                 read_ledger(run.mixtures[phase]).sources}  # fmt: skip
        assert known == {name: of(read, find(name)) for name in known}
        if phase:
            for source in sorted(weights.keys() & known.keys()):  # Megatron shuffles the epochs of a new one together
                comes_first(run.mixtures[phase], find(source), read, seq_len, packings[1])
        read += run.targets(phase, first, last)
        first = last


def find(name: str) -> Source:
    return next(source for source in EVERY if source.name == name)


def of(read: Counter[int], source: Source) -> Counter[int]:
    known = set(tokens_of(source))
    return Counter({token: times for token, times in read.items() if token in known})


def comes_first(mixture: str, source: Source, before: Counter[int], seq_len: int, packing: str) -> None:
    """No token is read again before those that were read less often, but for the one sample between two epochs."""
    counts = np.array([before[token] for token in tokens_of(source)])
    place = {token: number for number, token in enumerate(tokens_of(source))}
    begun_before = counts.max()
    slack = seq_len + 1 if packing == "concatenate" else 0
    with Mixture.open(mixture) as order:
        for sample in order:
            if order.sources[sample.source] == source.name:
                for token in sample.tokens[1 : len(sample.tokens) - sample.padding].tolist():
                    counts[place[token]] += 1
                begun = counts.max()
                assert begun <= begun_before or np.maximum(begun - 1 - counts, 0).sum() <= slack


def test_a_token_read_often_in_the_first_order_waits_for_the_others(tmp_path: Path) -> None:
    """Megatron shuffles several epochs together; what is left of them is made up for epoch by epoch."""
    run = Run(tmp_path, [JA])
    num_tokens = len(tokens_of(JA))
    run.mix({"corpus": 1}, samples=3 * num_tokens // 8)  # three epochs shuffled together
    stopped = num_tokens // 8
    read = run.targets(0, 0, stopped)
    assert set(read.values()) == {1, 2, 3}
    assert len(read) < num_tokens
    run.mix({"corpus": 1}, samples=4 * num_tokens // 8, step=stopped)
    lacking = num_tokens - len(read)
    until = stopped + -(-lacking // 8)
    level = read + run.targets(1, stopped, until)
    assert sum(1 for token in tokens_of(JA) if level[token] == 0) <= 1  # the first of a stream is no target
    assert sum(level.values()) - sum(read.values()) == 8 * (until - stopped)


def test_a_chain_needs_only_its_last_mixture(tmp_path: Path) -> None:
    run = Run(tmp_path, EVERY)
    run.mix({"corpus": 1, "notes": 1}, samples=40)
    run.mix({"corpus": 1}, samples=60, step=20)
    earlier = run.targets(0, 0, 20)
    Path(run.mixtures[0]).rename(tmp_path / "gone")
    run.mix({"corpus": 1, "notes": 1}, samples=50, step=32)
    assert [(phase.first_sample, phase.end_sample) for phase in read_phases(run.mixtures[2])] == [
        (0, 20), (20, 32), (32, 50)
    ]  # fmt: skip
    again = earlier + run.targets(1, 20, 32) + run.targets(2, 32, 50)
    assert max(again.values()) == 1  # notes, too, which the second mixture had left out


def test_the_ledger_tells_the_phases(tmp_path: Path) -> None:
    run = Run(tmp_path, [JA, EN])
    run.mix({"corpus": 9, "web-en": 1}, samples=80, batch=4)
    outcome = run.mix({"corpus": 1, "web-en": 1}, samples=60, batch=4, step=10)
    content = json.loads(Path(run.mixtures[1], "consumption.json").read_text())
    first, last = content["phases"]
    assert (first["mixture"], first["first_sample"], first["end_sample"]) == ("m-000000000000", 0, 40)
    assert first["digest"] == Mixture.open(run.mixtures[0]).digest == Mixture.open(run.mixtures[1]).continues
    assert first["weights"] == {"corpus": 0.9, "web-en": 0.1}
    assert first["tokens"] == {"corpus": 36 * 8, "web-en": 4 * 8}
    assert first["epochs"]["corpus"] == pytest.approx(36 * 8 / len(tokens_of(JA)), abs=1e-6)
    assert (last["first_sample"], last["end_sample"], last["tokens"]["corpus"]) == (40, 60, 80)
    assert last["epochs"]["corpus"] == pytest.approx((36 * 8 + 80) / len(tokens_of(JA)), abs=1e-6)
    assert outcome.counts["samples"] == 60
    assert outcome.counts["epochs_x1000_corpus"] == round(1000 * (36 * 8 + 80) / len(tokens_of(JA)))
    assert outcome.details["phases"] == content["phases"]


def test_samples_keep_their_numbers_in_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, [JA, EN])
    run.mix({"corpus": 1}, samples=40, batch=4)
    run.mix({"corpus": 1, "web-en": 1}, samples=64, batch=4, step=8)
    with Mixture.open(run.mixtures[1]) as mixture:
        assert (mixture.first_sample, mixture.num_samples, len(mixture)) == (32, 64, 32)
        assert sum(1 for _ in mixture) == 32
        assert mixture.num_targets(32, 64) == 32 * 8
        for outside in (0, 31, 64):
            with pytest.raises(IndexError, match=f"sample {outside} of a mixture of 64 that begins at 32"):
                mixture[outside]


def test_validation_is_what_it_was(tmp_path: Path) -> None:
    run = Run(tmp_path, [JA, EN])
    for step in (None, 20):
        run.mix({"corpus": 1, "web-en": 1}, samples=80, step=step, validation_tokens=80)
    before, after = (Mixture.open(mixture, "validation") for mixture in run.mixtures)
    assert (before.digest, 0) == (after.digest, after.first_sample)
    assert [sample.tokens.tolist() for sample in before] == [sample.tokens.tolist() for sample in after]


def test_documents_that_came_and_went_are_told_by_their_ids(tmp_path: Path) -> None:
    """A new crawl: other rows, documents gone and new ones. Ids are those of the rows they had (`document_id_of`)."""
    run = Run(tmp_path, [JA])
    run.mix({"corpus": 1}, samples=30)
    read = run.targets(0, 0, 20)
    # Rows keep their ids, so new documents can only be added at the end here; removed ones leave an empty row.
    grown = [*JA.train, *documents(60_000, 20)]
    run.tokenize([Source("corpus", "ja", grown)], "b-1")
    left = sum(map(len, grown)) - len(read)
    run.mix({"corpus": 1}, samples=20 + left // 8, step=20)
    after = run.targets(1, 20, 20 + left // 8)
    assert max((read + after).values()) == 1
    assert any(token >= 60_000 for token in after)


def test_changed_documents_are_refused_with_what_to_do(tmp_path: Path) -> None:
    run = Run(tmp_path, [JA])
    run.mix({"corpus": 1}, samples=60)
    longer = [[*document, 65_000] for document in JA.train]
    run.tokenize([Source("corpus", "ja", longer)], "b-1")
    with pytest.raises(
        ValueError, match=r"source 'corpus': \d+ documents that were read have another number of tokens"
    ):
        run.mix({"corpus": 1}, samples=80, step=30)
    run.tokenize([Source("afresh", "ja", longer)], "b-2")
    run.mix({"afresh": 1}, samples=80, step=30)
    assert read_ledger(run.mixtures[-1]).sources[0].name == "corpus"  # remembered, although it is left out


def test_a_source_keeps_its_history_under_another_name(tmp_path: Path) -> None:
    run = Run(tmp_path, [JA])
    run.mix({"corpus": 1}, samples=30)
    run.tokenize([Source("kitaguni", "ja", JA.train, JA.validation)], "b-1")
    run.mix({"kitaguni": 1}, samples=40, step=20)
    assert max((run.targets(0, 0, 20) + run.targets(1, 20, 40)).values()) == 1


@pytest.mark.parametrize("packing", ["concatenate", "best_fit"])
def test_a_continued_mixture_is_traced_back(tmp_path: Path, packing: str) -> None:
    run = Run(tmp_path, [JA, EN])
    run.mix({"corpus": 1, "web-en": 1}, samples=60)
    run.mix({"corpus": 1, "web-en": 2}, samples=150, step=33, packing=packing)
    for source in (JA, EN):
        rows = np.arange(0, len(source.train), 2)
        lengths = np.array([len(source.train[row]) for row in rows.tolist()])
        reads = samples_reading(run.mixtures[1], "train", source.name, rows, lengths)
        found = sorted(zip(reads.samples.tolist(), reads.rows.tolist(), reads.tokens.tolist(), strict=True))
        assert found == by_tracing(run.mixtures[1], "train", source.name, set(rows.tolist()))
        assert min(reads.samples) >= 33


def test_written_twice_it_is_the_same(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        run = Run(tmp_path / name, [JA, EN])
        run.mix({"corpus": 1}, samples=40)
        outcome = run.mix({"corpus": 1, "web-en": 1}, samples=70, step=25, packing="best_fit", attention="within")
        digests.append({entry.path: entry.sha256 for entry in outcome.files})
    assert digests[0] == digests[1]


def test_the_digest_covers_what_was_read_before(tmp_path: Path) -> None:
    run = Run(tmp_path, [JA])
    run.mix({"corpus": 1}, samples=40)
    digests = {Mixture.open(run.mixtures[0]).digest}
    for step in (10, 11):
        run.mixtures = run.mixtures[:1]
        run.mix({"corpus": 1}, samples=60, step=step)
        digests.add(Mixture.open(run.mixtures[1]).digest)
        (tmp_path / "mix" / "m-000000000001").rename(tmp_path / f"step-{step}")
    assert len(digests) == 3


def test_ceilings_count_what_was_read_before(tmp_path: Path) -> None:
    run = Run(tmp_path, [JA, EN])
    num_tokens = len(tokens_of(JA))
    run.mix({"corpus": 1}, samples=num_tokens // 8)
    step = num_tokens // 8
    with pytest.raises(ValueError, match="runs out") as caught:
        run.mix({"corpus": 1, "web-en": 1}, samples=step + 40, step=step, max_epochs=1)
    message = str(caught.value)
    assert f"it has {num_tokens:,} and has read {step * 8:,} before" in message
    most = int(message.split("mix.train_tokens may be at most ")[1].split(":")[0].replace(",", ""))
    assert step * 8 <= most < step * 8 + 16
    run.mix({"corpus": 1, "web-en": 1}, samples=step + 40, step=step, max_epochs=1.5)


def test_a_growing_batch_is_continued_at_the_sample_where_its_step_ends(tmp_path: Path) -> None:
    """Three steps of 2, then of 4: after five steps 14 samples are read."""
    run, ramp = Run(tmp_path, [JA]), BatchRamp(start=2, increment=2, samples=5)
    run.mix({"corpus": 1}, samples=24, batch=4, ramp=ramp)
    run.mix({"corpus": 1}, samples=35, batch=4, ramp=ramp, step=5)
    with Mixture.open(run.mixtures[1]) as mixture:
        assert (mixture.first_sample, mixture.num_samples) == (14, 34)
    read = run.targets(0, 0, 14) + run.targets(1, 14, 34)
    assert max(read.values()) == 1


def test_what_cannot_be_continued_says_why(tmp_path: Path) -> None:
    run = Run(tmp_path, [JA])
    run.mix({"corpus": 1}, samples=40, batch=4)
    with pytest.raises(ValueError, match=r"mix.continues.step is 10:\n?.*raise mix.train_tokens above 320"):
        run.mix({"corpus": 1}, samples=40, batch=4, step=10)
    with pytest.raises(ValueError, match=r"has steps of 4 samples, and train.global_batch is 2"):
        run.mix({"corpus": 1}, samples=60, batch=2, step=5)
    with pytest.raises(ValueError, match=r"has train.batch_ramp none, and here it is .*'start': 2.*: keep it"):
        run.mix({"corpus": 1}, samples=60, batch=4, step=5, ramp=BatchRamp(start=2, increment=2, samples=9))
    with pytest.raises(ValueError, match="holds samples 0 to 40 of its run, so it cannot be continued after 44"):
        run.mix({"corpus": 1}, samples=60, batch=4, step=11)
    Path(run.mixtures[0], "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"the mixture that .* reads is not there, or not complete"):
        run.mix({"corpus": 1}, samples=60, batch=4, step=5)
    (tmp_path / "train" / "m-000000000000" / "job.json").unlink()
    with pytest.raises(ValueError, match=r"is no training: it has neither job.json nor"):
        run.mix({"corpus": 1}, samples=60, batch=4, continues={"training": str(tmp_path / "train"), "step": 5})
    assert read_catalog(run.binarized)
    assert targets(run.mixtures[0], 0, 4)

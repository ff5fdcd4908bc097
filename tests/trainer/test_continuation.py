"""A training goes on from another's checkpoint with another mixture, exactly, or says why it cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from storage.mixture import Mixture
from tasks.mix.config import ContinueConfig, MixConfig
from tasks.mix.mix import mix
from tests.storage.token_sources import Source, write_sources
from tests.trainer.ranks import FakeMixture, PackedMixture, run_ranks, tiny_job, train_job
from trainer.batch_ramp import BatchRamp
from trainer.checkpoint import TrainState, content_digest, read_manifest
from trainer.config import ParallelConfig, TrainJob
from trainer.mesh import Mesh
from trainer.rows import read_rows

EARLIER, LATER = "d" * 64, "e" * 64


def later(**changes: Any) -> FakeMixture:
    """A mixture that takes over after four steps of eight samples, and holds the same samples as the one before."""
    settings: dict[str, Any] = {"digest": LATER, "first_sample": 32, "continues": EARLIER}
    return FakeMixture(**settings | changes)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> TrainJob:
    """A training of six steps with checkpoints of the fourth and the sixth."""
    folder = tmp_path_factory.mktemp("continued")
    job = tiny_job(folder, save_every=2, keep_checkpoints=2)
    run_ranks(1, train_job, job, FakeMixture(digest=EARLIER))
    return job


def going_on(job: TrainJob, out: Path) -> TrainJob:
    checkpoint = Path(job.out) / "checkpoints/step-00000004"
    return job.model_copy(update={"out": str(out), "continued": str(checkpoint)})


def digest_at(folder: Path, step: int) -> str:
    return content_digest(folder / f"checkpoints/step-{step:08}")


def test_with_the_same_samples_it_ends_as_if_the_mixture_had_never_changed(earlier: TrainJob, tmp_path: Path) -> None:
    assert run_ranks(1, train_job, going_on(earlier, tmp_path), later()) == [TrainState(6, 48)]
    assert digest_at(tmp_path, 6) == digest_at(Path(earlier.out), 6)
    rows, before = (read_rows(Path(out) / "metrics.jsonl") for out in (tmp_path, earlier.out))
    assert [(row["step"], row["lr"], row["loss"]) for row in rows] == [
        (row["step"], row["lr"], row["loss"]) for row in before[4:]
    ]
    checks = json.loads((tmp_path / "start_checks.json").read_text())
    assert checks["continued"] == {"step": 4, "consumed_samples": 32, "mixture": EARLIER}
    assert "continues an earlier one's step 4" in checks["skipped"]
    assert read_manifest(tmp_path / "checkpoints/step-00000006")["mixture_digest"] == LATER


def test_killed_and_resumed_it_ends_bit_for_bit_alike(earlier: TrainJob, tmp_path: Path) -> None:
    source = tmp_path / "earlier/checkpoints/step-00000004"
    shutil.copytree(Path(earlier.out) / "checkpoints/step-00000004", source)
    job = earlier.model_copy(update={"out": str(tmp_path / "earlier"), "num_steps": 8})
    run_ranks(1, train_job, going_on(job, tmp_path / "whole"), later())
    run_ranks(1, train_job, going_on(job, tmp_path / "cut"), later())
    (tmp_path / "cut/checkpoints/step-00000008").rename(tmp_path / "lost")
    source.rename(tmp_path / "gone")  # its own checkpoint of step 6 is enough
    run_ranks(1, train_job, going_on(job, tmp_path / "cut"), later())
    assert digest_at(tmp_path / "cut", 8) == digest_at(tmp_path / "whole", 8)


@pytest.mark.parametrize(
    ("mixture", "changes", "said"),
    [
        (later(continues="f" * 64), {}, "was trained on mixture dddddddddddd, .* continues ffffffffffff"),
        (later(first_sample=24), {}, "has used 32 samples, and the new mixture begins at sample 24"),
        (later(continues=None, first_sample=0), {}, "the mixture continues none; set mix.continues"),
        (later(), {"continued": None}, "no checkpoint to continue is given; name the training in mix.continues"),
        (later(), {"num_steps": 4}, "stands at step 4 of 4: raise mix.train_tokens"),
        (later(), {"continued": "nowhere"}, "cannot continue nowhere: it is damaged"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    earlier: TrainJob, tmp_path: Path, mixture: FakeMixture, changes: dict[str, Any], said: str
) -> None:
    job = going_on(earlier, tmp_path / "later").model_copy(update=changes)
    with pytest.raises(AssertionError, match=said):
        run_ranks(1, train_job, job, mixture)
    assert not (tmp_path / "later").exists()


def test_another_global_batch_is_refused_by_every_rank(earlier: TrainJob, tmp_path: Path) -> None:
    job = going_on(earlier, tmp_path / "later")
    train = job.train.model_copy(update={"global_batch": 4, "parallel": ParallelConfig(dp=2)})
    with pytest.raises(AssertionError) as refused:
        run_ranks(2, train_job, job.model_copy(update={"train": train}), later())
    assert str(refused.value).count("took 32 samples, 8 a step, and with train.global_batch 4 they would be 16") == 2


def test_a_batch_ramp_that_the_earlier_training_did_not_have_is_refused(earlier: TrainJob, tmp_path: Path) -> None:
    job = going_on(earlier, tmp_path / "later")
    train = job.train.model_copy(update={"batch_ramp": BatchRamp(start=2, increment=6, samples=4)})
    with pytest.raises(AssertionError, match=r"with train.global_batch 8 and batch_ramp .* they would be 20; keep"):
        run_ranks(1, train_job, job.model_copy(update={"train": train}), later())


def _train_on(mesh: Mesh, job: TrainJob, mixture: str) -> Any:
    with Mixture.open(mixture) as opened:
        return train_job(mesh, job, opened)


def test_weights_change_after_four_steps_and_no_document_is_read_twice(tmp_path: Path) -> None:
    sources = [
        Source(name, language, [[(7 * row + n) % 96 for n in range(30)] for row in range(60)])
        for name, language in (("corpus", "ja"), ("web-en", "en"))
    ]
    binarized, first, second = (str(tmp_path / name) for name in ("binarize/b", "mix/first", "mix/second"))
    write_sources(binarized, sources)
    settings: dict[str, Any] = {"seq_len": 16, "seed": 3, "global_batch": 8}
    config = MixConfig(train_tokens=6 * 8 * 16, validation_tokens=0, max_epochs=1)
    _sealed(first, mix(binarized, {"corpus": 0.9, "web-en": 0.1}, config, out=first, **settings), settings)
    job = tiny_job(tmp_path, out=str(tmp_path / "train/earlier"), mixture=first, save_every=2)
    run_ranks(1, _train_on, job, first)
    (tmp_path / "train/earlier/job.json").write_text(job.model_dump_json())
    config = config.model_copy(
        update={
            "train_tokens": 8 * 8 * 16,
            "continues": ContinueConfig(training=str(tmp_path / "train/earlier"), step=4),
        }
    )
    mix(binarized, {"corpus": 0.5, "web-en": 0.5}, config, out=second, **settings)
    checkpoint = tmp_path / "train/earlier/checkpoints/step-00000004"
    changed = {"out": str(tmp_path / "train/later"), "num_steps": 8, "continued": str(checkpoint)}
    assert run_ranks(1, _train_on, job.model_copy(update=changed), second) == [TrainState(8, 64)]
    targets = {
        name: _targets(uri, steps) for name, uri, steps in (("a", first, range(32)), ("b", second, range(32, 64)))
    }
    assert not targets["a"] & targets["b"], "a token is a target a second time in the first epoch"
    with Mixture.open(first) as before, Mixture.open(second) as after:
        assert (after.first_sample, after.continues, after.num_samples) == (32, before.digest, 64)
        counts = [[mixture[i].source for i in read].count(1) for mixture, read in
                  ((before, range(32)), (after, range(32, 64)))]  # fmt: skip
    assert counts == [4, 16], "English is a tenth of the first samples and half of the others"


def _targets(uri: str, samples: range) -> set[tuple[int, int, int]]:
    """(source, row, token) of every target: all tokens of a sample but its first."""
    found = set()
    with Mixture.open(uri) as mixture:
        for i in samples:
            trace = mixture.trace(i)
            read = [(trace.source, span.row, span.offset + n) for span in trace.spans for n in range(span.length)]
            found |= set(read[1:])
    return found


def _sealed(uri: str, outcome: Any, settings: dict[str, Any]) -> None:
    """Publish a mixture, so that it can be continued."""
    from storage.artifact import Manifest, content_digest, seal

    digest = content_digest(outcome.files)
    made = ("2026-01-01T00:00:00+00:00", 1.0)
    seal(uri, Manifest("mix", "m", "0" * 64, "1", dict(settings), {}, {}, outcome.files, outcome.counts, digest, *made))


@pytest.mark.parametrize("world", [1, 2])
def test_packed_documents_train_alike_on_any_number_of_ranks(tmp_path: Path, world: int) -> None:
    settings = {"dtype": "float64", "num_steps": 3, "micro_batch": 1}
    job = tiny_job(tmp_path, out=str(tmp_path / "one"), **settings)
    run_ranks(1, train_job, job, PackedMixture())
    other = tiny_job(
        tmp_path, out=str(tmp_path / "other"), **settings | {"micro_batch": 8 // world}, parallel={"dp": world}
    )
    run_ranks(world, train_job, other, PackedMixture())
    for one, two in zip(*(read_rows(tmp_path / name / "metrics.jsonl") for name in ("one", "other")), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-12)
        assert one["grad_norm"] == pytest.approx(two["grad_norm"], rel=1e-10)
        assert one["language_loss"] == pytest.approx(two["language_loss"], rel=1e-12)
        first = (one["step"] - 1) * 8
        assert one["padding"] == 1 - PackedMixture().num_targets(first, first + 8) / 128

"""What was consumed is what a reader of the mixture would have read up to the last step."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.artifact import Outcome
from storage.mixture import Mixture
from tasks.report import consumption
from tasks.report.artifacts import RunArtifacts
from tasks.report.consumption import consumed
from tasks.report.page import render_page
from tasks.report.training import mixture as planned_mixture
from tests.storage.test_mixture import SOURCES
from tests.tasks.mix.trainings import Run
from tests.tasks.report.made_up_files import write_mixture
from tests.tasks.report.made_up_run import seal_stage, uri_of


def run_of(root: Path, samples: int, planned: int = 60, documents: int = 40) -> RunArtifacts:
    files = write_mixture(uri_of(root, "mix"), str(root / "tokens"), planned, documents)
    uris = {
        "mix": seal_stage(root, "mix", Outcome(files)),
        "train": seal_stage(root, "train", Outcome(counts={"samples": samples})),
    }
    return RunArtifacts.read(uris)


@pytest.mark.parametrize(("samples", "documents"), [(0, 40), (1, 40), (37, 40), (60, 40), (300, 7)])
def test_equals_what_a_reader_traces(
    samples: int, documents: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumption, "_CHUNK", 16)  # several chunks
    made = run_of(tmp_path, samples, max(samples, 60), documents)
    facts = consumed(made)
    with Mixture.open(made.uris["mix"]) as mixture:
        traces = [mixture.trace(i) for i in range(samples)]
        names = mixture.sources
    for number, source in enumerate(facts["sources"]):
        own = [trace for trace in traces if trace.source == number]
        assert source["name"] == names[number]
        assert source["tokens"] == 8 * len(own)
        assert source["documents_read"] == len({span.row for trace in own for span in trace.spans})
        assert source["documents"] == documents
    assert facts["tokens"] == sum(source["tokens"] for source in facts["sources"]) == 8 * samples


def test_a_run_that_stopped_early_read_less_than_planned(tmp_path: Path) -> None:
    facts = consumed(run_of(tmp_path, samples=20))
    corpus, english = facts["sources"]
    assert (facts["samples"], facts["of_samples"]) == (20, 60)
    assert corpus["share"] == pytest.approx(0.9)
    assert (corpus["weight"], english["weight"]) == (0.9, 0.1)
    assert 0 < english["epochs"] < corpus["epochs"] < 1


def test_without_training_nothing_was_consumed(tmp_path: Path) -> None:
    made = run_of(tmp_path, samples=20)
    untrained = RunArtifacts.read({"mix": made.uris["mix"]})
    assert consumed(untrained)["sources"] == []
    assert consumed(RunArtifacts.read({"train": made.uris["train"]}))["samples"] is None


def test_a_packed_mixture_that_continues_another_is_counted_from_the_beginning(tmp_path: Path) -> None:
    run = Run(tmp_path, SOURCES)
    run.mix({"corpus": 0.9, "web-en": 0.1}, samples=60)
    run.mix({"corpus": 0.5, "web-en": 0.5}, samples=80, step=30, packing="best_fit", attention="within")
    uris = {
        "mix": run.mixtures[1],
        "train": seal_stage(tmp_path, "train", Outcome(counts={"samples": 50})),
    }
    made = RunArtifacts.read(uris)
    facts = consumed(made)
    rows: dict[str, set[int]] = {"corpus": set(), "web-en": set()}
    for number, last in enumerate((30, 50)):
        with Mixture.open(run.mixtures[number]) as mixture:
            for i in range(mixture.first_sample, last):
                trace = mixture.trace(i)
                # Of what was read before, targets count: the first token of a sample is none.
                spans = [span for n, span in enumerate(trace.spans) if number or n or span.length > 1]
                rows[mixture.sources[trace.source]] |= {span.row for span in spans}
            targets = mixture.num_targets(mixture.first_sample, last)
    assert facts["tokens"] == targets
    assert {source["name"]: source["documents_read"] for source in facts["sources"]} == {
        name: len(read) for name, read in rows.items()
    }
    assert [(phase["first_sample"], phase["end_sample"]) for phase in facts["phases"]] == [(0, 30), (30, 80)]
    page = render_page("sections/mixture.html", {"consumed": facts, "mixture": planned_mixture(made)})
    assert "The mixture changed on the way" in page
    assert "from sample 30 on" in page
    assert "Documents are packed best-fit; attention stays within each" in page

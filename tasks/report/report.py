"""The report: one run on one self-contained HTML page.

In: the artifacts of the nine stages before it, and the resolved run file. Out: `report.html`, which loads nothing from
anywhere (inline CSS and SVG, no script), and `report.json` with every figure on it, unrounded. The page is a
template over that JSON, a part for each section in `sections/`; a figure that no artifact holds is a dash. The bytes
are a function of the manifests, the data files they name, the run file and the licences.

    build_report({"curate": "runs/curate/demo-0123", ...}, run.model_dump(mode="json"), out="runs/report/demo-4567")
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from storage.artifact import FileEntry, Outcome, new_file
from storage.corpus import corpus_shards
from tasks.report import (
    census,
    consumption,
    corpus,
    duplicates,
    examples,
    provenance,
    samples,
    scores,
    training,
    vocabulary,
)
from tasks.report.artifacts import RunArtifacts
from tasks.report.benchmarks import benchmark_charts, benchmark_facts, shown_tables
from tasks.report.drawings import drawings
from tasks.report.evaluation_files import EvaluationFiles
from tasks.report.page import render_page

PAGE = "report.html"
FACTS = "report.json"
SECTIONS = (
    ("summary", "Summary"),
    ("funnel", "From records to documents"),
    ("corpus", "Corpus"),
    ("samples", "Samples"),
    ("duplicates", "Deduplication"),
    ("tokenizer", "Tokenizer"),
    ("mixture", "Mixture"),
    ("training", "Training"),
    ("checks", "Start checks"),
    ("scores", "Scores"),
    ("time", "Time per stage"),
    ("artifacts", "Artifacts"),
    ("environment", "Environment"),
    ("licences", "Licences"),
    ("run-file", "Run file"),
)


def build_report(
    artifacts: Mapping[str, str],
    run: Mapping[str, Any],
    licences: Sequence[Mapping[str, Any]] = (),
    *,
    out: str,
) -> Outcome:
    """Write the page and its figures below `out`.

    Args:
        artifacts: stage -> URI of its artifact; a stage may be missing or not complete.
        run: the resolved run file, as JSON-like values.
        licences: of the inputs (`tasks.report.licences`).

    Returns:
        counts `stages` (complete ones); files `report.html` and `report.json`.

    Raises:
        ValueError: a manifest of another schema version.
    """
    made = RunArtifacts.read(artifacts)
    facts = gather(made, run, licences)
    pages = {PAGE: render(facts).encode(), FACTS: _json(facts)}
    files = []
    for name, data in pages.items():
        with new_file(out, name) as file:
            file.write(data)
        files.append(FileEntry.of(name, file))
    return Outcome(files, {"stages": len(made.manifests)}, {"summary": facts["scores"]["headline"]})


def gather(made: RunArtifacts, run: Mapping[str, Any], licences: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Every figure of the page, as JSON-like values: one entry per section."""
    drawn = samples.draw(made)
    shards = corpus_shards(made.uris["deduplicate"]) if "deduplicate" in made.manifests else []
    counted = census.census_of(shards, wanted=drawn.survivors)
    return {
        "name": " / ".join(str(run[key]) for key in ("name", "variant") if run.get(key)) or "run",
        "tiles": _tiles(made),
        "funnel": corpus.funnel(made),
        "card": census.corpus_card(counted),
        "samples": samples.samples(drawn, shards, counted.places),
        "duplicates": duplicates.duplicates(made),
        "tokenizer": vocabulary.tokenizer(made),
        "mixture": training.mixture(made),
        "consumed": consumption.consumed(made),
        "training": training.training(made),
        "checks": training.start_checks(made),
        "scores": scores.scores(made, run),
        "examples": examples.compared(made),
        **_benchmarks(made),
        "stages": provenance.stages(made, run),
        "versions": provenance.versions(made),
        "machines": provenance.machines(made),
        "inputs": provenance.inputs(run, licences),
        "run_file": provenance.run_file(run),
    }


def render(facts: Mapping[str, Any]) -> str:
    """The page of these figures."""
    svgs = {name: [Markup(svg) for svg in drawn] for name, drawn in drawings(facts).items()}
    benchmarks = facts.get("benchmarks")
    places = shown_tables(benchmarks)
    drawn = benchmark_charts(places)
    more = {"benchmarks": benchmarks, "places": places, "benchmark_charts": drawn}
    return render_page(PAGE, {**facts, **more}, charts=svgs, sections=SECTIONS)


def _benchmarks(made: RunArtifacts) -> dict[str, Any]:
    """What the benchmarks say of the run's models, as `benchmarks`; nothing where none was asked."""
    if not made.paths("evaluate", "benchmarks.json"):
        return {}
    return {"benchmarks": benchmark_facts(EvaluationFiles.read(made.uris["evaluate"]))}


def _tiles(made: RunArtifacts) -> list[dict[str, Any]]:
    """The run in six numbers, in the order of the pipeline."""
    tiles = (
        ("WARC records read", "curate", "records"),
        ("Japanese documents kept", "curate", "documents"),
        ("documents after deduplication", "deduplicate", "kept"),
        ("characters in the corpus", "deduplicate", "characters"),
        ("new vocabulary pieces", "expand", "new_pieces"),
        ("tokens trained on", "train", "tokens"),
    )
    return [{"label": label, "value": made.count(stage, name)} for label, stage, name in tiles]


def _json(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"

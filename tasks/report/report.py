"""The report: one run on one self-contained HTML page.

In: the artifacts of the nine stages before it, and the resolved run file. Out: `report.html`, which loads nothing from
anywhere (inline CSS and SVG, no script), and `report.json` with every figure on it, unrounded. The page is a
template over that JSON; a figure that no manifest holds is a dash. The bytes are a function of the manifests, the data
files they name, and the run file.

    build_report({"curate": "runs/curate/demo-0123", ...}, run.model_dump(mode="json"), out="runs/report/demo-4567")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from storage.artifact import FileEntry, Outcome, new_file
from tasks.report import charts, corpus, provenance, scores, training, vocabulary
from tasks.report.artifacts import RunArtifacts
from tasks.report.formats import FILTERS, language

PAGE = "report.html"
FACTS = "report.json"
SECTIONS = (
    ("summary", "Summary"),
    ("funnel", "From records to documents"),
    ("duplicates", "Deduplication"),
    ("tokenizer", "Tokenizer"),
    ("mixture", "Mixture"),
    ("training", "Learning curve"),
    ("checks", "Start checks"),
    ("scores", "Scores"),
    ("time", "Time per stage"),
    ("artifacts", "Artifacts"),
    ("versions", "Versions and licences"),
    ("run-file", "Run file"),
)
_PANELS = {"bits_per_byte": "bits per byte", "accuracy": "probe, right answers in %"}


def build_report(artifacts: Mapping[str, str], run: Mapping[str, Any], *, out: str) -> Outcome:
    """Write the page and its figures below `out`.

    Args:
        artifacts: stage -> URI of its artifact; a stage may be missing or not complete.
        run: the resolved run file, as JSON-like values.

    Returns:
        counts `stages` (complete ones); files `report.html` and `report.json`.

    Raises:
        ValueError: a manifest of another schema version.
    """
    made = RunArtifacts.read(artifacts)
    facts = gather(made, run)
    pages = {PAGE: render(facts).encode(), FACTS: _json(facts)}
    files = []
    for name, data in pages.items():
        with new_file(out, name) as file:
            file.write(data)
        files.append(FileEntry.of(name, file))
    return Outcome(files, {"stages": len(made.manifests)}, {"summary": facts["scores"]["headline"]})


def gather(made: RunArtifacts, run: Mapping[str, Any]) -> dict[str, Any]:
    """Every figure of the page, as JSON-like values: one entry per section."""
    return {
        "name": str(run.get("name", "run")),
        "tiles": _tiles(made),
        "funnel": corpus.funnel(made),
        "duplicates": corpus.duplicates(made),
        "tokenizer": vocabulary.tokenizer(made),
        "mixture": training.mixture(made),
        "training": training.training(made),
        "checks": training.start_checks(made),
        "scores": scores.scores(made, run),
        "stages": provenance.stages(made, run),
        "versions": provenance.versions(made),
        "inputs": provenance.inputs(run),
        "run_file": provenance.run_file(run),
    }


def render(facts: Mapping[str, Any]) -> str:
    """The page of these figures."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters.update(FILTERS)
    svgs = {name: Markup(svg) for name, svg in _charts(facts).items()}
    return environment.get_template(PAGE).render(**facts, charts=svgs, sections=SECTIONS)


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


def _charts(facts: Mapping[str, Any]) -> dict[str, str]:
    """The SVGs that there is data for."""
    drawn = {"learning_curve": "", "scores": ""}
    curve = facts["training"]["curve"]
    if curve["steps"]:
        losses = {language(code): values for code, values in curve["losses"].items()}
        drawn["learning_curve"] = charts.learning_curve(curve["steps"], losses, curve["lr"])
    panels = []
    for measure in facts["scores"]["measures"]:
        if measure["metric"] in _PANELS:
            scale = 100 if measure["metric"] == "accuracy" else 1
            rows = [
                (model, *(_scaled(found[field], scale) for field in ("value", "ci_low", "ci_high")))
                for model in facts["scores"]["models"]
                if (found := measure["scores"].get(model)) and found["value"] is not None
            ]
            panels.append((f"{language(measure['language'])}, {_PANELS[measure['metric']]}", rows))
    if panels := [panel for panel in panels if panel[1]]:
        drawn["scores"] = charts.intervals(panels)
    return drawn


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def _json(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"

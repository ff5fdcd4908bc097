"""What `hibari evaluate compare A B...` sets side by side: the models of several runs or evaluated folders.

In: run files, with the scores of all their checkpoints, and folders of `hibari evaluate model`; the first is the
reference. Out: JSON-like facts: `rows` of each compared model beside the reference, task by task and for the averages
(`tasks.evaluate.pairs`), `refused` with why some tasks cannot be compared, `scaling` with every score over the tokens
trained on, `changed` with what differs between the run files. A checkpoint is compared with the reference's after as
many tokens; the last also with the reference's last, where there is no such one. One source alone is compared with its
own base model.

    facts = gather_comparison(load_sources(["base.yaml", "runs/evaluated/tuned"]))
    [row for row in facts["rows"] if row["task"] == "jsquad"]
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.config import ConfigError, RunConfig, load_run
from storage.rows import read_rows
from storage.uri import exists, join, read_bytes

if TYPE_CHECKING:
    from tasks.evaluate.config import EvaluateConfig
    from tasks.evaluate.pairs import Answered

SCORES = "scores.jsonl"
BASE, TRAINED = "base", "trained"
_LABELS = {"name", "variant", "root"}  # of a run file: where it is and what it is called, no settings
_MAX_PARTICULARS = 2


@dataclass(frozen=True)
class Evaluated:
    """One model as one evaluation scored it.

    Attributes:
        label: as tables call it.
        uri: of the evaluation: `scores.jsonl`, `examples/`, `benchmarks.json`.
        model: as the evaluation calls it.
        step, tokens: of the checkpoint, and trained on by then; None for a folder's models.
    """

    label: str
    uri: str
    model: str
    step: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Source:
    """A run, or a folder of evaluated models.

    Attributes:
        models: in the order of the steps; the base first, where it was scored.
        run: of a run file.
    """

    label: str
    models: Sequence[Evaluated]
    run: RunConfig | None = field(default=None, repr=False)

    @property
    def base(self) -> Evaluated | None:
        return next((model for model in self.models if model.model == BASE), None)

    @property
    def main(self) -> Evaluated:
        """What the source is about: the last checkpoint, the last model of a folder."""
        return self.models[-1]


def load_sources(names: Sequence[str], overrides: Sequence[str] = (), root: str | None = None) -> list[Source]:
    """The sources of these names: run files, or folders and URIs of evaluations.

    Args:
        overrides, root: of the run files, as for `hibari run`.

    Raises:
        ConfigError: a name is neither, or nothing is scored there; all problems at once.
    """
    sources: list[Source] = []
    problems: list[str] = []
    for name in names:
        try:
            if exists(join(name, SCORES)):
                sources.append(_folder_source(name))
            elif Path(name).is_file():
                sources.append(_run_source(load_run(Path(name), overrides, root), name))
            else:
                wanted = f"a folder with the {SCORES} of `hibari evaluate model`"
                problems.append(f"{name}: expected a run file, or {wanted}")
        except ConfigError as error:
            problems += [f"{name}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return _told_apart(sources)


def gather_comparison(sources: Sequence[Source], config: EvaluateConfig | None = None) -> dict[str, Any]:
    """Every figure of the comparison.

    Args:
        config: whose `resamples` and `confidence` count; None: the first run's, else the defaults.

    Returns:
        `reference`, label of the first source's model; `models`; `rows`, each with `reference` and `model`; `refused`,
        likewise; `scaling`; `changed`; `confidence` and `resamples`.
    """
    from flows.model_scoring import SEED
    from tasks.evaluate.config import EvaluateConfig
    from tasks.evaluate.pairs import compare_models

    run = sources[0].run
    config = config or (run.evaluate if run else EvaluateConfig())
    seed = run.seed if run else SEED
    rows: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    read: dict[Evaluated, Answered] = {}  # the last reference: all examples of all checkpoints are too much to hold
    for theirs, ours in pairs(sources):
        if theirs not in read:
            read = {theirs: read_answers(theirs)}
        found = compare_models(read[theirs], read_answers(ours), config, seed=seed)
        named = {"reference": theirs.label, "model": ours.label}
        at = {"step": ours.step, "tokens": ours.tokens, "reference_tokens": theirs.tokens}
        rows += [named | at | row for row in found.rows]
        refused += [named | row for row in found.refused]
    return {
        "reference": reference_of(sources).label,
        "models": [
            {"source": source.label, "label": model.label, "step": model.step, "tokens": model.tokens}
            for source in sources
            for model in source.models
        ],
        "rows": rows,
        "refused": refused,
        "scaling": [row for source in sources for row in scaling_rows(source)],
        "changed": changed_settings(sources),
        "confidence": config.confidence,
        "resamples": config.resamples,
    }


def reference_of(sources: Sequence[Source]) -> Evaluated:
    """What all else is compared with: the first source's model, or its base where there is no other source."""
    first = sources[0]
    return first.main if len(sources) > 1 else first.base or first.models[0]


def pairs(sources: Sequence[Source]) -> Iterator[tuple[Evaluated, Evaluated]]:
    """(reference, compared) of all that is compared."""
    reference = reference_of(sources)
    if len(sources) == 1:
        yield from ((reference, model) for model in sources[0].models if model is not reference)
        return
    at_tokens = {model.tokens: model for model in sources[0].models if model.model == TRAINED and model.tokens}
    for source in sources[1:]:
        for model in source.models:
            same = at_tokens.get(model.tokens or 0) if model.model == TRAINED else None
            if same is not None:
                yield same, model
            elif model is source.main or (source.run is None and model is not source.base):
                yield reference, model


def read_answers(model: Evaluated) -> Answered:
    """The examples of one model, and the versions of the tasks that it was asked."""
    from tasks.evaluate.pairs import Answered
    from tasks.evaluate.scored_tasks import METRICS

    uri = join(model.uri, "benchmarks.json")
    described = json.loads(read_bytes(uri)) if exists(uri) else {}
    keys = [
        *METRICS,
        *(f"{task}-{profile}" for task, profiles in described.items() for profile in profiles),
    ]
    examples = {key: read_rows(join(model.uri, "examples", f"{model.model}-{key}.jsonl")) for key in keys}
    versions = {
        f"{task}-{profile}": int(facts["version"])
        for task, profiles in described.items()
        for profile, facts in profiles.items()
    }
    return Answered(model.label, {key: rows for key, rows in examples.items() if rows}, versions)


def scaling_rows(source: Source) -> list[dict[str, Any]]:
    """Every headline score and average of a run over the tokens trained on; the base and the new rows' model at 0."""
    found = []
    for model in source.models:
        if model.tokens is None:
            continue
        for row in read_rows(join(model.uri, SCORES)):
            whole = row.get("category") is None and row.get("subset", "all") == "all"
            if row["model"] == model.model and whole and row.get("headline") and row["value"] is not None:
                names = ("task", "profile", "label", "kind", "metric", "unit", "language", "value", "ci_low", "ci_high")
                at = {"source": source.label, "model": model.model, "step": model.step, "tokens": model.tokens}
                found.append(at | {name: row[name] for name in names})
    return found


def changed_settings(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """The settings in which the run files differ, `field` and `values` by source; none with fewer than two runs."""
    from tasks.report.comparison import VariantRun
    from tasks.report.comparison_variants import changed_fields

    runs = [(source.label, source.run) for source in sources if source.run is not None]
    if len(runs) < 2:
        return []
    variants = [
        VariantRun(label, run.model_dump(mode="json"), {}, run.num_steps, run.tokens_after) for label, run in runs
    ]
    return [change for change in changed_fields(variants) if change["field"] not in _LABELS]


def _folder_source(folder: str) -> Source:
    """All models of an evaluation, the base first."""
    label = folder.rstrip("/").rpartition("/")[2]
    names = list(dict.fromkeys(row["model"] for row in read_rows(join(folder, SCORES))))
    if not names:
        raise ConfigError([f"{SCORES} has no rows: nothing was scored"])
    names.sort(key=lambda name: name != BASE)
    alone = len([name for name in names if name != BASE]) <= 1
    models = [Evaluated(label if alone and name == names[-1] else f"{label}: {name}", folder, name) for name in names]
    return Source(label, models)


def _run_source(run: RunConfig, name: str) -> Source:
    """The base and the initialised model of a run, which its own evaluation holds, and its scored checkpoints."""
    from flows.checkpoints import scored_steps
    from flows.plan import make_plan, plan_at_step

    plan = make_plan(run, run_file=name)
    steps = scored_steps(run, plan)
    if not steps:
        raise ConfigError([f"no checkpoint of {run.label} has scores; `hibari evaluate {name}` makes them"])
    uris = {step: plan_at_step(run, plan, step).evaluate.uri for step in steps}
    scored = {step: {row["model"] for row in read_rows(join(uri, SCORES))} for step, uri in uris.items()}
    models = []
    for before in (BASE, "initialized"):
        holder = next((step for step in reversed(steps) if before in scored[step]), None)
        if holder is not None:
            models.append(Evaluated(f"{run.label}: {before}", uris[holder], before, 0, 0))
    for step in steps:
        if TRAINED in scored[step]:
            label = run.label if step == steps[-1] else f"{run.label}: step {step:,}"
            models.append(Evaluated(label, uris[step], TRAINED, step, run.tokens_after(step)))
    return Source(run.label, models, run)


def _told_apart(sources: Sequence[Source]) -> list[Source]:
    """The same sources under labels of their own.

    Those that share one are told apart by the settings that differ between them: `mini (expand.num_candidates 16000)`,
    folders by their whole paths, and what then is still the same by its number.
    """
    found: list[Source] = []
    for number, source in enumerate(sources, start=1):
        alike = [other for other in sources if other.label == source.label]
        label = source.label
        if len(alike) > 1:
            label = f"{label} ({_particulars(source, alike) or number})"
        if any(other.label == label for other in found):
            label = f"{label} ({number})"
        models = [replace(model, label=label + model.label.removeprefix(source.label)) for model in source.models]
        found.append(replace(source, label=label, models=models))
    return found


def _particulars(source: Source, alike: Sequence[Source]) -> str:
    """What sets a source apart from those of the same label, in a few words."""
    if source.run is None:
        return source.main.uri
    own = next(str(number) for number, other in enumerate(alike) if other is source)
    changed = changed_settings([replace(other, label=str(number)) for number, other in enumerate(alike)])
    plain = [change for change in changed if not isinstance(change["values"][own], dict | list)]
    return ", ".join(f"{change['field']} {change['values'][own]}" for change in plain[:_MAX_PARTICULARS])

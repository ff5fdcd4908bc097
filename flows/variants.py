"""The sweep file: variants of one run that are made, scored and compared side by side.

In: a YAML file that names a run file and, for each variant, the fields that differ. Out: one resolved run per variant,
an ordinary one in every way; every mistake of every variant is reported at once.

    name: tokenizer-ablation
    run: swallow-mini.yaml            # relative to this file
    steps: [100, 200]                 # checkpoints scored besides the last, or "all"
    set: {train.keep_checkpoints: 5}  # of every variant
    variants:
      - {name: 16k, set: {expand.num_candidates: 16000}}
      - {name: none, set: {expand.enabled: false}}
      - {name: 50-50, set: {sources.corpus.weight: 0.5, sources.web-en.weight: 0.5}}

Variants keep the run's name and root, so an artifact that two of them, or the run itself, would make alike has one
place and is made once; what tells them apart is the label `variant`.

    sweep = load_sweep("configs/sweep-tokenizer.yaml")
    shared = shared_stages(sweep)       # {"16k": {"curate": None, ...}, "none": {"curate": "16k", ...}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from flows.config import ConfigError, RunConfig, load_run
from flows.plan import Plan, make_plan
from storage.checkpoints import kept_steps

NAME = r"^[a-z0-9][a-z0-9-]{0,30}$"
FIXED = ("name", "variant", "root")


def _without_fixed(fields: dict[str, Any]) -> dict[str, Any]:
    if fixed := [name for name in fields if name in FIXED]:
        raise ValueError(f"{', '.join(fixed)} cannot be set: variants share the run's artifacts")
    return fields


class Variant(BaseModel):
    """One column of the comparison: the run with some fields set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME, description="what the variant is called: letters, digits and dashes")
    set: dict[str, Any] = Field(
        {}, description="field -> value, called as in --set: train.lr, sources.corpus.weight; empty: the run as it is"
    )

    @field_validator("set")
    @classmethod
    def _keeps_what_is_shared(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return _without_fixed(fields)


class SweepFile(BaseModel):
    """The sweep file as it is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME, description="names the sweep and the folder of its comparison")
    run: str = Field(min_length=1, description="the run file, relative to the sweep file")
    steps: list[int] | Literal["all"] = Field(
        [], description="steps whose checkpoints are scored besides the last; all: every one of train.save_every"
    )
    set: dict[str, Any] = Field({}, description="field -> value of every variant, before its own")
    variants: list[Variant] = Field(min_length=1, description="in the order of the table; the first is compared with")

    @field_validator("set")
    @classmethod
    def _keeps_what_is_shared(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return _without_fixed(fields)

    @model_validator(mode="after")
    def _names_are_used_once(self) -> Self:
        names = [variant.name for variant in self.variants]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"variants: every name once, {', '.join(twice)} is used again")
        return self


class Sweep(BaseModel):
    """A sweep with its variants resolved; the parameter of the flow.

    Attributes:
        steps: those scored besides the last, of each variant.
        changes: variant -> what its entry sets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    runs: dict[str, RunConfig]
    steps: dict[str, list[int]]
    changes: dict[str, dict[str, Any]]

    @property
    def root(self) -> str:
        """Where artifacts and the comparison lie."""
        return next(iter(self.runs.values())).root


def load_sweep(path: str | Path, overrides: Sequence[str] = (), root: str | None = None) -> Sweep:
    """Read a sweep file and resolve its variants.

    Args:
        overrides: `a.b=value` each, set in the run before a variant's own fields.
        root: replaces the run file's root.

    Raises:
        ConfigError: with every problem of the sweep file, the run file and all variants.
    """
    path = Path(path)
    written = _read(path)
    run_file = path.parent / written.run
    base = load_run(run_file, overrides, root)
    runs, steps, problems = {}, {}, []
    for variant in written.variants:
        try:
            run = load_run(run_file, overrides, root, written.set | variant.set | {"variant": variant.name})
        except ConfigError as error:
            problems += [f"{path}: variant {variant.name}: {problem}" for problem in error.problems]
            continue
        runs[variant.name] = run
        steps[variant.name], wrong = _steps(run, written.steps)
        problems += [f"{path}: variant {variant.name}: {problem}" for problem in wrong]
    problems += [f"{path}: {problem}" for problem in _alike(runs)]
    if problems:
        raise ConfigError(problems)
    assert all(run.name == base.name and run.root == base.root for run in runs.values())
    changes = {variant.name: variant.set for variant in written.variants}
    return Sweep(name=written.name, runs=runs, steps=steps, changes=changes)


def sweep_plans(sweep: Sweep, run_files: Mapping[str, str] | None = None) -> dict[str, Plan]:
    """The plan of each variant.

    Args:
        run_files: variant -> its resolved run file, for the rerun commands.

    Raises:
        ConfigError: external inputs are missing: all of them, each with the variants that need it.
    """
    plans: dict[str, Plan] = {}
    missing: dict[str, list[str]] = {}
    for name, run in sweep.runs.items():
        try:
            plans[name] = make_plan(run, run_file=(run_files or {}).get(name, ""))
        except ConfigError as error:
            for problem in error.problems:
                missing.setdefault(problem, []).append(name)
    if missing:
        raise ConfigError([f"{problem} (variant {', '.join(names)})" for problem, names in missing.items()])
    return plans


def shared_stages(plans: Mapping[str, Plan]) -> dict[str, dict[str, str | None]]:
    """Variant -> stage -> the earlier variant that has the very same artifact; None where it is this one's own."""
    first: dict[str, str] = {}
    shared: dict[str, dict[str, str | None]] = {}
    for name, plan in plans.items():
        owners = {stage.stage: first.setdefault(stage.uri, name) for stage in plan}
        shared[name] = {stage: None if owner == name else owner for stage, owner in owners.items()}
    return shared


def _read(path: Path) -> SweepFile:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: not YAML: {' '.join(str(error).split())}"]) from error
    try:
        return SweepFile.model_validate(values)
    except ValidationError as error:
        problems = []
        for details in error.errors():
            message = str(details["msg"]).removeprefix("Value error, ")
            problems.append(f"{path}: {_location(details['loc'], values) or 'sweep file'}: {message}")
        raise ConfigError(problems) from error


def _location(parts: Sequence[int | str], values: Any) -> str:
    """`variant 16k: set` rather than `variants.0.set`."""
    if len(parts) < 2 or parts[0] != "variants":
        return ".".join(map(str, parts))
    entry = values["variants"][parts[1]]
    name = entry.get("name", parts[1]) if isinstance(entry, Mapping) else parts[1]
    return ": ".join([f"variant {name}", *map(str, parts[2:])])


def _steps(run: RunConfig, asked: list[int] | Literal["all"]) -> tuple[list[int], list[str]]:
    """The steps scored besides the last, and those asked for of which no checkpoint is left when training has ended."""
    every, kept = run.train.save_every, run.train.keep_checkpoints
    saved = [*range(every, run.num_steps, every), run.num_steps]
    wanted = saved if asked == "all" else sorted(set(asked))
    problems = []
    if beyond := [step for step in wanted if step not in saved]:
        problems.append(
            f"steps {beyond}: no checkpoint is saved there; train.save_every {every} and {run.num_steps} steps give "
            f"{_short(saved)}"
        )
    left = kept_steps(saved, kept, run.train.keep_every)
    gone = [step for step in wanted if step in saved and step not in left]
    if gone:
        problems.append(
            f"steps {_short(gone)}: deleted by the end of training, which keeps the newest {kept} checkpoints; set "
            f"train.keep_checkpoints to {len(saved) - saved.index(gone[0])} or more"
        )
    return [step for step in wanted if step != run.num_steps], problems


def _short(steps: Sequence[int]) -> str:
    text = ", ".join(map(str, steps))
    return text if len(steps) <= 8 else f"{', '.join(map(str, steps[:4]))}, ..., {steps[-1]}"


def _alike(runs: Mapping[str, RunConfig]) -> list[str]:
    """Variants that differ in nothing but their names."""
    seen: dict[str, str] = {}
    problems = []
    for name, run in runs.items():
        content = run.model_copy(update={"variant": None}).model_dump_json()
        if content in seen:
            problems.append(f"variant {name}: sets the same as variant {seen[content]}; take one of them out")
        seen.setdefault(content, name)
    return problems

"""The run file: one YAML file, one frozen model, every mistake reported at once with its line.

Each stage's section is defined beside the stage's code; this module puts them together. The same model is the
pipeline's parameter, so Prefect shows it as a form and records it with the run.

    run = load_run("configs/demo.yaml", overrides=["train.lr=3e-4"])
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tasks.binarize.config import BinarizeConfig, SourceConfig
from tasks.curate.config import CurateConfig
from tasks.deduplicate.config import DeduplicateConfig
from tasks.evaluate.config import EvaluateConfig
from tasks.expand.config import ExpandConfig
from tasks.export.config import ExportConfig
from tasks.initialize.config import InitializeConfig
from tasks.mix.config import MixConfig
from tasks.refine.config import RefineConfig
from tasks.shards import ExecutorConfig
from tasks.train.config import TrainStageConfig
from trainer.batch_ramp import batch_of, samples_before, steps_for
from trainer.problems import problems


class RunConfig(BaseModel):
    """Everything that decides what a run does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="names the run and its artifacts")
    variant: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9-]{0,30}$",
        description="label of a run that shares its name, and so its artifacts, with others (`hibari sweep` sets it)",
    )
    root: str = Field("runs", min_length=1, description="URI below which all artifacts lie: a folder or s3://...")
    seed: int = Field(1234, ge=0, lt=2**31, description="seed of everything that is random")
    executor: ExecutorConfig = Field(default_factory=ExecutorConfig, description="where shards are worked on")
    curate: CurateConfig
    deduplicate: DeduplicateConfig = Field(default_factory=DeduplicateConfig)
    refine: RefineConfig = Field(default_factory=RefineConfig, description="what is done to deduplication's survivors")
    expand: ExpandConfig
    initialize: InitializeConfig
    binarize: BinarizeConfig = Field(default_factory=BinarizeConfig)
    sources: list[SourceConfig] = Field(min_length=1, description="what is mixed; `corpus` is this run's own")
    mix: MixConfig
    train: TrainStageConfig
    export: ExportConfig = Field(default_factory=ExportConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)

    @property
    def label(self) -> str:
        """What a person calls this run: its name, and its variant where it is one."""
        return f"{self.name} / {self.variant}" if self.variant else self.name

    @property
    def num_steps(self) -> int:
        """Optimizer steps that the token budget makes."""
        return steps_for(self.mix.train_tokens // self.train.seq_len, self.train.batch_ramp, self.train.global_batch)

    def tokens_after(self, step: int) -> int:
        """Tokens of the samples that steps 1 to `step` read, padding counted."""
        return samples_before(step + 1, self.train.batch_ramp, self.train.global_batch) * self.train.seq_len

    @property
    def weights(self) -> dict[str, float]:
        """Source name -> weight, in the order of the file."""
        return {source.name: source.weight for source in self.sources}

    @property
    def ceilings(self) -> dict[str, float]:
        """Source name -> most epochs, of the sources that state their own."""
        return {source.name: source.max_epochs for source in self.sources if source.max_epochs is not None}

    @property
    def languages(self) -> dict[str, str]:
        """Source name -> language."""
        return {source.name: source.language for source in self.sources}

    @model_validator(mode="before")
    @classmethod
    def _one_profile(cls, values: Any) -> Any:
        """A profile is named once, for curation; refinement follows it unless told otherwise."""
        if not isinstance(values, dict) or not isinstance(values.get("curate"), dict):
            return values
        refine = values.get("refine", {})
        if "profile" in values["curate"] and isinstance(refine, dict):
            values = values | {"refine": {"profile": values["curate"]["profile"]} | refine}
        return values

    @model_validator(mode="after")
    def _sources_fit_together(self) -> RunConfig:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"sources: every name once, got {', '.join(names)}")
        if "corpus" not in names:
            raise ValueError("sources: one must be named `corpus`, the documents this run curates")
        return self

    @model_validator(mode="after")
    def _variant_is_no_step(self) -> RunConfig:
        if self.variant and re.match(r"step-\d", self.variant):
            raise ValueError(f"variant: {self.variant} is how the record of a checkpoint is called; use another label")
        return self

    @model_validator(mode="after")
    def _training_fits_its_budget(self) -> RunConfig:
        steps = self.num_steps
        if steps == 0:
            first = "global_batch" if self.train.batch_ramp is None else "batch_ramp.start"
            batch = batch_of(1, self.train.batch_ramp, self.train.global_batch)
            raise ValueError(
                f"mix.train_tokens {self.mix.train_tokens} is less than one step: train.{first} {batch} x "
                f"train.seq_len {self.train.seq_len} = {self.tokens_after(1)}"
            )
        held_out = self.languages.values() if self.mix.validation_tokens >= self.train.seq_len else ()
        if found := problems(self.train, num_steps=steps, languages=set(held_out)):
            raise ValueError("train: " + "; ".join(found))
        return self


class ConfigError(ValueError):
    """The run file is wrong; one problem a line in `problems`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


def load_run(
    path: str | Path,
    overrides: Sequence[str] = (),
    root: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Read a run file.

    Args:
        overrides: `a.b=value` each, the value in YAML; they replace what the file says. An entry of a list is called by
            its name: `sources.corpus.weight=0.5`.
        root: replaces the file's root.
        settings: `a.b` -> value; applied after `overrides`.

    Raises:
        ConfigError: the file is missing or not YAML, or fields are wrong: all of them, each with its line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: not YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(values, dict):
        raise ConfigError([f"{path}: expected a mapping of sections, got {type(values).__name__}"])
    found = [f"{path}:{line}: {name}: written twice" for name, line in _repeated_keys(tree)]
    found += _apply_overrides(values, overrides)
    for name, value in (settings or {}).items():
        found += [f"{name}: {problem}" for problem in _set_field(values, name, deepcopy(value))]
    if root is not None:
        values["root"] = root
    try:
        run = RunConfig.model_validate(values)
    except ValidationError as error:
        for details in error.errors():
            location = tuple(str(part) for part in details["loc"])
            got = "" if details["type"] in ("missing", "value_error") else f", got {_short(details['input'])}"
            where = f"{path}:{_line_of(tree, details['loc'])}"
            found.append(f"{where}: {'.'.join(location) or 'run file'}: {_message(details)}{got}")
        raise ConfigError(found) from error
    if found:
        raise ConfigError(found)
    return run


def dump_run(run: RunConfig) -> str:
    """The run file that gives this very model, defaults written out."""
    return yaml.safe_dump(run.model_dump(mode="json"), allow_unicode=True, sort_keys=False)


def _message(details: Mapping[str, Any]) -> str:
    if details["type"] == "extra_forbidden":
        return "no such field"
    return str(details["msg"]).removeprefix("Value error, ")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Set each `a.b=value` in place; the problems found."""
    problems = []
    for override in overrides:
        name, separator, text = override.partition("=")
        keys = name.split(".")
        if not separator or not all(keys):
            problems.append(f"--set {override}: expected name=value, for example train.lr=1e-4")
            continue
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            problems.append(f"--set {override}: the value is not YAML")
            continue
        problems += [f"--set {override}: {problem}" for problem in _set_field(values, name, value)]
    return problems


def _set_field(values: dict[str, Any], name: str, value: Any) -> list[str]:
    """Set the field `a.b` in place; what is wrong with the name."""
    *path, last = name.split(".")
    section: Any = values
    for depth, key in enumerate(path):
        if isinstance(section, list):
            named = {entry.get("name"): entry for entry in section if isinstance(entry, dict)}
            if key not in named:
                have = ", ".join(str(other) for other in named if other) or "no names"
                return [f"{'.'.join(path[:depth])} has no entry named {key}, only {have}"]
            section = named[key]
        else:
            section = section.setdefault(key, {}) if isinstance(section, dict) else None
    if not isinstance(section, dict):
        return [f"{'.'.join(path)} is not a section"]
    section[last] = value
    return []


def _line_of(tree: yaml.Node | None, location: Sequence[int | str]) -> int:
    """The line (from 1) of the deepest part of `location` that the file has."""
    line, node = 1, tree
    for part in location:
        found = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            line = found.start_mark.line + 1
        if found is None:
            break
        node = found
    return line


def _repeated_keys(node: yaml.Node | None, prefix: str = "") -> list[tuple[str, int]]:
    """(dotted name, line) of every key that its mapping holds twice; YAML would keep the last in silence."""
    repeated = []
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            if name in seen:
                repeated.append((name, key.start_mark.line + 1))
            seen.add(name)
            repeated += _repeated_keys(value, f"{name}.")
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            repeated += _repeated_keys(item, prefix)
    return repeated

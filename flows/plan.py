"""The plan of a run: ten stages with their fingerprints and places, known before anything runs.

A fingerprint covers what decides bytes: the stage's algorithm version, its config literals, the fingerprints of its
inputs and the versions of the libraries it computes with. Paths, worker counts, batch sizes of
evaluation, logging and the training layout do not enter it; they are recorded beside.

    plan = make_plan(run, Selection(only=("curate",)))
    plan.curate.uri, plan.curate.fingerprint
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from flows.config import ConfigError, RunConfig
from storage.artifact import artifact_uri, canonical_json, fingerprint, input_digests, library_versions
from storage.uri import expand_glob, is_local, join, local_path
from tasks.stage import STAGES, StagePlan

# Raise a stage's version whenever the same inputs and literals give other bytes.
ALGORITHMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "curate": ("1", ("fastwarc", "resiliparse", "pyarrow", "numpy")),
    "deduplicate": ("1", ("datasketch", "xxhash", "pyarrow", "numpy")),
    "expand": ("1", ("sentencepiece", "tokenizers")),
    "initialize": ("1", ("torch", "safetensors")),
    "binarize": ("1", ("sentencepiece", "tokenizers", "pyarrow")),
    "mix": ("1", ("numpy",)),
    "train": ("1", ("torch",)),
    "export": ("1", ("torch", "safetensors")),
    "evaluate": ("1", ("torch", "transformers")),
    "report": ("1", ("matplotlib", "jinja2")),
}
# Of the `train` section: how the work is laid out, not what is computed.
TRAIN_LAYOUT = {"micro_batch", "parallel", "launcher", "save_every", "keep_checkpoints", "log_every", "threads_per_rank"}
TRAIN_LAYOUT |= {"timeout_s", "process_group_timeout_s"}
EVALUATE_LAYOUT = {"batch_size", "threads"}


@dataclass(frozen=True)
class Selection:
    """Which stages may run, and which must although they are complete.

    Raises:
        ValueError: a name is not a stage, or `from_` comes after `until`.
    """

    from_: str | None = None
    until: str | None = None
    only: tuple[str, ...] = ()
    force: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        named = [name for name in (self.from_, self.until, *self.only, *self.force) if name is not None]
        unknown = sorted(set(named) - set(STAGES))
        if unknown:
            raise ValueError(f"no stage {', '.join(unknown)}; the stages are {', '.join(STAGES)}")
        if self.from_ and self.until and STAGES.index(self.from_) > STAGES.index(self.until):
            raise ValueError(f"--from {self.from_} comes after --until {self.until}")

    def selects(self, stage: str) -> bool:
        """Whether `stage` may run."""
        first = STAGES.index(self.from_) if self.from_ else 0
        last = STAGES.index(self.until) if self.until else len(STAGES) - 1
        return first <= STAGES.index(stage) <= last and (not self.only or stage in self.only)


@dataclass(frozen=True)
class Plan:
    """The ten stages of a run, in order."""

    curate: StagePlan
    deduplicate: StagePlan
    expand: StagePlan
    initialize: StagePlan
    binarize: StagePlan
    mix: StagePlan
    train: StagePlan
    export: StagePlan
    evaluate: StagePlan
    report: StagePlan

    def __iter__(self) -> Iterator[StagePlan]:
        return (getattr(self, stage.name) for stage in fields(self))


@dataclass
class _Inputs:
    """Digests of external inputs; every one that cannot be read is a problem, and all are reported together."""

    problems: list[str] = field(default_factory=list)

    def digest(self, name: str, read: Callable[[], str]) -> str:
        try:
            return read()
        except (OSError, ValueError) as error:
            self.problems.append(f"{name}: {error}")
            return "unreadable"


def make_plan(run: RunConfig, selection: Selection | None = None, run_file: str = "RUNFILE") -> Plan:
    """Fingerprint all ten stages.

    Args:
        run_file: how the user named the run file, for the rerun commands.

    Raises:
        ConfigError: external inputs are missing or unreadable: all of them.
    """
    selection = selection or Selection()
    stages: dict[str, StagePlan] = {}

    def add(name: str, literals: Mapping[str, Any], inputs: Mapping[str, str], recorded: Mapping[str, Any]) -> None:
        version, libraries = ALGORITHMS[name]
        versions = library_versions(libraries)
        identity = fingerprint(name, version, literals, inputs, versions)
        stages[name] = StagePlan(
            stage=name,
            name=run.name,
            uri=artifact_uri(run.root, name, run.name, identity),
            fingerprint=identity,
            algorithm_version=version,
            literals=literals,
            inputs=inputs,
            libraries=versions,
            recorded=recorded,
            selected=selection.selects(name),
            force=name in selection.force,
            rerun=f"hibari run {run_file} --root {run.root} --only {name} --force {name}"
            if name in selection.force
            else f"hibari run {run_file} --root {run.root} --only {name}",
        )

    external = _Inputs()
    workers = {"executor": run.executor.model_dump(mode="json")}

    def made(*names: str) -> dict[str, str]:
        return {name: stages[name].fingerprint for name in names}

    curate = run.curate.model_dump(mode="json")
    add(
        "curate",
        {key: value for key, value in curate.items() if key != "sources"} | _without_path(curate, "language", "model"),
        {"warcs": external.digest("curate.sources", lambda: _warcs_digest(run))}
        | ({"language model": external.digest("curate.language.model", lambda: file_digest(model))}
           if (model := run.curate.language.model) else {}),
        {"sources": run.curate.sources} | workers,
    )
    add("deduplicate", run.deduplicate.model_dump(mode="json"), made("curate"), workers)
    expand = run.expand.model_dump(mode="json", exclude={"base"}) if run.expand.enabled else {"enabled": False}
    add(
        "expand",
        expand | ({"seed": run.seed} if run.expand.enabled else {}),
        {"base tokenizer": external.digest("expand.base", lambda: tokenizer_digest(run.expand.base))}
        | (made("deduplicate") if run.expand.enabled else {}),
        {"base": run.expand.base},
    )
    base_model = run.initialize.base_model
    random = not isinstance(base_model, str)
    add(
        "initialize",
        run.initialize.model_dump(mode="json", exclude=None if random else {"base_model"})
        | ({"seed": run.seed} if random else {}),
        made("expand")
        | ({} if random else {"base model": external.digest("initialize.base_model", lambda: folder_digest(base_model))}),
        {} if random else {"base_model": base_model},
    )
    documents = {
        f"documents of {source.name}": external.digest(
            f"sources.{source.name}", lambda source=source: files_digest(source.documents or [])
        )
        for source in run.sources
        if source.name != "corpus"
    }
    add(
        "binarize",
        run.binarize.model_dump(mode="json")
        | {"sources": [{"name": source.name, "language": source.language} for source in run.sources]},
        made("deduplicate", "expand") | documents,
        workers,
    )
    add(
        "mix",
        run.mix.model_dump(mode="json")
        | {"seq_len": run.train.seq_len, "seed": run.seed, "weights": {s.name: s.weight for s in run.sources}},
        made("binarize"),
        {},
    )
    train = run.train.model_dump(mode="json")
    add(
        "train",
        {key: value for key, value in train.items() if key not in TRAIN_LAYOUT} | {"seed": run.seed},
        made("initialize", "mix"),
        {key: value for key, value in train.items() if key in TRAIN_LAYOUT},
    )
    add("export", run.export.model_dump(mode="json"), made("train"), {})
    evaluate = run.evaluate.model_dump(mode="json")
    add(
        "evaluate",
        {key: value for key, value in evaluate.items() if key not in EVALUATE_LAYOUT} | {"seed": run.seed},
        made("initialize", "binarize", "export"),
        {key: value for key, value in evaluate.items() if key in EVALUATE_LAYOUT},
    )
    add("report", {"run": run.name}, made(*STAGES[:-1]), {})
    if external.problems:
        raise ConfigError(external.problems)
    return Plan(**stages)


def _without_path(section: Mapping[str, Any], part: str, key: str) -> dict[str, Any]:
    """A nested part of a section without its path, whose content is an input instead."""
    return {part: {name: value for name, value in section[part].items() if name != key}}


def _warcs_digest(run: RunConfig) -> str:
    from tasks.curate.warc import list_warcs

    warcs = list_warcs(run.curate.sources)
    local = iter(input_digests(warc.uri for warc in warcs if warc.identity is None))
    return _digest_of([(warc.name, warc.identity or next(local)) for warc in warcs])


def files_digest(uris: Sequence[str]) -> str:
    """One digest of what all files hold, in order."""
    return _digest_of(input_digests(found for uri in uris for found in expand_glob(uri)))


def file_digest(uri: str) -> str:
    return input_digests([uri])[0]


def tokenizer_digest(base: str) -> str:
    """Digest of a tokenizer: a SentencePiece file, or the tokenizer files of a Hugging Face folder."""
    if is_local(base) and local_path(base).is_dir():
        names = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")
        return folder_digest(base, names)
    return file_digest(base)


def folder_digest(folder: str, names: Sequence[str] = ("*.json", "*.safetensors", "tokenizer.model")) -> str:
    """Digest of the named files of a local folder.

    Raises:
        FileNotFoundError: no such folder, or none of the files in it.
    """
    found = sorted({path for name in names for path in Path(folder).glob(name)})
    if not found:
        raise FileNotFoundError(f"no {', '.join(names)} in {folder}")
    digests = input_digests(str(path) for path in found)
    return _digest_of([(path.name, digest) for path, digest in zip(found, digests, strict=True)])


def _digest_of(value: Any) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()


def run_record_uri(run: RunConfig) -> str:
    """Where a run leaves its resolved run file."""
    return join(run.root, "runs", f"{run.name}.yaml")

"""Run records: which artifacts a run refers to, so that they can be kept, traced and pruned without its inputs.

Each run leaves two files below its root: `runs/<name>.yaml`, the resolved run file, and `runs/<name>.json`, the folder
and the fingerprint of each of its ten stages, made yet or not. A run of the same name replaces them. What shares a
run's name but has artifacts of its own is recorded beside it: a variant as `<name>@<variant>`, a checkpoint scored by
itself as `<name>@step-<N>`. Folders are named relative to the root, so a root that moved is still understood.

    record_run(run, make_plan(run, selection), selection, "RUNFILE")
    for record in kept_runs("runs"):
        print(record.key, record.uri("runs", "curate"))
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from flows.config import ConfigError, RunConfig, dump_run
from flows.plan import named_run_file, run_record_uri
from flows.selection import Selection
from storage.uri import exists, is_local, join, listing, read_bytes, remove, write_bytes
from tasks.stage import STAGES, StagePlan

RUNS = "runs"
SCHEMA_VERSION = 1
_ARTIFACT = re.compile(r"[a-z0-9][a-z0-9-]*-[0-9a-f]{12}")


@dataclass(frozen=True)
class StageReference:
    """The artifact of one stage: its folder below `<root>/<stage>/`, and its fingerprint (64 hex digits)."""

    artifact: str
    fingerprint: str


@dataclass(frozen=True)
class RunRecord:
    """What a run refers to.

    Attributes:
        run: the run's name; `label`: what tells it from others of that name, empty for the run itself.
        step: of the checkpoint that was scored, where it is not the last.
        when: ISO 8601, UTC.
        command: what started it, with the run file as it was named then.
        stages: stage -> its artifact.
    """

    run: str
    label: str
    step: int | None
    when: str
    command: str
    stages: dict[str, StageReference]

    @property
    def key(self) -> str:
        """`<name>` or `<name>@<label>`: how the record is called, in its file name and for `--forget`."""
        return f"{self.run}@{self.label}" if self.label else self.run

    def rerun(self, root: str) -> str:
        """The command that brings the run to completion: from its resolved run file, where that is a local file."""
        if not is_local(root):
            return self.command
        step = f" --step {self.step}" if self.step is not None else ""
        return f"hibari run {join(root, RUNS, self.key)}.yaml{step}"

    def uri(self, root: str, stage: str) -> str:
        """Where the artifact of `stage` is, or would be."""
        return join(root, stage, self.stages[stage].artifact)

    @classmethod
    def from_json(cls, data: bytes) -> RunRecord:
        """Read a record.

        Raises:
            ValueError: written by another schema version, or not a record.
        """
        fields = json.loads(data)
        if not isinstance(fields, dict) or fields.pop("schema_version", None) != SCHEMA_VERSION:
            raise ValueError(f"not a run record of schema {SCHEMA_VERSION}")
        try:
            stages = {stage: StageReference(**found) for stage, found in fields.pop("stages").items()}
            record = cls(**fields, stages=stages)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a run record: {error}") from error
        unknown = sorted(set(record.stages) - set(STAGES))
        if unknown or not record.stages:
            raise ValueError(f"stages {', '.join(unknown) or '(none)'}; expected some of {', '.join(STAGES)}")
        for stage, reference in record.stages.items():
            if not _ARTIFACT.fullmatch(reference.artifact):
                raise ValueError(f"{stage}: {reference.artifact!r} is not the name of an artifact's folder")
        return record


def record_run(run: RunConfig, plan: Iterable[StagePlan], selection: Selection | None, run_file: str) -> None:
    """Write (or replace) the record of a run and its resolved run file.

    Args:
        plan: the stages that the run refers to, from the same selection.
        run_file: how the user named the run file, if one did.
    """
    step = selection.step if selection is not None and selection.step != run.num_steps else None
    option = f" --step {step}" if step is not None else ""
    record = RunRecord(
        run=run.name,
        label="@".join(part for part in (run.variant, f"step-{step}" if step is not None else None) if part),
        step=step,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        command=f"hibari run {named_run_file(run, run_file)} --root {run.root}{option}",
        stages={stage.stage: StageReference(stage.uri.rsplit("/", 1)[-1], stage.fingerprint) for stage in plan},
    )
    content = {"schema_version": SCHEMA_VERSION, **asdict(record)}
    resolved = run_record_uri(run, record.label)
    beside = f"{resolved.removesuffix('.yaml')}.json"
    settings = dump_run(run).encode()
    if _recorded(beside) == record.stages and exists(resolved) and read_bytes(resolved) == settings:
        return  # a root that nothing is to be done in may well be read-only
    write_bytes(resolved, settings)
    write_bytes(beside, json.dumps(content, ensure_ascii=False).encode() + b"\n")


def _recorded(uri: str) -> dict[str, StageReference] | None:
    """What the record at `uri` refers to; None where there is none that can be read."""
    try:
        return RunRecord.from_json(read_bytes(uri)).stages
    except (FileNotFoundError, ValueError):
        return None


def kept_runs(root: str, forget: Collection[str] = ()) -> list[RunRecord]:
    """The records of all runs of a root, in order of their names.

    Args:
        forget: keys of runs to leave out, whether their records can be read or not.

    Raises:
        ConfigError: records that cannot be read, and runs that left a run file but no record: all of them. What such a
            run refers to is not known, so nothing may be concluded from the others.
    """
    stems: dict[str, set[str]] = {"json": set(), "yaml": set()}
    for name in listing(join(root, RUNS)):
        stem, _, suffix = name.rpartition(".")
        if "/" not in name and suffix in stems and stem not in forget:
            stems[suffix].add(stem)
    found, problems = [], []
    for stem in sorted(stems["json"]):
        uri = join(root, RUNS, f"{stem}.json")
        try:
            record = RunRecord.from_json(read_bytes(uri))
            if record.key != stem:
                raise ValueError(f"is the record of {record.key}")
            found.append(record)
        except ValueError as error:
            problems.append(f"{uri}: {error}; run it again, or forget it: --forget {stem}")
    problems += [
        f"{join(root, RUNS, stem)}.yaml has no {stem}.json beside it, which says what the run refers to: run it again "
        f"(what is complete is not made again), or forget it: --forget {stem}"
        for stem in sorted(stems["yaml"] - stems["json"])
    ]
    if problems:
        raise ConfigError(problems)
    return found


def recorded_base(root: str, record: RunRecord) -> str | None:
    """The folder of the corpus that a run adds to, as its resolved run file says; None where it adds to none.

    Raises:
        ConfigError: the run file cannot be read.
    """
    base: str | None = _section(root, record, "deduplicate", "which corpus the run adds to").get("onto")
    return base


def recorded_training(root: str, record: RunRecord) -> str | None:
    """The folder of the training that a run continues, as its resolved run file says; None where it continues none.

    Raises:
        ConfigError: the run file cannot be read.
    """
    continues = _section(root, record, "mix", "which training the run continues").get("continues")
    return str(continues["training"]).rstrip("/").rpartition("/")[2] if continues else None


def _section(root: str, record: RunRecord, name: str, what: str) -> dict[str, Any]:
    """A section of a run's resolved run file; an empty one where there is no file."""
    uri = join(root, RUNS, f"{record.key}.yaml")
    try:
        settings = yaml.safe_load(read_bytes(uri))
        found: dict[str, Any] = settings.get(name, {})
        return dict(found)
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError([f"{uri}: {what} cannot be read: {reason}; run it again"]) from error


def forget_run(root: str, key: str) -> None:
    """Remove a run's record and its resolved run file; its artifacts stay until they are pruned."""
    for suffix in ("json", "yaml"):
        remove(join(root, RUNS, f"{key}.{suffix}"))


def references(records: Iterable[RunRecord]) -> Mapping[tuple[str, str], list[str]]:
    """(stage, artifact folder) -> the keys of the runs that refer to it."""
    found: dict[tuple[str, str], list[str]] = {}
    for record in records:
        for stage, reference in record.stages.items():
            found.setdefault((stage, reference.artifact), []).append(record.key)
    return found

"""`hibari prune`: remove what no run refers to any more.

Kept is what the run records name (`flows.records`), the corpora that a kept corpus is built onto or that a run is about
to add to, and the token files that a kept mixture reads. The rest of the root's artifacts go: those of settings that
were changed since, forced reruns that came out differently, artifacts that were begun and given up; with them temporary
files, unfinished uploads and leases that are over a day old. Nothing is deleted unless asked. What another run is
making at this moment, or is not recognised as an artifact, stays.

    plan = plan_prune("runs", forget=["old-run"])
    print(plan.num_bytes, [leftover.name for leftover in plan.remove])
    problems = remove_pruned(plan)
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.config import ConfigError
from flows.inventory import LEASE, Artifact, Entry, Key, entries, files_below, inventory, strangers
from flows.records import RUNS, RunRecord, forget_run, kept_runs, recorded_base, recorded_training, references
from storage.artifact import MANIFEST
from storage.consumption import read_phases
from storage.lease import LeaseHeldError, current, hold
from storage.mixture_plan import read_plan, resolve_uri
from storage.swap import read, swap
from storage.tombstones import FOLDER as TAKEDOWN
from storage.uri import filesystem, is_local, join, local_path, remove
from tasks.stage import STAGES

logger = logging.getLogger(__name__)

STALE = timedelta(days=1)


@dataclass(frozen=True)
class Leftover:
    """Something to remove.

    Attributes:
        kind: "artifact", "temporary", "lease" or "upload".
        name: of the artifact's folder, or path below the root.
        num_bytes: that its removal frees, given that all else on the list goes too.
        upload: id of an unfinished upload.
    """

    kind: str
    stage: str
    name: str
    uri: str
    num_bytes: int
    made: datetime | None
    why: str
    upload: str = ""


@dataclass
class PrunePlan:
    """What goes, what stays and for which runs, and what is left alone and why."""

    root: str
    forget: list[str]
    remove: list[Leftover] = field(default_factory=list)
    keep: list[tuple[Artifact, list[str]]] = field(default_factory=list)
    leave: list[tuple[str, str]] = field(default_factory=list)

    @property
    def num_bytes(self) -> int:
        return sum(leftover.num_bytes for leftover in self.remove)


def plan_prune(root: str, forget: Collection[str] = ()) -> PrunePlan:
    """Look what could be removed; nothing is.

    Args:
        forget: keys of run records to treat as if they were not there.

    Raises:
        ConfigError: the root has no run records, some cannot be read, or a run to forget is not there.
    """
    plan = PrunePlan(root, sorted(forget))
    found = inventory(root)
    needed = _needed(root, found, _records(root, forget))
    gone: list[tuple[Leftover, list[Entry]]] = []
    for artifact in found:
        runs = needed.get(artifact.key, [])
        if artifact.problem:
            plan.leave.append((artifact.uri, artifact.problem))
        elif runs:
            plan.keep.append((artifact, runs))
        elif holder := current(artifact.lease):
            plan.leave.append((artifact.uri, f"in use by {holder}"))
        else:
            files = files_below(artifact.uri)
            if is_local(root) or any(entry.size for entry in files):  # SeaweedFS lists folders that were emptied
                gone.append((_leftover(artifact, files), files))
    plan.leave += [(uri, "not the shape of an artifact") for uri in strangers(root)]
    plan.remove = _with_bytes_freed(gone)
    removed = {leftover.uri for leftover in plan.remove}
    for others in (_stale_leases(root), _stale_temporaries(root, removed), _stale_uploads(root)):
        plan.remove += others
    return plan


def _records(root: str, forget: Collection[str]) -> list[RunRecord]:
    files = [entry.name for entry in entries(join(root, RUNS))]
    names = {name.rpartition(".")[0] for name in files if name.endswith((".json", ".yaml"))}
    if not names:
        raise ConfigError(
            [f"{root} has no run record below {RUNS}/, so nothing says what to keep: is it the root of a run?"]
        )
    if unknown := sorted(set(forget) - names):
        there = ", ".join(sorted(names))
        raise ConfigError([f"--forget {key}: no such run in {root}; there: {there}" for key in unknown])
    return kept_runs(root, forget)


def _needed(root: str, found: Sequence[Artifact], records: Sequence[RunRecord]) -> dict[Key, list[str]]:
    """(stage, folder) -> the runs it stays for; corpora also for those onto them, token files for their mixtures."""
    needed = {key: list(runs) for key, runs in references(records).items()}
    for record in records:  # the corpus that it adds to may not be its own yet
        if base := recorded_base(root, record):
            _add(needed, ("deduplicate", base), [record.key])
        if training := recorded_training(root, record):
            _add(needed, ("train", training), [record.key])
    for corpus in found:
        if runs := needed.get(corpus.key):
            for key in corpus.built_onto():
                _add(needed, key, runs)
    _add_continued(needed, found)
    for mixture in found:
        runs = needed.get(mixture.key)
        if mixture.stage != "mix" or mixture.manifest is None or not runs:
            continue
        try:
            splits = read_plan(mixture.uri).splits
        except (OSError, ValueError) as error:
            raise ConfigError(
                [f"{mixture.uri}: it cannot be told which tokens it reads, so none may go: {error}"]
            ) from error
        for split in splits.values():
            for source in split.sources:
                stage, folder = resolve_uri(mixture.uri, source.tokens).split("/")[-4:-2]
                _add(needed, (stage, folder), runs)
    return needed


def _add_continued(needed: dict[Key, list[str]], found: Sequence[Artifact]) -> None:
    """The mixtures before one that continues them say which fingerprint it has, and what its run has read."""
    for mixture in found:
        runs = needed.get(mixture.key)
        if mixture.stage == "mix" and mixture.manifest and runs and "continued_samples" in mixture.manifest.literals:
            for phase in read_phases(mixture.uri):
                _add(needed, ("mix", phase.mixture), runs)


def _add(needed: dict[Key, list[str]], key: Key, runs: Sequence[str]) -> None:
    at = needed.setdefault(key, [])
    at += [run for run in runs if run not in at]


def _leftover(artifact: Artifact, files: Sequence[Entry]) -> Leftover:
    changed = max((entry.changed for entry in files if entry.changed), default=None)
    made = datetime.fromisoformat(artifact.manifest.started) if artifact.manifest else changed
    if artifact.is_again:
        why = "left by a forced rerun"
    elif artifact.manifest is None:
        why = "begun and not finished; no run refers to it"
    else:
        why = "no run refers to it"
    return Leftover("artifact", artifact.stage, artifact.folder, artifact.uri, 0, made, why)


def _with_bytes_freed(gone: Sequence[tuple[Leftover, list[Entry]]]) -> list[Leftover]:
    """Count each file once, and a hard-linked one only where its last link goes."""
    links = Counter(entry.inode for _, files in gone for entry in files if entry.inode is not None)
    counted: set[int] = set()
    found = []
    for leftover, files in gone:
        freed = 0
        for entry in files:
            if entry.inode is None:
                freed += entry.size
            elif links[entry.inode] == entry.links and entry.inode not in counted:
                counted.add(entry.inode)
                freed += entry.size
        found.append(replace(leftover, num_bytes=freed))
    return found


def _stale(changed: datetime | None) -> bool:
    return changed is not None and datetime.now(UTC) - changed > STALE


def _stale_leases(root: str) -> Iterator[Leftover]:
    """Leases whose holder is gone, or has not renewed them for a day."""
    for stage in STAGES:
        for entry in entries(join(root, stage)):
            uri = join(root, stage, entry.name)
            if entry.is_folder or not entry.name.endswith(LEASE):
                continue
            if _stale(entry.changed) or (entry.size and current(uri) is None):  # its creator may be about to fill it
                yield Leftover("lease", stage, entry.name, uri, entry.size, entry.changed, "its holder is gone")


def _stale_temporaries(root: str, removed: Collection[str]) -> Iterator[Leftover]:
    """`.*.tmp` that killed writers left over a day ago, outside of what is removed anyway."""
    if not is_local(root):
        return
    base = local_path(root)
    skipped = {local_path(uri) for uri in removed}
    for part in (*STAGES, RUNS, TAKEDOWN):
        for folder, subfolders, files in os.walk(base / part):
            subfolders[:] = sorted(name for name in subfolders if Path(folder, name) not in skipped)
            for name in [*subfolders, *sorted(files)]:
                path = Path(folder, name)
                if not (name.startswith(".") and name.endswith(".tmp")):
                    continue
                status = path.lstat()
                changed = datetime.fromtimestamp(status.st_mtime, UTC)
                if _stale(changed):
                    size = sum(entry.size for entry in files_below(str(path))) if path.is_dir() else status.st_size
                    at = path.relative_to(base).as_posix()
                    yield Leftover("temporary", part, at, str(path), size, changed, "left by a killed writer")


def _stale_uploads(root: str) -> Iterator[Leftover]:
    """Uploads to S3 below the root that were begun over a day ago and never finished."""
    fs, path = filesystem(root)
    if "s3" not in fs.protocol:
        return
    bucket, prefix, _ = fs.split_path(path.rstrip("/") + "/")
    for upload in fs.list_multipart_uploads(bucket):
        key, made = upload["Key"], upload["Initiated"]
        if key.startswith(prefix) and key[len(prefix) :].split("/")[0] in STAGES and _stale(made):
            at = key[len(prefix) :]
            why = "upload that was never finished"
            yield Leftover("upload", at.split("/")[0], at, join(root, at), 0, made, why, upload["UploadId"])


def remove_pruned(plan: PrunePlan) -> list[str]:
    """Remove what the plan lists, and the records of the runs it forgets.

    An artifact's manifest goes first, so that a half-removed one is never taken for complete; its lease is held
    meanwhile, so that no run begins to make or use it.

    Returns:
        What could not be removed and why, a line each.
    """
    problems = []
    for key in plan.forget:
        forget_run(plan.root, key)
    for leftover in plan.remove:
        try:
            _remove(leftover)
        except LeaseHeldError as error:
            problems.append(f"{leftover.uri} stays: {error}")
        except OSError as error:
            problems.append(f"{leftover.uri} could not be removed: {error}")
    return problems


def _remove(leftover: Leftover) -> None:
    logger.info("removing %s: %s", leftover.uri, leftover.why)
    if leftover.kind == "upload":
        fs, path = filesystem(leftover.uri)
        bucket, key, _ = fs.split_path(path)
        fs.abort_mpu(bucket, key, leftover.upload)
    elif leftover.kind == "lease":
        if (found := read(leftover.uri)) is not None:
            swap(leftover.uri, found, None)
    elif leftover.kind == "temporary":
        remove(leftover.uri)
    else:
        artifact = Artifact(leftover.stage, leftover.name, leftover.uri)
        with hold(artifact.lease, "hibari prune", wait=False):
            remove(join(leftover.uri, MANIFEST))
            remove(leftover.uri)


def prune(root: str, forget: Sequence[str], console: Console, *, delete: bool) -> bool:
    """Show what would be removed and what stays, and remove it where asked.

    Returns:
        False where something could not be removed.

    Raises:
        ConfigError: see `plan_prune`.
    """
    plan = plan_prune(root, forget)
    _show(plan, console)
    if not plan.remove and not plan.forget:
        console.print(f"nothing to remove in {root}", highlight=False)
        return True
    megabytes = f"{plan.num_bytes / 1e6:,.1f} MB"
    if not delete:
        console.print(
            f"nothing was removed; --delete removes {len(plan.remove)} and frees {megabytes}", highlight=False
        )
        return True
    problems = remove_pruned(plan)
    for problem in problems:
        console.print(problem, style="red", highlight=False, soft_wrap=True, markup=False)
    if not problems:
        console.print(f"removed {len(plan.remove)}, {megabytes} freed", highlight=False)
    return not problems


def _show(plan: PrunePlan, console: Console) -> None:
    if plan.keep:
        table = Table(title=f"stays in {plan.root}", title_justify="left")
        for heading in ("stage", "artifact", "MB", "for"):
            table.add_column(heading, justify="right" if heading == "MB" else "left", overflow="fold")
        for artifact, runs in plan.keep:
            size = f"{artifact.manifest.num_bytes / 1e6:,.1f}" if artifact.manifest else "unfinished"
            table.add_row(artifact.stage, artifact.folder, size, ", ".join(runs))
        console.print(table)
    for uri, why in plan.leave:
        console.print(f"left alone: {uri} ({why})", highlight=False, soft_wrap=True, markup=False)
    for key in plan.forget:
        console.print(f"forgets the run {key}", highlight=False, markup=False)
    if plan.remove:
        table = Table(title=f"goes from {plan.root}", title_justify="left")
        for heading in ("stage", "what", "MB", "made", "why"):
            table.add_column(heading, justify="right" if heading == "MB" else "left", overflow="fold")
        for leftover in plan.remove:
            made = f"{leftover.made:%Y-%m-%d %H:%M}" if leftover.made else ""
            table.add_row(leftover.stage, leftover.name, f"{leftover.num_bytes / 1e6:,.1f}", made, leftover.why)
        console.print(table)

"""What is done of a run, what is stale and why: read from manifests, in well under a second.

for status in run_status(make_plan(run)):
    print(status.stage, status.state, status.differs)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from storage.artifact import MANIFEST, Manifest, read_manifest
from storage.uri import filesystem, is_local, join
from tasks.stage import StagePlan

# The one count of a stage that says most about it.
HEADLINE = {
    "curate": ("records", "documents"),
    "deduplicate": ("documents", "kept"),
    "expand": ("new_pieces", "vocab"),
    "initialize": ("new_rows", "parameters"),
    "binarize": ("documents", "tokens"),
    "mix": ("samples", "train_tokens"),
    "train": ("steps", "tokens"),
    "export": ("parameters",),
    "evaluate": ("models", "examples"),
    "report": (),
}


@dataclass(frozen=True)
class StageStatus:
    """`state` is "complete", "stale" (made under other terms, which `differs` names), "partial" or "missing"."""

    plan: StagePlan
    state: str
    manifest: Manifest | None = None
    differs: tuple[str, ...] = ()


def run_status(stages: Iterable[StagePlan]) -> list[StageStatus]:
    return [stage_status(plan) for plan in stages]


def stage_status(plan: StagePlan) -> StageStatus:
    manifest = read_manifest(plan.uri)
    if manifest is not None:
        return StageStatus(plan, "complete", manifest)
    other = _newest_other(plan)
    if other is not None:
        return StageStatus(plan, "stale", other, tuple(_differences(plan, other)))
    fs, path = filesystem(plan.uri)
    return StageStatus(plan, "partial" if fs.exists(path) else "missing")


def _newest_other(plan: StagePlan) -> Manifest | None:
    """The latest complete artifact of this stage and run name under another fingerprint."""
    fs, folder = filesystem(plan.uri.rsplit("/", 1)[0])
    found = []
    for path in fs.glob(f"{folder}/{plan.name}-*/{MANIFEST}"):
        artifact = str(path).rsplit("/", 1)[0]
        if re.fullmatch(rf"{re.escape(plan.name)}-[0-9a-f]{{12}}", artifact.rsplit("/", 1)[-1]):
            uri = artifact if is_local(plan.uri) else join(plan.uri.rsplit("/", 1)[0], artifact.rsplit("/", 1)[-1])
            manifest = read_manifest(uri)
            if manifest is not None:
                found.append(manifest)
    return max(found, key=lambda manifest: manifest.started, default=None)


def _differences(plan: StagePlan, other: Manifest) -> list[str]:
    """What the plan says that the other artifact did not, in words: `ngram: 4 -> 5`, `input corpus`."""
    found = changed("", other.literals, plan.literals)
    found += [f"input {name}" for name in changed_keys(other.inputs, plan.inputs)]
    found += [
        f"{name} {other.libraries.get(name, 'none')} -> {plan.libraries.get(name, 'none')}"
        for name in changed_keys(other.libraries, plan.libraries)
    ]
    if other.algorithm_version != plan.algorithm_version:
        found.append(f"algorithm {other.algorithm_version} -> {plan.algorithm_version}")
    return found


def changed(prefix: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Settings that are not the same, in words: `refine.footer.enabled: False -> True`."""
    found = []
    for key in changed_keys(old, new):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, Mapping):
            found += changed(f"{prefix}{key}.", before, after)
        else:
            found.append(f"{prefix}{key}: {before} -> {after}")
    return found


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Keys whose values are not the same, sorted."""
    return [key for key in sorted(set(old) | set(new)) if old.get(key) != new.get(key)]


def status_table(statuses: Iterable[StageStatus], title: str) -> Table:
    """A table for the terminal: stage, state, headline counts, bytes, time, place or reason."""
    table = Table(title=title, title_justify="left")
    for heading in ("stage", "state", "counts", "MB", "seconds", "artifact, or what differs"):
        table.add_column(heading, justify="right" if heading in ("MB", "seconds") else "left")
    colors = {"complete": "green", "stale": "yellow", "partial": "yellow", "missing": "red"}
    for status in statuses:
        manifest = status.manifest
        table.add_row(
            status.plan.stage,
            f"[{colors[status.state]}]{status.state}[/]",
            headline(status.plan.stage, manifest.counts) + _generations(manifest) if manifest else "",
            f"{manifest.num_bytes / 1e6:,.1f}" if manifest else "",
            f"{manifest.seconds:,.1f}" if manifest else "",
            "; ".join(status.differs) if status.state == "stale" else "/".join(status.plan.uri.rsplit("/", 2)[1:]),
        )
    return table


def _generations(manifest: Manifest) -> str:
    """How many generations a corpus has, where it is more than one."""
    earlier = manifest.details.get("generations", {}).get("earlier", ())
    return f", {len(earlier) + 1} generations" if earlier else ""


def headline(stage: str, counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[name]:,} {name.replace('_', ' ')}" for name in HEADLINE[stage] if name in counts)

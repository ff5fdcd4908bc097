"""`hibari takedown`: pages and hosts go, and do not come back.

The list's patterns become tombstones of the root (`storage.tombstones`), which every later plan reads: curate and,
for other sources, binarize leave out what they match. Then everything below the root is searched
(`flows.takedown_search`), and a report says what holds the pages, which training steps read them, which checkpoints and
models therefore have seen them, and what to type. It is kept as `<root>/takedown/<when>-<digest>.json` and `.md`.

The next run makes anew what held the pages, starting from the curated documents it has
(`tasks.curate.retract`); its record then refers to the new artifacts, and `hibari prune` removes the old ones. The same
list again takes nothing more down, and reports what is left.

    facts = take_down(Path("list.txt"), run, "RUNFILE", "request of 1 March", Console(), dry_run=False)
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from flows.config import ConfigError, RunConfig
from flows.inventory import LEASE, Artifact, Key, inventory
from flows.records import RUNS, RunRecord, kept_runs, recorded_base, references
from flows.takedown_report import markdown
from flows.takedown_search import Found, OutsideSource, find_copies, reading, search
from flows.takedown_training import samples_of, trainings
from storage.lease import hold
from storage.sources import SourceLayout
from storage.tombstones import (
    FOLDER,
    TOMBSTONES,
    Tombstones,
    add_tombstones,
    list_uri,
    parse_list,
    read_tombstones,
)
from storage.uri import join, read_bytes, write_bytes
from tasks.stage import STAGES

SCHEMA_VERSION = 1
COLUMNS = {"curate": "curate", "deduplicate": "corpus"}
EARLIER = "earlier generations of the corpus"
MAX_DOCUMENTS = 10_000  # listed one by one in the JSON; the counts cover all


def take_down(
    takedown_list: Path, run: RunConfig, run_file: str, reason: str, console: Console, *, dry_run: bool
) -> dict[str, Any]:
    """Add a list to the root's tombstones, find what it matches, and write and print the report.

    Args:
        run_file: how the user named the run file, with its overrides.
        dry_run: only look, and write nothing.

    Returns:
        The report, as it stands in the JSON.

    Raises:
        ConfigError: lines of the list that are neither URL nor host, all of them; or records that cannot be read.
    """
    patterns, digest = read_list(takedown_list)
    records = kept_runs(run.root)
    when = datetime.now(UTC)
    about = {
        "schema_version": SCHEMA_VERSION,
        "when": when.isoformat(timespec="seconds"),
        "root": run.root,
        "run": _key(run),
        "reason": reason,
        "list": str(takedown_list),
        "list_sha256": digest,
        "dry_run": dry_run,
        "added": _add(run.root, patterns, reason, digest, dry_run),
    }
    facts = about | examine(run, run_file, patterns, records)
    text = markdown(facts)
    console.print(text, highlight=False, markup=False, soft_wrap=True)
    if not dry_run:
        report = join(run.root, FOLDER, f"{when:%Y%m%dT%H%M%SZ}-{digest[:12]}")
        write_bytes(f"{report}.json", json.dumps(facts, ensure_ascii=False, indent=1).encode() + b"\n")
        write_bytes(f"{report}.md", text.encode())
        console.print(f"kept as {report}.md and .json", highlight=False, soft_wrap=True)
    return facts


def read_list(path: Path) -> tuple[list[str], str]:
    """The patterns of a takedown list, and the sha256 of the file.

    Raises:
        ConfigError: it cannot be read, asks for nothing, or has bad lines: all of them.
    """
    try:
        data = path.read_bytes()
        patterns, problems = parse_list(data.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8"]) from error
    if problems:
        raise ConfigError([f"{path}, {problem}" for problem in problems])
    if not patterns:
        raise ConfigError([f"{path}: no URL or host in it; one a line"])
    return patterns, hashlib.sha256(data).hexdigest()


def _add(root: str, patterns: Sequence[str], reason: str, digest: str, dry_run: bool) -> list[str]:
    """Make tombstones of the patterns that are not among the root's yet (not in a dry run); which those are."""
    try:
        if dry_run:
            known = {tombstone.pattern for tombstone in read_tombstones(root)}
            return [pattern for pattern in patterns if pattern not in known]
        with hold(f"{list_uri(root)}{LEASE}", "hibari takedown"):
            added = add_tombstones(root, patterns, reason=reason, list_digest=digest)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    return [tombstone.pattern for tombstone in added]


def examine(run: RunConfig, run_file: str, patterns: Sequence[str], records: Sequence[RunRecord]) -> dict[str, Any]:
    """All that the report says of what lies below the root; nothing is changed."""
    artifacts = inventory(run.root)
    configs, problems = _configs(run, records)
    found = search(artifacts, Tombstones.of(patterns), [source for config in configs for source in _sources(config)])
    built_onto = {artifact.key: artifact.built_onto() for artifact in artifacts}
    tainted = _tainted(artifacts, found, built_onto)
    mine = {key for record in records if record.key == _key(run) for key in _artifacts_of(record)}
    corpora = [a for a in artifacts if a.stage == "deduplicate" and a.key in mine]
    earlier = {key for corpus in corpora for key in built_onto[corpus.key]}
    readings = {a.folder: reading(a, found) for a in artifacts if a.stage == "mix" and a.key in tainted}
    affected = [record for record in records if tainted.intersection(_artifacts_of(record))]
    digest = Tombstones.of([*patterns, *(tombstone.pattern for tombstone in read_tombstones(run.root))]).digest
    outdated = {
        a.key for a in artifacts if a.stage == "curate" and a.manifest and a.manifest.inputs.get(TOMBSTONES) != digest
    }
    listed = list(found.documents.values())[:MAX_DOCUMENTS]
    return {
        "patterns": _patterns(patterns, found, mine, earlier),
        "copies": [asdict(copy) for corpus in corpora for copy in find_copies(corpus, found)],
        "artifacts": _artifacts([a for a in artifacts if a.key in tainted], found, records, built_onto),
        "trainings": trainings(artifacts, readings, records),
        "runs": [_rerun(record, run, run_file) for record in affected],
        "stale_runs": [record.key for record in records if record not in affected and outdated & _artifacts_of(record)],
        "problems": problems + found.problems,
        "documents": [
            {"id": document.id.hex(), "url": document.url, "patterns": list(document.patterns), "samples": samples}
            for document, samples in zip(listed, samples_of(listed, readings), strict=True)
        ],
        "documents_left_out": len(found.documents) - len(listed),
    }


def _artifacts_of(record: RunRecord) -> set[Key]:
    return {(stage, reference.artifact) for stage, reference in record.stages.items()}


def _key(run: RunConfig) -> str:
    return f"{run.name}@{run.variant}" if run.variant else run.name


def _configs(run: RunConfig, records: Sequence[RunRecord]) -> tuple[list[RunConfig], list[str]]:
    """This run and all others of the root, from their resolved run files; which of those cannot be read."""
    configs, problems = [run], []
    for record in records:
        uri = join(run.root, RUNS, f"{record.key}.yaml")
        try:
            configs.append(RunConfig.model_validate(yaml.safe_load(read_bytes(uri))))
        except (OSError, ValueError, yaml.YAMLError) as error:
            problems.append(
                f"{uri} cannot be read, so its sources were not looked through: {' '.join(str(error).split())}"
            )
    return configs, problems


def _sources(run: RunConfig) -> list[OutsideSource]:
    return [
        OutsideSource(source.name, tuple(source.documents), SourceLayout(**source.reading))
        for source in run.sources
        if source.documents
    ]


def _tainted(artifacts: Sequence[Artifact], found: Found, built_onto: Mapping[Key, Sequence[Key]]) -> set[Key]:
    """What holds a page, and what was made from that, stage by stage and generation by generation."""
    tainted: set[Key] = set()
    fingerprints: set[str] = set()
    for artifact in sorted(artifacts, key=lambda a: (STAGES.index(a.stage), len(built_onto[a.key]))):  # inputs first
        manifest = artifact.manifest
        if manifest and (artifact.key in found.holders or not fingerprints.isdisjoint(manifest.inputs.values())):
            tainted.add(artifact.key)
            fingerprints.add(manifest.fingerprint)
    return tainted


def _patterns(patterns: Sequence[str], found: Found, mine: set[Key], earlier: set[Key]) -> list[dict[str, Any]]:
    """How many documents each pattern matches: in each part of this run's artifacts, in all others, in all.

    Args:
        earlier: the corpora that this run's is built onto; what lies there lies there even where it is superseded.
    """
    counts: dict[str, Counter[str]] = {pattern: Counter() for pattern in patterns}
    elsewhere: dict[str, set[bytes]] = {pattern: set() for pattern in patterns}
    parts = {f"files of {name}": ids for name, ids in found.sources.items()}
    for key, held in found.holders.items():
        if key in mine:
            parts |= {COLUMNS.get(key[0], f"tokens of {part}"): set(ids) for part, ids in held.items()}
            continue
        if key in earlier:
            parts[EARLIER] = parts.get(EARLIER, set()).union(*held.values())
            continue
        for id in {id for ids in held.values() for id in ids}:
            for pattern in found.documents[id].patterns:
                elsewhere[pattern].add(id)
    for part, ids in parts.items():
        for id in ids:
            for pattern in found.documents[id].patterns:
                counts[pattern][part] += 1
    matched = Counter(pattern for document in found.documents.values() for pattern in document.patterns)
    return [
        {"pattern": pattern, "documents": dict(counts[pattern]), "elsewhere": len(elsewhere[pattern])}
        | {"matched": matched[pattern]}
        for pattern in patterns
    ]


def _artifacts(
    artifacts: Sequence[Artifact], found: Found, records: Sequence[RunRecord], built_onto: Mapping[Key, Sequence[Key]]
) -> list[dict[str, Any]]:
    referenced = {key: list(runs) for key, runs in references(records).items()}
    for corpus, runs in references(records).items():
        for key in built_onto.get(corpus, ()):
            of_it = referenced.setdefault(key, [])
            of_it += [run for run in runs if run not in of_it]
    return [
        {
            "stage": artifact.stage,
            "artifact": artifact.folder,
            "documents": {part: len(ids) for part, ids in found.holders.get(artifact.key, {}).items()},
            "runs": referenced.get(artifact.key, []),
        }
        for artifact in artifacts
    ]


def _rerun(record: RunRecord, run: RunConfig, run_file: str) -> dict[str, str]:
    """What to type to have a run made anew: at once, where it adds to a corpus of before the takedown."""
    own = record.key == _key(run)
    command = f"hibari run {run_file} --root {run.root}" if own else record.rerun(run.root)
    try:
        adds_to = run.deduplicate.onto if own else recorded_base(run.root, record)
    except ConfigError:  # `_configs` has said that its run file cannot be read
        adds_to = None
    return {"run": record.key, "command": command + (" --set deduplicate.onto=null" if adds_to else "")}

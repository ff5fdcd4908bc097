"""The report's last sections: time per stage, artifacts, environment, inputs, and how to run a stage again.

In: the manifests of all stages and the resolved run file. Out: JSON-like facts.

    facts = stages(made, run)
    facts["rows"][0]["rerun"]  # hibari run runs/runs/demo.yaml --only curate --force curate
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from storage.uri import join
from tasks.report.artifacts import RunArtifacts
from tasks.stage import STAGES

_NO_ENVIRONMENT = dict.fromkeys(("python", "system", "processor", "cores", "memory_gib", "gpus", "libraries"))


def stages(made: RunArtifacts, run: Mapping[str, Any]) -> dict[str, Any]:
    """A row per stage before the report: artifact, identity, size, time, and the command that makes it again."""
    label = "@".join(str(run[key]) for key in ("name", "variant") if run.get(key)) or "run"
    record = join(str(run.get("root", "runs")), "runs", f"{label}.yaml")
    total = sum(manifest.seconds for manifest in made.manifests.values())
    rows = []
    for stage in STAGES[: STAGES.index("report")]:
        manifest = made.manifests.get(stage)
        rows.append({
            "stage": stage,
            "uri": made.uris.get(stage),
            "fingerprint": manifest.fingerprint if manifest else None,
            "content_digest": manifest.content_digest if manifest else None,
            "algorithm_version": manifest.algorithm_version if manifest else None,
            "files": len(manifest.files) if manifest else None,
            "bytes": manifest.num_bytes if manifest else None,
            "seconds": manifest.seconds if manifest else None,
            "share": manifest.seconds / total if manifest and total else None,
            "started": manifest.started if manifest else None,
            "host": manifest.host if manifest else None,
            "revision": manifest.revision if manifest else None,
            "attempts": manifest.recorded.get("attempts") if manifest else None,
            "rerun": f"hibari run {shlex.quote(record)} --only {stage} --force {stage}",
        })  # fmt: skip
    return {
        "rows": rows,
        "seconds": total if made.manifests else None,
        "bytes": sum(manifest.num_bytes for manifest in made.manifests.values()) if made.manifests else None,
        "record": record,
        "command": f"hibari run {shlex.quote(record)}",
    }


def versions(made: RunArtifacts) -> dict[str, Any]:
    """Libraries that decide bytes, hosts and code revisions; more than one where stages differ."""
    libraries: dict[str, list[str]] = {}
    for manifest in made.manifests.values():
        for name, version in manifest.libraries.items():
            found = libraries.setdefault(name, [])
            if version not in found:
                found.append(version)
    manifests = made.manifests.values()
    return {
        "libraries": {name: libraries[name] for name in sorted(libraries)},
        "hosts": sorted({manifest.host for manifest in manifests}),
        "revisions": sorted({manifest.revision for manifest in manifests}),
        "first_started": min((manifest.started for manifest in manifests), default=None),
        "last_started": max((manifest.started for manifest in manifests), default=None),
    }


def machines(made: RunArtifacts) -> list[dict[str, Any]]:
    """The machines and their software as the stages recorded them, a row for each that differs, with its stages."""
    rows: list[dict[str, Any]] = []
    for stage in STAGES:
        manifest = made.manifests.get(stage)
        if manifest is None:
            continue
        found = {"host": manifest.host, **_NO_ENVIRONMENT, **(manifest.recorded.get("environment") or {})}
        same = next((row for row in rows if all(row[key] == value for key, value in found.items())), None)
        if same is None:
            rows.append({**found, "stages": [stage]})
        else:
            same["stages"].append(stage)
    return rows


def inputs(run: Mapping[str, Any], licences: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """What came from outside and under which licence: WARC files, tokenizer, model, documents of sources.

    Args:
        licences: rows of `tasks.report.licences`.
    """
    stated = {row["what"]: row for row in licences}
    found = [
        ("WARC files", _at(run, "curate", "sources")),
        ("base tokenizer", _at(run, "expand", "base")),
        ("base model", base if isinstance(base := _at(run, "initialize", "base_model"), str) else None),
    ]
    found += [
        (f"documents of {source.get('name')}", source.get("documents"))
        for source in run.get("sources") or []
        if isinstance(source, Mapping)
    ]
    return [
        {
            "what": what,
            "places": [places] if isinstance(places, str) else list(places),
            **{name: stated.get(what, {}).get(name) for name in ("licence", "attribution", "url", "stated_by")},
        }
        for what, places in found
        if places
    ]


def run_file(run: Mapping[str, Any]) -> str:
    """The resolved run file as YAML, in its own order."""
    return yaml.safe_dump(dict(run), allow_unicode=True, sort_keys=False, width=100)


def _at(run: Mapping[str, Any], section: str, name: str) -> Any:
    fields = run.get(section)
    return fields.get(name) if isinstance(fields, Mapping) else None

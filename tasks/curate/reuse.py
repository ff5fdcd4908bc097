"""Crawls that were curated before: taken over into a run that has more of them.

What becomes of a crawl's pages depends on the pages and on the settings alone. So where the root holds a complete
artifact of the same run, settings, algorithm and libraries, the shards of the crawls that it shares with the new
one are linked (`retract.py`), less what was taken down in between. A run that grows by a crawl a month curates a
crawl a month.

    held = find_curated(plan, config)     # {"CC-MAIN-2024-10": "s3://bucket/runs/curate/demo-0123456789ab"}
"""

from __future__ import annotations

from collections.abc import Mapping

from storage.artifact import Manifest
from storage.tombstones import TOMBSTONES, history, read_tombstones
from tasks.curate.config import CRAWL_SOURCE, CurateConfig
from tasks.curate.retract import earlier_artifacts
from tasks.stage import StagePlan


def find_curated(plan: StagePlan, config: CurateConfig) -> dict[str, str]:
    """Crawl -> a complete artifact that has curated the same files of it, in the same way; the latest one."""
    if not config.crawls:
        return {}
    artifacts = sorted(earlier_artifacts(plan), key=lambda found: found[1].started)
    return {
        crawl: uri
        for uri, manifest in artifacts
        if _is_alike(plan, manifest)
        for crawl, source in config.crawls.items()
        if source in manifest.recorded.get("sources", ()) and _same_index(plan, manifest, crawl)
    }


def curated_crawls(plan: StagePlan) -> set[str]:
    """Sources naming crawls that any complete curate artifact of the run has read, whatever its settings."""
    return {
        source
        for _, manifest in earlier_artifacts(plan)
        for source in manifest.recorded.get("sources", ())
        if CRAWL_SOURCE.fullmatch(source)
    }


def _is_alike(plan: StagePlan, manifest: Manifest) -> bool:
    """Whether an artifact was made as the planned one will be, of other files or with fewer tombstones."""
    mine = (plan.algorithm_version, plan.literals, plan.libraries, _deciding(plan.inputs))
    theirs = (manifest.algorithm_version, manifest.literals, manifest.libraries, _deciding(manifest.inputs))
    if mine != theirs:
        return False
    then, now = manifest.inputs.get(TOMBSTONES, ""), plan.inputs.get(TOMBSTONES, "")
    if then == now:
        return True
    root = plan.uri.rsplit("/", 2)[0]
    states = list(history(read_tombstones(root)))
    return then in states and now in states and states.index(then) < states.index(now)


def _deciding(inputs: Mapping[str, str]) -> dict[str, str]:
    """The inputs that decide what becomes of any page: not which files there are, nor what was taken down."""
    listed = ("warcs", TOMBSTONES)
    return {name: digest for name, digest in inputs.items() if name not in listed and not name.startswith("index of ")}


def _same_index(plan: StagePlan, manifest: Manifest, crawl: str) -> bool:
    name = f"index of {crawl}"
    return plan.inputs.get(name) == manifest.inputs.get(name)

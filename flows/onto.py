"""Which earlier corpus a run's deduplication may add to (`deduplicate.onto`), and why not to another.

A corpus that is made onto an earlier one, its base, has to come out as if all had been deduplicated at once (but for
the lines that the pages of a host share, which each generation counts for itself). So the base must have been made by
the same algorithm, under the same settings, lists and tombstones, of pages curated in the same way, and of no crawl
that the run leaves out. All that is read from manifests; whether the files of the base's documents are still the same
is seen when deduplication runs (`tasks.deduplicate.onto`).

    base = find_base(plan.deduplicate, "demo-0123456789ab")  # planned at once
    base.fingerprint, base.generations
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.inventory import entries
from flows.status import changed, changed_keys
from storage.artifact import MANIFEST, Manifest
from storage.tombstones import TOMBSTONES
from storage.uri import exists, join
from tasks.curate.config import CRAWL_SOURCE
from tasks.stage import StagePlan

CURATED = "curated"  # what a manifest of deduplicate records of curation
AT_ONCE = "without it (deduplicate.onto=null) the corpus is made at once"
_TAKEN_DOWN = f"input {TOMBSTONES} of curate"


@dataclass(frozen=True)
class Base:
    """A corpus that can be added to; `generations` are its manifests, oldest first, its own the last."""

    folder: str
    generations: Sequence[Manifest]

    @property
    def fingerprint(self) -> str:
        return self.generations[-1].fingerprint


def curated_as(curate: StagePlan, sources: Sequence[str]) -> dict[str, Any]:
    """How the documents were curated, and from where; deduplicate's manifest keeps it."""
    files = ("warcs", "index of ")  # which files they are from, the sources say
    return {
        "sources": list(sources),
        "algorithm": curate.algorithm_version,
        "literals": dict(curate.literals),
        "inputs": {name: digest for name, digest in curate.inputs.items() if not name.startswith(files)},
        "libraries": dict(curate.libraries),
    }


def find_base(plan: StagePlan, folder: str) -> Base:
    """The corpus in a folder below deduplicate/, if the planned one may be made onto it.

    Args:
        plan: deduplicate, as it would be made at once.

    Raises:
        FileNotFoundError: there is no complete corpus in that folder, or a generation of it is gone.
        ValueError: it was made otherwise; names what differs.
    """
    from storage.corpus import generations  # pyarrow is not for `--help`

    stage_folder = plan.uri.rsplit("/", 1)[0]
    if "/" in folder or not exists(join(stage_folder, folder, MANIFEST)):
        mine = [entry.name for entry in entries(stage_folder) if entry.is_folder and _is_of(plan, entry.name)]
        complete = [name for name in mine if exists(join(stage_folder, name, MANIFEST))]
        there = f"of this run there is {', '.join(complete)}" if complete else "this run has none yet"
        raise FileNotFoundError(f"{stage_folder} has no complete corpus {folder!r}; {there}")
    base = Base(folder, [manifest for _, manifest in generations(join(stage_folder, folder))])
    differs = _differences(plan, base.generations[-1])
    if differs:
        taken_down = "; pages were taken down since, which it may hold" if _TAKEN_DOWN in differs else ""
        raise ValueError(f"{folder} was made otherwise ({'; '.join(differs)}){taken_down}")
    return base


def base_fingerprint(plan: StagePlan, folder: str) -> str:
    """The fingerprint of the corpus that a run names to be added to.

    Raises:
        ValueError: it cannot be added to; says why, and what to do.
    """
    try:
        return find_base(plan, folder).fingerprint
    except (OSError, ValueError) as error:
        raise ValueError(f"{error}; {AT_ONCE}") from error


def _is_of(plan: StagePlan, folder: str) -> bool:
    return folder.rpartition("-")[0] == plan.name


def _differences(plan: StagePlan, base: Manifest) -> list[str]:
    """What decides a corpus and is not the same for both, in words."""
    if base.algorithm_version != plan.algorithm_version:
        return [f"algorithm {base.algorithm_version} -> {plan.algorithm_version}"]
    found = changed("", base.literals, plan.literals)
    outside = ("curate", "onto")  # of other documents, and onto another corpus: that is what adding is
    found += [f"input {name}" for name in changed_keys(base.inputs, plan.inputs) if name not in outside]
    then, now = base.recorded.get(CURATED, {}), plan.recorded[CURATED]
    found += [f"curate.{difference}" for difference in changed("", then.get("literals", {}), now["literals"])]
    found += [f"input {name} of curate" for name in changed_keys(then.get("inputs", {}), now["inputs"])]
    if then.get("algorithm") != now["algorithm"]:
        found.append(f"algorithm of curate {then.get('algorithm')} -> {now['algorithm']}")
    found += [f"curate's {library}" for library in changed("", then.get("libraries", {}), now["libraries"])]
    without = _crawls(then) - _crawls(now)
    return found + [f"it holds {crawl}, which curate.sources do not name" for crawl in sorted(without)]


def _crawls(curated: Mapping[str, Any]) -> set[str]:
    return {match[1] for source in curated.get("sources", ()) if (match := CRAWL_SOURCE.fullmatch(source))}


def first_generations(generations: Sequence[Manifest]) -> dict[str, int]:
    """Crawl -> the number, from 1, of the first generation of a corpus that holds it."""
    found: dict[str, int] = {}
    for number, manifest in enumerate(generations, 1):
        for crawl in _crawls(manifest.recorded.get(CURATED, {})):
            found.setdefault(crawl, number)
    return found

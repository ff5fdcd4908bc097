"""Which crawls of Common Crawl a run's corpus does not hold yet, and the run that would.

A run follows Common Crawl when its sources name a crawl. Every later one belongs to it too, with as many files
(`commoncrawl:CC-MAIN-2024-10:8` is followed by `commoncrawl:CC-MAIN-2024-18:8`). The run with the crawls added is a
variant of it, `crawls`: it shares the run's name and artifacts. Its resolved run file, `runs/<name>@crawls.yaml`,
remembers the crawls added so far, and is what the other stages are run with.

The crawls are added onto the newest corpus of the run that is complete and was made in the same way, under the same
tombstones (`flows.onto`): only their documents are signed and written. Where there is none, and when asked for, all is
deduplicated at once, and the corpus starts afresh with one generation.

    found = find_new_crawls(run)
    found.missing           # ["CC-MAIN-2024-18"]
    found.run.curate.sources, found.run.deduplicate.onto
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from flows.config import ConfigError, RunConfig
from flows.onto import Base, find_base, first_generations
from flows.plan import plan_corpus, run_record_uri
from flows.records import RunRecord
from flows.selection import Selection
from storage.artifact import read_manifest
from storage.uri import read_bytes
from tasks.curate.commoncrawl import list_crawls
from tasks.curate.config import CRAWL, CRAWL_SOURCE
from tasks.curate.reuse import curated_crawls
from tasks.stage import StagePlan

VARIANT = "crawls"
CORPUS = Selection(only=("curate", "deduplicate"))


@dataclass(frozen=True)
class NewCrawls:
    """What was found.

    Attributes:
        run: the run with every crawl that it follows.
        held: crawls of it that are in a corpus of the run already; `missing`: those that are not, oldest first.
        listed: how many crawls Common Crawl has.
        is_complete: the corpus of `run` is there: there is nothing to do.
        generations: crawl -> the generation of the corpus, from 1, that it came with or will come with.
        why_at_once: why the crawls are added onto none of the run's corpora; empty where there is none.
    """

    run: RunConfig
    held: list[str]
    missing: list[str]
    listed: int
    is_complete: bool
    generations: Mapping[str, int] = field(default_factory=dict)
    why_at_once: Sequence[str] = ()

    def sentence(self) -> str:
        """What was found, for people."""
        if self.is_complete:
            found = f"no new crawl: the corpus of {self.run.name} holds {_words(self.held)}, and nothing is later"
        elif not self.missing:
            found = f"no new crawl, but the corpus of {self.run.name} with {_words(self.held)} is not complete yet"
        else:
            found = f"to be added to the corpus of {self.run.name}: {_words(self.missing)}; held: {_words(self.held)}"
        return "; ".join([found, *self._how()])

    def _how(self) -> list[str]:
        """Onto which corpus, or why onto none; how many generations there are."""
        number = max(self.generations.values(), default=1)
        if self.is_complete:
            return [f"it has {number} generations, of which --at-once makes one"] if number > 1 else []
        if self.run.deduplicate.onto:
            return [f"onto {self.run.deduplicate.onto}, as generation {number}"]
        return [f"all is deduplicated at once: {why}" for why in self.why_at_once]


def find_new_crawls(run: RunConfig, since: str | None = None, *, at_once: bool = False) -> NewCrawls:
    """Compare the crawls there are with those that the run's corpus holds.

    Args:
        since: the earliest crawl to add; else those later than all that the run follows.
        at_once: deduplicate all of them at once, onto no earlier corpus.

    Raises:
        ConfigError: the run names no crawl, `since` is none, or the list of crawls, an input of curation or a record
            cannot be read.
        ConnectionError: Common Crawl does not answer.
    """
    own = run.curate.crawls
    if not own:
        raise ConfigError(
            [
                f"curate.sources of {run.name} name no crawl of Common Crawl, so there is nothing to follow; "
                "name the first, for example commoncrawl:CC-MAIN-2024-10"
            ]
        )
    if since is not None and not CRAWL.fullmatch(since):
        raise ConfigError([f"--since {since}: expected a crawl such as CC-MAIN-2024-10"])
    last = _Last.read(run)
    followed = own | last.crawls
    newest = max(followed)
    try:
        listed = list_crawls(run.curate.commoncrawl)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError([f"curate.commoncrawl: {error}"]) from error
    added = [crawl for crawl in listed if crawl not in followed and (crawl >= since if since else crawl > newest)]
    files = CRAWL_SOURCE.fullmatch(followed[newest])
    assert files is not None
    sources = followed | {crawl: f"commoncrawl:{crawl}" + (f":{files[2]}" if files[2] else "") for crawl in added}
    grown = _with_sources(run, [sources[crawl] for crawl in sorted(sources) if crawl not in own])
    extended = _onto(grown, None)
    curate, deduplicate = plan_corpus(extended)
    base, why = _choose_base(deduplicate, [] if at_once else _candidates(run, grown, last))
    if base is not None:
        extended = _onto(grown, base.folder)
        curate, deduplicate = plan_corpus(extended)
    is_complete = all(read_manifest(stage.uri) is not None for stage in (curate, deduplicate))
    curated = set(extended.curate.sources) if read_manifest(curate.uri) is not None else curated_crawls(curate)
    held = [crawl for crawl in sorted(sources) if sources[crawl] in curated]
    missing = [crawl for crawl in sorted(sources) if crawl not in held]
    earlier = first_generations(base.generations) if base else {}
    generations = {crawl: earlier.get(crawl, len(base.generations) + 1 if base else 1) for crawl in sources}
    return NewCrawls(extended, held, missing, len(listed), is_complete, generations, why)


def crawls_table(found: NewCrawls) -> list[dict[str, Any]]:
    """A row per crawl of the run."""
    return [
        {"crawl": crawl, "source": source, "in the corpus": "yes" if crawl in found.held else "to be added"}
        | {"generation": str(found.generations.get(crawl, 1))}
        for crawl, source in sorted(found.run.curate.crawls.items())
    ]


def follow_crawls(run: RunConfig, since: str | None, console: Console, *, dry_run: bool, at_once: bool = False) -> None:
    """Find new crawls and, unless it is a dry run, add them to the corpus; or deduplicate it at once with them.

    Raises:
        ConfigError, ConnectionError: as `find_new_crawls`.
        StageError: a stage failed; what was finished before it stays finished.
    """
    from flows.runner import run_pipeline

    found = find_new_crawls(run, since, at_once=at_once)
    table = Table(title=f"{run.name} in {run.root}; Common Crawl has {found.listed} crawls", title_justify="left")
    rows = crawls_table(found)
    for heading in rows[0]:
        table.add_column(heading)
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
    console.print(found.sentence(), highlight=False, soft_wrap=True)
    if not dry_run and not found.is_complete:
        run_pipeline(found.run, CORPUS, "", console)
        said = f"the run with these crawls: {run_record_uri(found.run, VARIANT)}"
        console.print(said, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class _Last:
    """What the record of the last search says: its sources, the corpus it added to, and its own corpus's folder."""

    sources: Sequence[str] = ()
    onto: str | None = None
    corpus: str | None = None

    @classmethod
    def read(cls, run: RunConfig) -> _Last:
        try:
            settings = yaml.safe_load(read_bytes(run_record_uri(run, VARIANT)))
        except FileNotFoundError:
            return cls()
        onto = settings.get("deduplicate", {}).get("onto")
        return cls(settings["curate"]["sources"], onto, _corpus_of(run_record_uri(run, VARIANT)))

    @property
    def crawls(self) -> dict[str, str]:
        """Crawl -> source, of those that it names."""
        return {match[1]: source for source in self.sources if (match := CRAWL_SOURCE.fullmatch(source))}


def _corpus_of(run_file: str) -> str | None:
    """The folder of the corpus of a recorded run."""
    uri = f"{run_file.removesuffix('.yaml')}.json"
    try:
        record = RunRecord.from_json(read_bytes(uri))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ConfigError(
            [f"{uri}, which would say where the run's corpus is: {error}; remove it, or run again"]
        ) from error
    return record.stages["deduplicate"].artifact if "deduplicate" in record.stages else None


def _candidates(run: RunConfig, grown: RunConfig, last: _Last) -> list[str]:
    """The corpora that may be added to, the best first.

    Where nothing was added since the last search, that is the one it added to: asked again, it is the same run.
    """
    if grown is run:
        found = [run.deduplicate.onto]
    elif set(last.sources) == set(grown.curate.sources):
        found = [last.onto]
    else:
        found = [last.corpus, last.onto, _corpus_of(run_record_uri(run, run.variant or ""))]
    return list(dict.fromkeys(folder for folder in found if folder))


def _choose_base(deduplicate: StagePlan, candidates: Sequence[str]) -> tuple[Base | None, list[str]]:
    """The first that can be added to, and why those before it cannot."""
    why = []
    for folder in candidates:
        try:
            return find_base(deduplicate, folder), []
        except (FileNotFoundError, ValueError) as error:
            why.append(str(error))
    return None, why


def _with_sources(run: RunConfig, more: Sequence[str]) -> RunConfig:
    """The run with more sources; itself where there are none to add."""
    if not more:
        return run
    values = run.model_dump()
    values["curate"]["sources"] = [*run.curate.sources, *more]
    return RunConfig.model_validate(values | {"variant": VARIANT})


def _onto(run: RunConfig, folder: str | None) -> RunConfig:
    """The run with its corpus made onto another; itself where it is."""
    if run.deduplicate.onto == folder:
        return run
    deduplicate = run.deduplicate.model_copy(update={"onto": folder})
    return run.model_copy(update={"deduplicate": deduplicate, "variant": VARIANT})


def _words(crawls: Sequence[str]) -> str:
    return ", ".join(crawls) or "none"

"""Which crawls of Common Crawl a run's corpus does not hold yet, and the run that would.

A run follows Common Crawl when its sources name a crawl. Every later one belongs to it too, with as many files
(`commoncrawl:CC-MAIN-2024-10:8` is followed by `commoncrawl:CC-MAIN-2024-18:8`). The run with the crawls added is a
variant of it, `crawls`: it shares the run's name and artifacts. Its resolved run file, `runs/<name>@crawls.yaml`,
remembers the crawls added so far, and is what the other stages are run with.

    found = find_new_crawls(run)
    found.missing           # ["CC-MAIN-2024-18"]
    found.run.curate.sources
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from flows.config import ConfigError, RunConfig
from flows.plan import Selection, plan_corpus, run_record_uri
from storage.artifact import read_manifest
from storage.uri import read_bytes
from tasks.curate.commoncrawl import list_crawls
from tasks.curate.config import CRAWL, CRAWL_SOURCE
from tasks.curate.reuse import curated_crawls

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
    """

    run: RunConfig
    held: list[str]
    missing: list[str]
    listed: int
    is_complete: bool

    def sentence(self) -> str:
        """What was found, for people."""
        if self.is_complete:
            return f"no new crawl: the corpus of {self.run.name} holds {_words(self.held)}, and nothing is later"
        if not self.missing:
            return f"no new crawl, but the corpus of {self.run.name} with {_words(self.held)} is not complete yet"
        return f"to be added to the corpus of {self.run.name}: {_words(self.missing)}; held: {_words(self.held)}"


def find_new_crawls(run: RunConfig, since: str | None = None) -> NewCrawls:
    """Compare the crawls there are with those that the run's corpus holds.

    Args:
        since: the earliest crawl to add; else those later than all that the run follows.

    Raises:
        ConfigError: the run names no crawl, `since` is none, or the list of crawls or an input of curation cannot be
            read.
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
    followed = own | _added_before(run)
    newest = max(followed)
    try:
        listed = list_crawls(run.curate.commoncrawl)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError([f"curate.commoncrawl: {error}"]) from error
    added = [crawl for crawl in listed if crawl not in followed and (crawl >= since if since else crawl > newest)]
    files = CRAWL_SOURCE.fullmatch(followed[newest])
    assert files is not None
    sources = followed | {crawl: f"commoncrawl:{crawl}" + (f":{files[2]}" if files[2] else "") for crawl in added}
    extended = _with_sources(run, [sources[crawl] for crawl in sorted(sources) if crawl not in own])
    curate, deduplicate = plan_corpus(extended)
    is_complete = all(read_manifest(stage.uri) is not None for stage in (curate, deduplicate))
    curated = set(extended.curate.sources) if read_manifest(curate.uri) is not None else curated_crawls(curate)
    held = [crawl for crawl in sorted(sources) if sources[crawl] in curated]
    missing = [crawl for crawl in sorted(sources) if crawl not in held]
    return NewCrawls(extended, held, missing, len(listed), is_complete)


def crawls_table(found: NewCrawls) -> list[dict[str, Any]]:
    """A row per crawl of the run."""
    return [
        {"crawl": crawl, "source": source, "in the corpus": "yes" if crawl in found.held else "to be added"}
        for crawl, source in sorted(found.run.curate.crawls.items())
    ]


def follow_crawls(run: RunConfig, since: str | None, console: Console, *, dry_run: bool) -> None:
    """Find new crawls and, unless it is a dry run, add them to the corpus.

    Raises:
        ConfigError, ConnectionError: as `find_new_crawls`.
        StageError: a stage failed; what was finished before it stays finished.
    """
    from flows.runner import run_pipeline

    found = find_new_crawls(run, since)
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


def _added_before(run: RunConfig) -> dict[str, str]:
    """Crawl -> source, of those that the record of the last search names."""
    try:
        settings = yaml.safe_load(read_bytes(run_record_uri(run, VARIANT)))
        sources = settings["curate"]["sources"]
    except FileNotFoundError:
        return {}
    return {match[1]: source for source in sources if (match := CRAWL_SOURCE.fullmatch(source))}


def _with_sources(run: RunConfig, more: Sequence[str]) -> RunConfig:
    """The run with more sources; itself where there are none to add."""
    if not more:
        return run
    values = run.model_dump()
    values["curate"]["sources"] = [*run.curate.sources, *more]
    return RunConfig.model_validate(values | {"variant": VARIANT})


def _words(crawls: Sequence[str]) -> str:
    return ", ".join(crawls) or "none"

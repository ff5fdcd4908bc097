"""A run opened for inspection: the artifacts of curate and deduplicate, and its WARC files to read pages again.

opened = open_run(load_run("configs/demo.yaml"), "configs/demo.yaml")
with Rereader(opened) as rereader:
    again = rereader.read("CC-MAIN-00000", 354)
    again.examined.text if again.examined else again.problem
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import TypeVar

from flows.config import ConfigError, RunConfig
from flows.plan import named_run_file, plan_corpus, run_record_uri
from flows.records import RunRecord
from flows.status import stage_status
from storage.artifact import Manifest, read_manifest
from storage.corpus import CorpusShard, corpus_shards, generations
from storage.documents import document_id
from storage.ledger import Rule
from storage.tombstones import TOMBSTONES, Tombstones, tombstones_of
from storage.uri import join, read_bytes
from tasks.curate.config import CurateConfig
from tasks.curate.page import Examined, Examiner
from tasks.curate.sources import WarcSource, list_warcs
from tasks.curate.warc import WarcPage, read_member
from tasks.progress import report_progress
from tasks.stage import StageError, StagePlan

S = TypeVar("S")
T = TypeVar("T")

_LEDGER, _COMPACT = "ledger/", ".compact"
_PART = re.compile(r"\.\d{3,}$")  # of the shard key of a part of a large WARC file
SILENT_S = 1.0
_THREADS = 4  # pyarrow decodes outside Python's lock


@dataclass(frozen=True)
class Made:
    """A complete artifact."""

    uri: str
    manifest: Manifest

    def file(self, path: str) -> str | None:
        """The URI of a data file, None where the artifact has none of that name."""
        return join(self.uri, path) if path in self._paths else None

    @cached_property
    def shards(self) -> list[str]:
        """The names of its shards, sorted: those whose documents have a ledger, wherever they lie themselves."""
        names = (path.removesuffix(".parquet") for path in self._paths if path.startswith(_LEDGER))
        return sorted(name.removeprefix(_LEDGER) for name in names if not name.endswith(_COMPACT))

    @cached_property
    def files(self) -> dict[str, list[CorpusShard]]:
        """The files of documents of each shard: one, or in a corpus of several generations as many."""
        found: dict[str, list[CorpusShard]] = {}
        for file in corpus_shards(self.uri):
            found.setdefault(file.key, []).append(file)
        return found

    @cached_property
    def generations(self) -> list[Made]:
        """The corpora that it is built onto, oldest first, and itself."""
        return [Made(uri, manifest) for uri, manifest in generations(self.uri)]

    @cached_property
    def _paths(self) -> frozenset[str]:
        return frozenset(entry.path for entry in self.manifest.files)


@dataclass(frozen=True)
class OpenedRun:
    """A run's corpus.

    Attributes:
        deduplicate: None where that stage is not complete.
        tombstones: under which curate was made.
        remarks: what whoever reads on should know.
    """

    config: RunConfig
    run_file: str
    curate: Made
    deduplicate: Made | None
    tombstones: Tombstones
    remarks: Sequence[str] = ()

    @cached_property
    def sources(self) -> dict[str, WarcSource]:
        """The WARC files by their key; none where they cannot be listed any more."""
        try:
            warcs = list_warcs(self.config.curate.sources, self.config.curate.commoncrawl)
        except (OSError, ValueError):
            return {}
        return {warc.key: warc for warc in warcs}

    def source(self, shard: str) -> WarcSource | None:
        """The WARC file that a shard of curate is, or is a part of."""
        return self.sources.get(shard) or self.sources.get(_PART.sub("", shard))

    def id_of(self, shard: str, offset: int) -> str | None:
        """The id of the record there in hex, None where the name of its WARC file is not known any more."""
        source = self.source(shard)
        return document_id(source.name, offset).hex() if source else None


def open_run(run: RunConfig, run_file: str = "") -> OpenedRun:
    """Find the artifacts of a run.

    Where its inputs cannot be read any more (WARC files that are gone), they are those that its record names.

    Raises:
        StageError: curate is not complete; says what to do.
        ConfigError: the inputs cannot be read, and there is no record of the run.
        ValueError: the root's tombstones are not those that the artifact was made under.
    """
    try:
        curate, deduplicate = plan_corpus(run, run_file)
    except ConfigError as error:
        return _open_recorded(run, run_file, error)
    manifest = read_manifest(curate.uri)
    if manifest is None:
        raise StageError(_incomplete(curate, run, run_file))
    copies = read_manifest(deduplicate.uri)
    curated = Made(curate.uri, manifest)
    if copies is None:
        return _opened(run, run_file, curated, None, [_incomplete(deduplicate, run, run_file)])
    return _opened(run, run_file, curated, Made(deduplicate.uri, copies), [])


def _open_recorded(run: RunConfig, run_file: str, error: ConfigError) -> OpenedRun:
    uri = run_record_uri(run, run.variant or "").removesuffix(".yaml") + ".json"
    try:
        record = RunRecord.from_json(read_bytes(uri))
    except (FileNotFoundError, ValueError) as unreadable:
        raise ConfigError([*error.problems, f"{uri}, which would say what the run made: {unreadable}"]) from error
    found = {stage: record.uri(run.root, stage) for stage in ("curate", "deduplicate") if stage in record.stages}
    made = {stage: Made(uri, manifest) for stage, uri in found.items() if (manifest := read_manifest(uri))}
    if "curate" not in made:
        raise error
    remark = f"Not all inputs can be read any more, so these are the artifacts of the run's record: {error}"
    return _opened(run, run_file, made["curate"], made.get("deduplicate"), [remark])


def _opened(run: RunConfig, run_file: str, curate: Made, deduplicate: Made | None, remarks: Sequence[str]) -> OpenedRun:
    tombstones = tombstones_of(curate.uri, curate.manifest.inputs.get(TOMBSTONES))
    return OpenedRun(run, named_run_file(run, run_file), curate, deduplicate, tombstones, tuple(remarks))


def _incomplete(plan: StagePlan, run: RunConfig, run_file: str) -> str:
    status = stage_status(plan)
    differs = f" (stale: {'; '.join(status.differs)})" if status.differs else ""
    command = f"hibari run {named_run_file(run, run_file)} --root {run.root} --until deduplicate"
    return f"{plan.stage} is not complete for this run file{differs}; run: {command}"


def over_shards(shards: Sequence[S], look: Callable[[S], T], what: str) -> Iterator[T]:
    """What `look` returns for each shard or file, in their order; a few at a time on threads."""
    told = Told(len(shards), what)
    with ThreadPoolExecutor(_THREADS) as pool:
        for number, found in enumerate(pool.map(look, shards), 1):
            yield found
            told(number)


class Told:
    """Reports how many of `total` are done, once that takes longer than people wait in silence."""

    def __init__(self, total: int, what: str) -> None:
        self.total, self.what = total, what
        self._started = time.monotonic()

    def __call__(self, done: int) -> None:
        if time.monotonic() - self._started > SILENT_S:
            report_progress("inspect", done, self.total, self.what)


@dataclass(frozen=True)
class Again:
    """A page read again: what its record holds and what the steps said of it, or why it could not be read."""

    page: WarcPage | None = None
    examined: Examined | None = None
    problem: str = ""


@dataclass
class Rereader:
    """Reads pages of a run's WARC files again and takes them through curation's steps.

    Args:
        config: other settings than the run's, to see what they would decide.
    """

    run: OpenedRun
    config: CurateConfig | None = None
    _examiner: Examiner | None = field(default=None, init=False)

    def __enter__(self) -> Rereader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._examiner is not None:
            self._examiner.__exit__(kind, error, trace)

    def read(self, shard: str, offset: int) -> Again:
        """The page at an offset of a shard's WARC file."""
        source = self.run.source(shard)
        if source is None:
            return Again(problem=f"no WARC file of curate.sources is {shard} any more")
        settings = self.config or self.run.config.curate
        try:
            page = read_member(source.uri, offset, settings.max_page_bytes)
            if self._examiner is None:
                self._examiner = Examiner(settings, self.run.tombstones)
        except Exception as error:  # what file systems raise is theirs, and what the ledgers know is shown all the same
            return Again(problem=f"{source.uri} at byte {offset:,} cannot be read: {error}")
        if page.problem == Rule.TORN_MEMBER:
            return Again(page, problem=f"{source.uri} is torn at byte {offset:,}")
        return Again(page, self._examiner(page))

"""Breaks when a crawl that was curated is curated again for nothing, or taken over where that is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from storage.artifact import Manifest, Outcome, read_manifest
from storage.tombstones import TOMBSTONES, Tombstones, add_tombstones
from tasks.curate.config import CurateConfig
from tasks.curate.curate import curate
from tasks.curate.reuse import curated_crawls, find_curated
from tasks.shards import ExecutorConfig
from tasks.stage import StagePlan, execute
from tests.tasks.curate.common_crawl_server import Server, lay_out
from tests.tasks.curate.warc_files import JAPANESE, html, record, write_warc

OLD, NEW = "CC-MAIN-2024-10", "CC-MAIN-2024-18"
PLAN = StagePlan(
    stage="curate",
    name="demo",
    uri="",
    fingerprint="0" * 64,
    algorithm_version="1",
    literals={"profile": "hibari"},
    inputs={"language model": "abc"},
    libraries={"numpy": "2"},
)


pytestmark = pytest.mark.usefixtures("shards_in_threads")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Two crawls of a WARC file each."""
    for crawl, name in ((OLD, "CC-MAIN-20240301"), (NEW, "CC-MAIN-20240412")):
        path = tmp_path / f"{name}-00000.warc.gz"
        write_warc(path, [record(number, html(JAPANESE, f"{crawl} {number}").encode()) for number in range(4)])
        lay_out(tmp_path / "base", crawl, [path], lambda body: "jpn")
    return tmp_path / "base"


def config(base: str, *crawls: str) -> CurateConfig:
    return CurateConfig(
        sources=[f"commoncrawl:{crawl}" for crawl in crawls],
        commoncrawl={"base": base, "requests_per_second": 2000},
    )


def plan_of(tmp_path: Path, name: str, settings: CurateConfig, tombstones: Tombstones | None = None) -> StagePlan:
    inputs = dict(PLAN.inputs) | {"warcs": ",".join(settings.crawls)}
    inputs |= {TOMBSTONES: tombstones.digest} if tombstones else {}
    uri = f"{tmp_path}/runs/curate/demo-{name}"
    return replace(PLAN, uri=uri, inputs=inputs, recorded={"sources": settings.sources})


def make(plan: StagePlan, settings: CurateConfig, tombstones: Tombstones | None = None) -> Manifest:
    def work(out: str) -> Outcome:
        return curate(
            settings,
            out=out,
            executor=ExecutorConfig(workers=1),
            tombstones=tombstones or Tombstones(),
            curated=find_curated(plan, settings),
        )

    execute(plan, work)
    manifest = read_manifest(plan.uri)
    assert manifest is not None
    return manifest


def test_a_run_that_grows_by_a_crawl_curates_that_crawl(base: Path, tmp_path: Path) -> None:
    with Server(base) as server:
        first, both = config(server.url, OLD), config(server.url, OLD, NEW)
        make(plan_of(tmp_path, "first", first), first)
        asked = len(server.served)
        grown = make(plan_of(tmp_path, "both", both), both)
        asked_for = {each.path.rsplit("/", 1)[1] for each in server.served[asked:]}
        assert asked_for == {"warc.paths.gz", "CC-MAIN-20240412-00000.warc.gz"}
    afresh = make(plan_of(tmp_path / "elsewhere", "both", both := config(str(base), OLD, NEW)), both)
    assert grown.content_digest == afresh.content_digest
    assert grown.counts == afresh.counts
    assert grown.counts["documents"] == 8


def test_what_was_taken_down_since_is_not_taken_over(base: Path, tmp_path: Path) -> None:
    first, both = config(str(base), OLD), config(str(base), OLD, NEW)
    make(plan_of(tmp_path, "first", first), first)
    page = "https://example.jp/2.html"
    add_tombstones(f"{tmp_path}/runs", [page], reason="", list_digest="d")
    tombstones = Tombstones.of([page])
    grown = make(plan_of(tmp_path, "both", both, tombstones), both, tombstones)
    assert grown.counts["dropped_takedown"] == 2
    assert find_curated(plan_of(tmp_path, "first", first), first) == {}, "one with more taken down gives nothing back"


@pytest.mark.parametrize(
    "change",
    [
        {"literals": {"profile": "swallow-v1"}},
        {"algorithm_version": "2"},
        {"libraries": {"numpy": "3"}},
        {"inputs": {"language model": "abd"}},
        {"inputs": {"language model": "abc", f"index of {OLD}": "i"}},
        {"name": "other"},
    ],
    ids=str,
)
def test_whatever_decides_a_page_prevents_it(base: Path, tmp_path: Path, change: dict[str, object]) -> None:
    first = config(str(base), OLD)
    made = plan_of(tmp_path, "first", first)
    make(made, first)
    later = replace(plan_of(tmp_path, "later", config(str(base), OLD, NEW)))
    assert find_curated(later, config(str(base), OLD, NEW)) == {OLD: made.uri}
    assert find_curated(replace(later, **change), config(str(base), OLD, NEW)) == {}  # type: ignore[arg-type]
    assert curated_crawls(later) == {f"commoncrawl:{OLD}"}


def test_another_number_of_files_is_another_source(base: Path, tmp_path: Path) -> None:
    first = config(str(base), OLD)
    make(plan_of(tmp_path, "first", first), first)
    fewer = config(str(base), f"{OLD}:1", NEW)
    assert find_curated(plan_of(tmp_path, "later", fewer), fewer) == {}


def test_an_artifact_that_is_not_complete_gives_nothing(base: Path, tmp_path: Path) -> None:
    first, both = config(str(base), OLD), config(str(base), OLD, NEW)
    made = plan_of(tmp_path, "first", first)
    make(made, first)
    next(Path(made.uri).glob("documents/*.parquet")).unlink()
    assert find_curated(plan_of(tmp_path, "both", both), both) == {}

"""Breaks when a crawl is missed, added twice, or curated again next month."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.config import ConfigError, RunConfig, load_run
from flows.new_crawls import crawls_table, find_new_crawls
from flows.plan import make_plan, plan_corpus
from flows.records import kept_runs, record_run
from storage.artifact import Manifest, read_manifest, seal
from storage.tombstones import add_tombstones
from tasks.stage import StagePlan
from tests.flows.conftest import ROOT, Hibari, write_run
from tests.tasks.curate.common_crawl_server import Server, lay_out

OLD, NEXT, LATER = "CC-MAIN-2024-10", "CC-MAIN-2024-18", "CC-MAIN-2024-22"


def publish(base: Path, crawl: str) -> None:
    """Let Common Crawl have another crawl, of one WARC file of ten pages."""
    path = base.parent / f"{crawl}-00000.warc.gz"
    number = len(list(base.glob("crawl-data/*"))) % 2
    path.write_bytes((base.parent / f"CC-MAIN-2024-10-test-{number:05}.warc.gz").read_bytes())
    lay_out(base, crawl, [path], lambda body: "jpn")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The run file of `run_of` lies beside it."""
    write_run(tmp_path)
    for crawl in ("CC-MAIN-2023-50", OLD):
        publish(tmp_path / "base", crawl)
    return tmp_path / "base"


def run_of(base: Path, url: str = "", **curate: Any) -> RunConfig:
    path = base.parent / "run.yaml"
    values = yaml.safe_load(path.read_text())
    fetching = {"base": url or str(base), "requests_per_second": 1000}
    values["curate"] = {"sources": [f"commoncrawl:{OLD}"], "commoncrawl": fetching} | curate
    path.write_text(yaml.safe_dump(values))
    return load_run(path)


def complete(plan: StagePlan) -> None:
    """As if the stage had been made."""
    fields = {name: getattr(plan, name) for name in ("stage", "name", "fingerprint", "algorithm_version")}
    made = {"files": [], "counts": {}, "content_digest": "", "started": "2024-03-01", "seconds": 1.0}
    inputs: dict[str, Any] = {"literals": plan.literals, "inputs": plan.inputs, "libraries": plan.libraries}
    seal(plan.uri, Manifest(**fields, **inputs, **made, recorded=dict(plan.recorded)))  # type: ignore[arg-type]


def finish(run: RunConfig) -> None:
    """As if the corpus of a run had been made, and its record written."""
    for stage in plan_corpus(run):
        complete(stage)
    record_run(run, make_plan(run), None, "")


def test_a_crawl_is_new_until_the_corpus_holds_it(base: Path) -> None:
    run = run_of(base)
    found = find_new_crawls(run)
    assert (found.held, found.missing, found.is_complete) == ([], [OLD], False)
    assert found.run == run, "the run's own crawls first; earlier ones are not its affair"
    finish(run)
    found = find_new_crawls(run)
    assert (found.held, found.missing, found.is_complete) == ([OLD], [], True)
    assert found.sentence() == f"no new crawl: the corpus of tiny holds {OLD}, and nothing is later"

    publish(base, NEXT)
    found = find_new_crawls(run)
    assert (found.held, found.missing, found.is_complete) == ([OLD], [NEXT], False)
    assert found.run.curate.sources == [f"commoncrawl:{OLD}", f"commoncrawl:{NEXT}"]
    assert found.listed == 3
    finish(found.run)
    assert find_new_crawls(run).is_complete
    assert [record.key for record in kept_runs(run.root)] == ["tiny", "tiny@crawls"]

    publish(base, LATER)
    found = find_new_crawls(run)
    assert (found.held, found.missing) == ([OLD, NEXT], [LATER])
    assert [source[-7:] for source in found.run.curate.sources] == ["2024-10", "2024-18", "2024-22"]


def test_a_crawl_that_was_begun_is_still_missing_and_the_run_the_same(base: Path) -> None:
    run = run_of(base)
    finish(run)
    publish(base, NEXT)
    begun = find_new_crawls(run)
    record_run(begun.run, make_plan(begun.run), None, "")
    again = find_new_crawls(run)
    assert again.run == begun.run
    assert again.missing == [NEXT]
    complete(plan_corpus(begun.run)[0])
    half = find_new_crawls(run)
    assert (half.missing, half.is_complete) == ([], False)
    assert "is not complete yet" in half.sentence()


def corpus_of(run: RunConfig) -> str:
    """The folder of its corpus."""
    return plan_corpus(run)[1].uri.rsplit("/", 1)[-1]


def test_each_crawl_is_added_onto_the_newest_complete_corpus(base: Path) -> None:
    run = run_of(base)
    assert find_new_crawls(run).run.deduplicate.onto is None
    finish(run)
    publish(base, NEXT)
    second = find_new_crawls(run)
    assert second.run.deduplicate.onto == corpus_of(run)
    assert second.sentence().endswith(f"held: {OLD}; onto {corpus_of(run)}, as generation 2")
    finish(second.run)
    publish(base, LATER)
    third = find_new_crawls(run)
    assert third.run.deduplicate.onto == corpus_of(second.run)
    record_run(third.run, make_plan(third.run), None, "")  # begun, and begun again
    assert find_new_crawls(run).run == third.run
    publish(base, "CC-MAIN-2024-26")
    fourth = find_new_crawls(run)
    assert fourth.missing == [LATER, "CC-MAIN-2024-26"]
    assert fourth.run.deduplicate.onto == corpus_of(second.run), "the third is not complete"
    shutil.rmtree(plan_corpus(second.run)[1].uri)
    assert find_new_crawls(run).run.deduplicate.onto == corpus_of(run), "the run's own is left"


def test_what_was_made_otherwise_is_not_added_to_and_that_is_said(base: Path) -> None:
    run = run_of(base)
    finish(run)
    publish(base, NEXT)
    finish(find_new_crawls(run).run)
    publish(base, LATER)
    changed = find_new_crawls(run_of(base, quality={"min_letters": 300}))
    assert changed.run.deduplicate.onto is None
    said = changed.sentence()
    assert said.count("all is deduplicated at once: tiny-") == 2
    assert "was made otherwise (curate.quality.min_letters: 400 -> 300)" in said
    add_tombstones(run.root, ["host:karuta.example"], reason="request", list_digest="0" * 64)
    taken = find_new_crawls(run_of(base))
    assert taken.run.deduplicate.onto is None
    assert "pages were taken down since, which it may hold" in taken.sentence()


def test_a_corpus_made_at_once_is_what_later_crawls_are_added_to(base: Path) -> None:
    run = run_of(base)
    finish(run)
    assert find_new_crawls(run, at_once=True).is_complete, "it is of one generation"
    publish(base, NEXT)
    grown = find_new_crawls(run).run
    finish(grown)
    afresh = find_new_crawls(run, at_once=True)
    assert (afresh.run.deduplicate.onto, afresh.missing, afresh.is_complete) == (None, [], False)
    assert afresh.run.curate.sources == grown.curate.sources
    finish(afresh.run)
    assert find_new_crawls(run).run == afresh.run
    publish(base, LATER)
    found = find_new_crawls(run)
    assert found.run.deduplicate.onto == corpus_of(afresh.run)
    assert [row["generation"] for row in crawls_table(found)] == ["1", "1", "2"]


def test_a_run_that_names_a_corpus_itself_keeps_it_or_says_why_not(base: Path) -> None:
    run = run_of(base)
    finish(run)
    own = run.model_copy(update={"deduplicate": run.deduplicate.model_copy(update={"onto": corpus_of(run)})})
    assert find_new_crawls(own).run == own
    afresh = find_new_crawls(own, at_once=True).run
    assert (afresh.deduplicate.onto, afresh.variant) == (None, "crawls")
    gone = run.deduplicate.model_copy(update={"onto": "tiny-000000000000"})
    found = find_new_crawls(run.model_copy(update={"deduplicate": gone}))
    assert found.run.deduplicate.onto is None
    assert found.is_complete, "at once, it is the run's own"


def test_later_crawls_come_with_as_many_files(base: Path) -> None:
    publish(base, NEXT)
    run = run_of(base, sources=["commoncrawl:CC-MAIN-2023-50", f"commoncrawl:{OLD}:8"])
    assert find_new_crawls(run).run.curate.sources[-1] == f"commoncrawl:{NEXT}:8"


def test_earlier_crawls_are_added_when_asked_for(base: Path) -> None:
    publish(base, NEXT)
    run = run_of(base, sources=[f"commoncrawl:{NEXT}"])
    assert find_new_crawls(run).missing == [NEXT]
    assert find_new_crawls(run, since="CC-MAIN-2023-50").missing == ["CC-MAIN-2023-50", OLD, NEXT]
    assert find_new_crawls(run, since=OLD).missing == [OLD, NEXT]


def test_what_cannot_be_followed_is_told(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"name no crawl of Common Crawl.*commoncrawl:CC-MAIN-2024-10"):
        find_new_crawls(run_of(base, sources=[str(base.parent / "*.warc.gz")]))
    with pytest.raises(ConfigError, match="--since 2024: expected a crawl"):
        find_new_crawls(run_of(base), since="2024")
    (base / "collinfo.json").unlink()
    with pytest.raises(ConfigError, match=r"collinfo\.json"):
        find_new_crawls(run_of(base))


def test_what_is_chosen_of_a_crawl_is_in_the_fingerprint_and_how_it_is_fetched_is_not(base: Path) -> None:
    def planned(**commoncrawl: Any) -> StagePlan:
        settings = {"base": str(base)} | commoncrawl
        return plan_corpus(run_of(base, commoncrawl=settings))[0]

    whole, indexed = planned(), planned(mode="index")
    assert "index" not in whole.literals
    for change in ({"base": f"{base}/"}, {"requests_per_second": 1}, {"max_connections": 9}, {"languages": ["zho"]}):
        assert planned(**change).fingerprint == whole.fingerprint
    assert indexed.inputs.keys() - whole.inputs.keys() == {f"index of {OLD}"}
    assert planned(mode="index", max_gap_bytes=0, base=f"{base}/").fingerprint == indexed.fingerprint
    fingerprints = {indexed.fingerprint, planned(mode="index", languages=["zho"]).fingerprint}
    fingerprints |= {planned(mode="index", mime=["text/html"]).fingerprint, whole.fingerprint}
    fingerprints |= {planned(parts_per_warc=2).fingerprint}
    assert len(fingerprints) == 5
    (base / "crawl-data" / OLD / "cc-index-table.paths.gz").unlink()
    with pytest.raises(ConfigError, match=f"no such crawl {OLD}"):
        planned(mode="index")


@pytest.mark.slow
def test_month_by_month(base: Path, hibari: Hibari, prefect_environment: dict[str, str]) -> None:
    """From the command line, then deployed: each crawl is fetched once, and the corpus is that of all of them."""
    with Server(base) as server:
        run = run_of(base, server.url)
        file = str(base.parent / "run.yaml")
        assert "to be added to the corpus of tiny: CC-MAIN-2024-10" in hibari("crawls", file, "--dry-run").stdout
        assert not Path(run.root).exists()
        made = hibari("crawls", file)
        assert made.returncode == 0, made.stdout + made.stderr
        assert "done: curate, deduplicate" in made.stdout
        publish(base, NEXT)
        program = "import sys; from flows.config import load_run; from flows.crawls import crawls; "
        program += "print([record.status for record in crawls(load_run(sys.argv[1]))][:2])"
        for expected in ("['done', 'done']", "[]"):
            deployed = subprocess.run(
                [sys.executable, "-c", program, file],
                cwd=ROOT,
                env=prefect_environment | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=True,
            )
            assert deployed.stdout.strip().endswith(expected), deployed.stdout + deployed.stderr
        assert "no new crawl: the corpus of tiny holds CC-MAIN-2024-10, CC-MAIN-2024-18" in deployed.stderr
        fetched = [each.path.rsplit("/", 1)[1] for each in server.served if each.path.endswith(".warc.gz")]
        assert sorted(fetched) == [f"{OLD}-00000.warc.gz", f"{NEXT}-00000.warc.gz"]
        grown = load_run(Path(run.root) / "runs" / "tiny@crawls.yaml")
        assert grown.deduplicate.onto == corpus_of(run)
        afresh = hibari("crawls", file, "--at-once", "--dry-run").stdout
        assert "no new crawl, but the corpus of tiny with CC-MAIN-2024-10, CC-MAIN-2024-18 is not complete" in afresh
        manifests = [read_manifest(stage.uri) for stage in plan_corpus(grown)]
    assert [manifest.counts["documents"] for manifest in manifests if manifest] == [14, 14]

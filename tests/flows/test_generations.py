"""Three months of a crawl, each added onto the corpus of the month before: all that reads a corpus reads all of it.

Breaks when adding gives other tokens than deduplicating at once, when an old crawl is curated or signed again, when a
generation is pruned that a kept corpus needs, or when a page that was taken down stays in one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from flows.config import ConfigError, RunConfig, load_run
from flows.inspection.command import Question, answer
from flows.inspection.draw import draw_kept
from flows.inspection.find import find_url
from flows.inspection.run import OpenedRun, Rereader, open_run
from flows.inspection.story import Story, tell
from flows.inspection.terminal import show
from flows.new_crawls import crawls_table, find_new_crawls
from flows.plan import Plan, make_plan
from flows.prune import plan_prune, remove_pruned
from flows.records import record_run
from flows.status import run_status, status_table
from flows.takedown import take_down
from storage.artifact import Manifest, read_manifest
from storage.corpus import corpus_shards, corpus_texts
from storage.ledger import Rule
from tasks.binarize.task import binarize
from tasks.curate.task import curate
from tasks.deduplicate.task import deduplicate
from tasks.expand.task import expand
from tasks.report.artifacts import RunArtifacts
from tasks.report.report import gather
from tests.flows.conftest import write_run
from tests.flows.small_root import call
from tests.flows.test_crawls import LATER, NEXT, OLD, publish
from tests.pools import threads

CRAWLS = [OLD, NEXT, LATER]


def run_of(folder: Path) -> RunConfig:
    return load_run(folder / "run.yaml")


def make_corpus(run: RunConfig) -> Plan:
    """Curate and deduplicate as the plan says, and record the run."""
    at = make_plan(run)
    record_run(run, at, None, "")
    documents = call(curate, at.curate, run.curate, run.executor)
    call(deduplicate, at.deduplicate, run.deduplicate, run.refine, run.executor, documents)
    return at


def make_tokens(run: RunConfig) -> Plan:
    """Make the corpus, expand and binarize."""
    at = make_corpus(run)
    documents = call(curate, at.curate, run.curate, run.executor)
    corpus = call(deduplicate, at.deduplicate, run.deduplicate, run.refine, run.executor, documents)
    tokenizer = call(expand, at.expand, run.expand, run.binarize.validation_ratio, run.seed, corpus)
    call(binarize, at.binarize, run.binarize, run.sources, run.executor, corpus, tokenizer)
    return at


def manifest(uri: str) -> Manifest:
    found = read_manifest(uri)
    assert found is not None, uri
    return found


def folder_of(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a local Common Crawl of three crawls, the last with the pages of the first, and their corpus."""
    folder = tmp_path_factory.mktemp("months")
    path = write_run(folder)
    values = yaml.safe_load(path.read_text())
    values["curate"] = {"sources": [f"commoncrawl:{OLD}"], "commoncrawl": {"base": str(folder / "base")}}
    values["refine"] = {"boilerplate": {"enabled": False}}
    path.write_text(yaml.safe_dump(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.shards._open_executor", threads)
        patch.setenv("HIBARI_CACHE", str(folder / "cache"))
        for crawl in CRAWLS:
            publish(folder / "base", crawl)
            make_corpus(find_new_crawls(run_of(folder)).run)
            (files := folder / "base" / "crawl-data" / crawl / "segments").rename(folder / crawl)
        for crawl in CRAWLS:  # no later month has read the files of an earlier one: they were not there
            (folder / crawl).rename(files.parents[1] / crawl / "segments")
        make_tokens(grown(folder))
    return folder


@pytest.fixture
def there(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, moved, with its inputs."""
    monkeypatch.setattr("tasks.shards._open_executor", threads)
    folder = tmp_path / "there"
    shutil.copytree(made, folder)
    for path in (folder / "run.yaml", *(folder / "runs" / "runs").glob("*.yaml")):
        path.write_text(path.read_text().replace(str(made), str(folder)))
    return folder


def grown(folder: Path) -> RunConfig:
    """The run with all three crawls, as its record says."""
    return load_run(folder / "runs" / "runs" / "tiny@crawls.yaml")


def test_each_month_adds_one_generation(made: Path) -> None:
    run = run_of(made)
    found = find_new_crawls(run)
    assert found.is_complete
    assert found.run == grown(made), "asked again, it is the same run"
    assert found.sentence().endswith("nothing is later; it has 3 generations, of which --at-once makes one")
    assert [(row["crawl"], row["generation"]) for row in crawls_table(found)] == list(zip(CRAWLS, "123", strict=True))
    newest = manifest(make_plan(found.run).deduplicate.uri)
    index = {entry.path for entry in newest.files if entry.path.startswith("index/CC-MAIN")}
    assert index
    assert all(path.startswith(f"index/{LATER}") for path in index), "earlier crawls are not signed again"
    assert sum(entry.path.startswith("superseded/") for entry in newest.files) > 0
    console = Console(width=250)
    with console.capture() as shown:
        console.print(status_table(run_status(make_plan(found.run)), "tiny"))
    assert "3 generations" in shown.get()


def test_the_tokens_are_those_of_a_corpus_made_at_once(there: Path) -> None:
    onto = make_plan(grown(there))
    at_once = find_new_crawls(run_of(there), at_once=True).run
    assert at_once.deduplicate.onto is None
    fresh = make_tokens(at_once)
    assert fresh.curate == onto.curate
    for stage in ("expand", "binarize"):
        mine, other = manifest(getattr(onto, stage).uri), manifest(getattr(fresh, stage).uri)
        assert mine.fingerprint != other.fingerprint
        assert mine.content_digest == other.content_digest, stage
        assert mine.counts == other.counts
    mine, other = manifest(onto.deduplicate.uri), manifest(fresh.deduplicate.uri)
    assert {name: mine.counts[name] for name in other.counts} == other.counts
    found = find_new_crawls(run_of(there))
    assert found.is_complete
    assert found.run == at_once, "the corpus stays of one generation until a crawl is added"
    assert "generations" not in found.sentence()
    publish(there / "base", "CC-MAIN-2024-26")
    assert find_new_crawls(run_of(there)).run.deduplicate.onto == folder_of(fresh.deduplicate.uri)


def test_the_report_counts_each_document_once(made: Path) -> None:
    plan = make_plan(grown(made))
    artifacts = RunArtifacts.read({"curate": plan.curate.uri, "deduplicate": plan.deduplicate.uri})
    facts = gather(artifacts, grown(made).model_dump(mode="json"), [])
    counts = manifest(plan.deduplicate.uri).counts
    assert facts["card"]["documents"] == counts["kept"]
    assert facts["card"]["characters"] == counts["characters"]
    assert {row["name"] for row in facts["card"]["crawls"]} == {NEXT, LATER}, "the first one's pages all gave way"
    assert [check["holds"] for check in facts["funnel"]["checks"]] == [True, True]
    assert len(facts["samples"]["kept"]) == 4
    assert all(pair["excerpt"] for pair in facts["samples"]["copies"])


def test_inspection_finds_every_document_and_its_survivor_in_any_generation(made: Path) -> None:
    opened = open_run(grown(made), "run.yaml")
    assert opened.deduplicate is not None
    kept = opened.deduplicate.manifest.counts["kept"]
    draw = draw_kept(opened, 100, seed=1)
    assert (draw.total, len({drawn.row["id"] for drawn in draw.drawn})) == (kept, kept)
    console = Console(width=250)
    with console.capture() as shown:
        show(answer(opened, Question()), console)
    assert shown.get().count("as many of each rule") == 2, shown.get()
    with Rereader(opened) as rereader:
        fates = [told for told in stories(opened, rereader, "https://www.example.org/2.html") if told.fate]
    gone, stays = (told for told in sorted(fates, key=lambda told: told.record.shard))
    assert (gone.record.shard[: len(OLD)], gone.final_rule) == (OLD, Rule.EXACT_DUPLICATE)
    assert (stays.record.shard[: len(LATER)], stays.final_rule) == (LATER, Rule.KEPT)
    assert [(copy.id, copy.similarity) for copy in gone.copies] == [(stays.record.id, 1.0)]
    assert (gone.refined, stays.verdict) == (None, "In the corpus.")
    assert [row.id for row in stays.copied_by] == [gone.record.id]


def stories(opened: OpenedRun, rereader: Rereader, url: str) -> list[Story]:
    return [tell(opened, record, rereader) for record in find_url(opened, url).records]


def test_generations_stay_as_long_as_a_run_needs_them(there: Path) -> None:
    run = run_of(there)
    newest = make_plan(grown(there)).deduplicate
    corpora = sorted(path.name for path in Path(newest.uri).parent.iterdir())
    assert len(corpora) == 3
    plan = plan_prune(run.root)
    assert [leftover.name for leftover in plan.remove if leftover.stage == "deduplicate"] == []
    runs = {artifact.folder: of for artifact, of in plan.keep if artifact.stage == "deduplicate"}
    assert sorted(runs) == corpora
    assert all("tiny@crawls" in of for of in runs.values())
    texts = [list(corpus_texts(shard)) for shard in corpus_shards(newest.uri)]
    assert remove_pruned(plan) == []
    assert [list(corpus_texts(shard)) for shard in corpus_shards(newest.uri)] == texts

    publish(there / "base", "CC-MAIN-2024-26")  # begun: its own corpus is not there yet
    begun = find_new_crawls(run).run
    record_run(begun, make_plan(begun), None, "")
    plan = plan_prune(run.root)
    assert [leftover.name for leftover in plan.remove if leftover.stage == "deduplicate"] == []
    assert begun.deduplicate.onto == folder_of(newest.uri)
    gone = {leftover.name for leftover in plan_prune(run.root, ["tiny@crawls"]).remove}
    assert len(gone & set(corpora)) == 2, "the first one is the run's own"


def test_a_page_that_is_taken_down_is_found_in_all_generations_and_in_none_of_the_next_corpus(there: Path) -> None:
    run, before = grown(there), make_plan(grown(there))
    (there / "list.txt").write_text("https://www.example.org/2.html\n")
    recorded = there / "runs" / "runs" / "tiny@crawls.yaml"
    facts = take_down(there / "list.txt", run, str(recorded), "", Console(quiet=True), dry_run=False)
    (row,) = facts["patterns"]
    assert row["documents"]["corpus"] == row["documents"]["earlier generations of the corpus"] == 1
    assert row["documents"]["curate"] == 2
    listed = {entry["artifact"]: entry["runs"] for entry in facts["artifacts"] if entry["stage"] == "deduplicate"}
    assert listed.keys() == {path.name for path in Path(before.deduplicate.uri).parent.iterdir()}
    assert all("tiny@crawls" in runs for runs in listed.values())
    commands = {entry["run"]: entry["command"] for entry in facts["runs"]}
    assert commands["tiny@crawls"] == f"hibari run {recorded} --root {run.root} --set deduplicate.onto=null"
    assert "onto" not in commands["tiny"]

    with pytest.raises(ConfigError, match=r"onto: .*pages were taken down since.*deduplicate\.onto=null"):
        make_plan(run)
    found = find_new_crawls(run_of(there))
    assert found.run == load_run(recorded, ["deduplicate.onto=null"]), "as the command does"
    assert not found.is_complete
    assert "all is deduplicated at once: " in found.sentence()
    assert "pages were taken down since" in found.sentence()
    after = make_corpus(found.run)
    held = {id for shard in corpus_shards(after.deduplicate.uri) for id, _ in corpus_texts(shard)}
    assert not held.intersection(bytes.fromhex(document["id"]) for document in facts["documents"])
    make_corpus(run_of(there))
    assert remove_pruned(plan_prune(run.root)) == []
    facts = take_down(there / "list.txt", found.run, str(recorded), "", Console(quiet=True), dry_run=True)
    assert (facts["artifacts"], facts["patterns"][0]["matched"]) == ([], 0)

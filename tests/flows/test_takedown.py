"""A takedown finds all that holds its pages, says which steps read them, and no later run brings them back."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.config import RunConfig, load_run
from flows.plan import make_plan
from flows.records import record_run
from flows.selection import Selection
from flows.status import run_status
from flows.takedown import take_down
from flows.takedown_training import ranges
from storage.artifact import read_manifest
from storage.mixture import Mixture
from storage.tombstones import list_uri, read_tombstones
from tasks.curate.task import curate
from tasks.stage import STAGES
from tests.flows.small_root import call, make_data_stages, pretend_to_train, save_checkpoints, write_run_with_urls

# Pages 4 and 13 of the crawl are copies of one another; 14 and on are not kept. English pages are another source.
PAGE, COPIED, DROPPED = (f"https://www.example.org/{number}.html" for number in (3, 4, 14))
LIST = f"""\
# request of 1 March
{PAGE}
{COPIED.replace("https", "http").upper().replace("HTML", "html")}#top
{DROPPED}
old.example.org
host:nobody.example
"""
STEPS, BATCH = 6, 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny run, finished: real data stages, a pretended training with checkpoints at 3 and 6."""
    folder = tmp_path_factory.mktemp("takedown")
    run = load_run(write_run_with_urls(folder))
    pretend_to_train(make_data_stages(run), steps=STEPS, saved=(3, 6))
    (folder / "list.txt").write_text(LIST)
    return folder


@pytest.fixture
def there(made: Path, tmp_path: Path) -> Path:
    """A copy of it: moved, with its inputs."""
    folder = tmp_path / "there"
    shutil.copytree(made, folder)
    for path in (folder / "run.yaml", folder / "runs" / "runs" / "tiny.yaml"):
        path.write_text(path.read_text().replace(str(made), str(folder)))
    return folder


def run_of(there: Path) -> RunConfig:
    return load_run(there / "run.yaml")


def taken_down(there: Path, *, dry_run: bool = False) -> dict[str, Any]:
    quiet = Console(quiet=True)
    return take_down(there / "list.txt", run_of(there), "run.yaml", "request", quiet, dry_run=dry_run)


def hibari(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def test_bad_lines_are_all_reported_and_nothing_is_taken_down(there: Path) -> None:
    (there / "list.txt").write_text("https://a.jp/\nexample.jp/page\n\nhost:jp\n")
    result = hibari("takedown", str(there / "list.txt"), str(there / "run.yaml"))
    assert result.exit_code == 2
    assert "list.txt, line 2" in result.output
    assert "list.txt, line 4" in result.output
    assert read_tombstones(str(there / "runs")) == []
    for text in ("# nothing\n", None):
        (there / "list.txt").unlink()
        if text is not None:
            (there / "list.txt").write_text(text)
        assert hibari("takedown", str(there / "list.txt"), str(there / "run.yaml")).exit_code == 2


def test_a_dry_run_finds_the_same_and_changes_nothing(there: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (there / "runs").rglob("*")}
    shown = hibari("takedown", str(there / "list.txt"), str(there / "run.yaml"), "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert "nothing was taken down" in shown.output
    dry = taken_down(there, dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in (there / "runs").rglob("*")} == before
    real = taken_down(there)
    assert {name for name in real if real[name] != dry[name]} <= {"dry_run", "when"}


def test_documents_are_counted_per_pattern_wherever_they_lie(there: Path) -> None:
    rows = {row["pattern"]: row for row in taken_down(there)["patterns"]}
    assert list(rows) == [PAGE, COPIED, DROPPED, "host:old.example.org", "host:nobody.example"]
    assert rows[PAGE]["documents"]["curate"] == rows[PAGE]["documents"]["corpus"] == 1
    split = {part: n for part, n in rows[PAGE]["documents"].items() if part.startswith("tokens of corpus ")}
    assert sum(split.values()) == 1
    english = rows["host:old.example.org"]["documents"]
    assert english["files of web-en"] == 10
    assert english["tokens of web-en train"] + english.get("tokens of web-en validation", 0) == 10
    assert [rows[pattern]["matched"] for pattern in (DROPPED, "host:nobody.example")] == [0, 0]


def test_a_copy_under_another_address_is_pointed_out(there: Path) -> None:
    facts = taken_down(there)
    kept = facts["patterns"][1]["documents"].get("corpus", 0)
    assert facts["copies"] == [{"url": "https://www.example.org/13.html", "in_corpus": not kept}]


def test_steps_are_those_that_tracing_every_sample_finds(there: Path) -> None:
    """Against `Mixture.trace`, sample by sample."""
    before = make_plan(run_of(there))
    facts = taken_down(there)
    wanted = {bytes.fromhex(row["id"]): row["url"] for row in facts["documents"]}
    assert len(wanted) == 12
    samples: dict[bytes, set[int]] = defaultdict(set)
    tokens = np.zeros(STEPS + 1, np.int64)
    with Mixture.open(before.mix.uri) as mixture:
        for sample in range(len(mixture)):
            trace = mixture.trace(sample)
            for span, id in zip(trace.spans, mixture.document_ids(trace), strict=True):
                if id in wanted:
                    samples[id].add(sample)
                    tokens[sample // BATCH + 1] += span.length
    (training,) = facts["trainings"]
    steps = np.array(sorted({sample // BATCH + 1 for of_one in samples.values() for sample in of_one}))
    assert training["steps_that_read"] == ranges(steps)
    assert training["samples"] == len(set().union(*samples.values()))
    assert training["read"] == {"step": STEPS, "documents": len(samples), "tokens": tokens.sum()}
    by_three = sum(min(of_one) // BATCH + 1 <= 3 for of_one in samples.values())
    assert training["checkpoints"] == [
        {"step": 3, "documents": by_three, "tokens": tokens[:4].sum()},
        training["read"],
    ]
    (model,) = training["models"]
    assert model == {"artifact": before.export.uri.rsplit("/", 1)[-1], **training["read"]}
    for row in facts["documents"]:
        found = samples.get(bytes.fromhex(row["id"]), set())
        assert list(row["samples"].values()) == ([ranges(np.array(sorted(found)))] if found else [])


def test_an_unfinished_training_is_traced_as_far_as_its_checkpoints_go(there: Path) -> None:
    plan = make_plan(run_of(there))
    for stage in (plan.train, plan.export, plan.evaluate, plan.report):
        shutil.rmtree(stage.uri)
    save_checkpoints(plan, [2])
    (training,) = taken_down(there)["trainings"]
    assert (training["finished"], training["steps"], training["models"]) == (False, 2, [])
    assert all(last <= 2 for _, last in training["steps_that_read"])
    assert [found["step"] for found in training["checkpoints"]] == [2]


def test_all_that_was_made_of_it_is_listed_with_its_runs_and_what_to_type(there: Path) -> None:
    run = run_of(there)
    other = run.model_copy(update={"variant": "lr", "seed": 99})
    record_run(other, make_plan(other), None, "run.yaml")
    result = hibari("takedown", str(there / "list.txt"), str(there / "run.yaml"), "--set", "train.lr=0.01")
    assert result.exit_code == 0, result.output
    (path,) = (there / "runs" / "takedown").glob("*.json")
    facts = json.loads(path.read_text())
    rows = {row["stage"]: row for row in facts["artifacts"]}
    assert list(rows) == list(STAGES)
    assert rows["curate"]["runs"] == ["tiny", "tiny@lr"]
    assert rows["mix"]["runs"] == ["tiny"]
    assert rows["expand"]["documents"] == {}
    assert {run["run"]: run["command"] for run in facts["runs"]} == {
        "tiny": f"hibari run {there}/run.yaml --set train.lr=0.01 --root {run.root}",
        "tiny@lr": f"hibari run {run.root}/runs/tiny@lr.yaml",
    }
    text = path.with_suffix(".md").read_text()
    assert text in result.output
    for expected in (
        f"hibari run {run.root}/runs/tiny@lr.yaml\n",
        f"hibari prune {run.root} --delete\n",
        "checkpoint of step 3: has seen",
        "Matched nothing at this root: `https://www.example.org/14.html`, `host:nobody.example`.",
    ):
        assert expected in text


def test_every_later_plan_leaves_the_pages_out_and_status_says_why(there: Path) -> None:
    run = run_of(there)
    before = make_plan(run)
    assert "tombstones" not in before.curate.inputs
    taken_down(there)
    after = make_plan(run)
    assert [stage.stage for a, stage in zip(before, after, strict=True) if a.fingerprint != stage.fingerprint] == list(
        STAGES
    )
    states = {status.plan.stage: status for status in run_status(after)}
    assert (states["curate"].state, states["curate"].differs) == ("stale", ("input tombstones",))
    assert "input tombstones" in states["binarize"].differs
    taken_down(there)
    assert make_plan(run) == after, "the same list again changes nothing"
    (there / "list.txt").write_text("host:another.example\n")
    taken_down(there)
    assert make_plan(run).curate.fingerprint != after.curate.fingerprint
    Path(list_uri(run.root)).unlink()
    assert make_plan(run) == before


def test_without_other_sources_tombstones_concern_curate_alone(there: Path) -> None:
    run = run_of(there)
    taken_down(there)
    (corpus, *_) = run.sources
    plan = make_plan(run.model_copy(update={"sources": [corpus]}))
    assert "tombstones" in plan.curate.inputs
    assert "tombstones" not in plan.binarize.inputs


def test_the_rebuilt_run_holds_nothing_and_prune_removes_what_does(there: Path) -> None:
    run = run_of(there)
    before = make_plan(run)
    taken_down(there)
    after = make_data_stages(run)
    manifest = read_manifest(after.curate.uri)
    assert manifest is not None
    assert manifest.counts["dropped_takedown"] == 2
    facts = taken_down(there)
    assert facts["added"] == []
    assert [row["documents"] for row in facts["patterns"]] == [{}, {}, {}, {"files of web-en": 10}, {}]
    assert {row["artifact"] for row in facts["artifacts"]} == {stage.uri.rsplit("/", 1)[-1] for stage in before}
    assert all(row["runs"] == [] for row in facts["artifacts"])
    assert (facts["runs"], facts["stale_runs"]) == ([], [])
    assert hibari("prune", run.root, "--delete").exit_code == 0
    assert not any(Path(stage.uri).exists() for stage in before)
    assert read_manifest(after.mix.uri)
    clean = taken_down(there)
    assert (clean["artifacts"], clean["trainings"], clean["copies"]) == ([], [], [])


def test_taking_pages_out_gives_what_curating_all_gives(there: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As `--force` finds: it starts from the WARC files, compares, and fails where the content differs."""
    run = run_of(there)
    taken_down(there)
    with caplog.at_level("INFO"):
        record = call(curate, make_plan(run).curate, run.curate, run.executor)
    assert "taking 2 of 2 shards over" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        forced = call(curate, make_plan(run, Selection(force=("curate",))).curate, run.curate, run.executor)
    assert "shards over from earlier" not in caplog.text
    assert (forced.content_digest, forced.counts, forced.details) == (
        record.content_digest,
        record.counts,
        record.details,
    )


def test_a_run_that_holds_nothing_is_stale_all_the_same_and_that_is_said(there: Path) -> None:
    (there / "list.txt").write_text("host:nobody.example\n")
    facts = taken_down(there)
    assert (facts["artifacts"], facts["runs"], facts["stale_runs"]) == ([], [], ["tiny"])
    (text,) = (path.read_text() for path in (there / "runs" / "takedown").glob("*.md"))
    assert "Nothing was found in what these runs refer to: `tiny`" in text


def test_a_page_can_be_taken_down_before_anything_was_made(there: Path) -> None:
    shutil.rmtree(there / "runs")
    facts = taken_down(there)
    assert (facts["artifacts"], facts["runs"], len(facts["added"])) == ([], [], 5)
    assert "tombstones" in make_plan(run_of(there)).curate.inputs


def test_what_could_not_be_looked_through_is_said(there: Path) -> None:
    run = run_of(there)
    plan = make_plan(run)
    (there / "en.jsonl").unlink()
    (there / "runs" / "curate" / "tiny-0123456789ab").mkdir()
    shutil.rmtree(plan.deduplicate.uri)
    problems = taken_down(there)["problems"]
    assert [problem.split(":")[0].split(" (")[0] for problem in problems] == [
        "source web-en",
        f"binarize/{plan.binarize.uri.rsplit('/', 1)[-1]}",
        f"{run.root}/curate/tiny-0123456789ab",
    ]

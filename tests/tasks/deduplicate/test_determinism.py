"""The same documents give the same bytes, wherever they are deduplicated and however often that is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from storage.artifact import Outcome, content_digest
from storage.uri import listing, upload_tree
from tasks.shards import ExecutorConfig
from tests.killing import ROOT
from tests.pools import threads
from tests.storage.test_s3 import s3_root as s3_root
from tests.tasks.deduplicate.corpora import random_pages, sealed, write_pages
from tests.tasks.deduplicate.killed_stage import run

CRAWLS = "CC-MAIN-2024-10", "CC-MAIN-2024-18"
NOTICE = "当店の巣箱は、雲雀観察会の会員が、一つずつ手で作ってお届けしています。"
ONE = ExecutorConfig(workers=1)
# Where the process is killed: each of its phases, after something of it is done and before all is.
KILLED_AT = (
    "_shards/.sign-c.json",
    "_shards/.near-",
    "_shards/.verify-",
    "_work/fates/.b.arrow",
    "_shards/.lines-b.json",
    "index/.documents.json",
    "/_work",  # as it is removed
)


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    """Four shards, whose pages with a host have one line in common."""
    rng = Random(1)
    found = []
    for name in "abcd":
        pages = random_pages(rng, 14, CRAWLS[name > "b"])
        pages = [replace(page, text=f"{NOTICE}\n{page.text}") if page.host else page for page in pages]
        found.append(write_pages(tmp_path, name, pages))
    return found


def check_same(outcome: Outcome, expected: Outcome) -> None:
    assert content_digest(outcome.files) == content_digest(expected.files)
    assert (outcome.counts, outcome.details) == (expected.counts, expected.details)


@pytest.fixture
def undisturbed(shards: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """What one worker makes of them, without interruption."""
    with monkeypatch.context() as patched:
        patched.setattr("tasks.shards._open_executor", threads)
        outcome = run(shards, str(tmp_path / "undisturbed"), None, ONE)
    assert min(outcome.counts[name] for name in ("same_url", "exact_duplicates", "near_duplicates", "kept")) > 0
    assert outcome.counts["boilerplate_lines"] > 0
    return outcome


@pytest.mark.parametrize("workers", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_workers_make_no_difference(shards: list[str], undisturbed: Outcome, tmp_path: Path, workers: int) -> None:
    check_same(run(shards, str(tmp_path / "out"), None, ExecutorConfig(workers=workers)), undisturbed)


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_dask_cluster_makes_no_difference(
    shards: list[str], undisturbed: Outcome, tmp_path: Path, processes: bool
) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=processes,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        executor = ExecutorConfig(kind="dask", address=cluster.scheduler_address)
        check_same(run(shards, str(tmp_path / "out"), None, executor), undisturbed)


@pytest.mark.slow
def test_a_bucket_makes_no_difference(s3_root: str, shards: list[str], tmp_path: Path) -> None:
    """A corpus, and one built onto it, with documents and artifacts on an object store."""
    bucket = f"{s3_root}/deduplicate"
    upload_tree(tmp_path, f"{bucket}/in")
    there = [f"{bucket}/in/{uri.rsplit('/', 1)[-1]}" for uri in shards]
    for documents, root in ((shards, str(tmp_path / "out")), (there, f"{bucket}/out")):
        base = sealed(f"{root}/base", run(documents[:2], f"{root}/base", None, ONE))
        made = [base, run(documents, f"{root}/onto", f"{root}/base", ONE)]
        if documents is shards:
            expected = made
    for outcome, local in zip(made, expected, strict=True):
        check_same(outcome, local)
    assert not any(listing(f"{bucket}/out/onto/_work"))


def kill(at: str, shards: list[str], out: Path, base: Path | None = None) -> None:
    command = [sys.executable, "-m", "tests.tasks.deduplicate.killed_stage", at, str(out), str(base or "-"), *shards]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr


@pytest.mark.usefixtures("shards_in_threads")
@pytest.mark.parametrize(
    "at", ["_shards/.write-b.json", *(pytest.param(at, marks=pytest.mark.slow) for at in KILLED_AT)]
)
def test_a_killed_stage_goes_on_and_ends_in_the_same_bytes(
    shards: list[str], undisturbed: Outcome, tmp_path: Path, at: str
) -> None:
    out = tmp_path / "out"
    kill(at, shards, out)
    finished = {path: path.stat().st_mtime_ns for path in (out / "_shards").glob("[!.]*.json")}
    assert finished
    check_same(run(shards, str(out), None, ONE), undisturbed)
    assert not (out / "_work").exists()
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items() if "_work" not in path.read_text())


@pytest.mark.slow
@pytest.mark.usefixtures("shards_in_threads")
@pytest.mark.parametrize("at", ["_shards/.returning-a.json", "_shards/.write-c.json", "_shards/.write-a.json"])
def test_a_killed_addition_goes_on_and_ends_in_the_same_bytes(shards: list[str], tmp_path: Path, at: str) -> None:
    base = tmp_path / "base"
    sealed(str(base), run(shards[:2], str(base), None, ONE))
    undisturbed = run(shards, str(tmp_path / "undisturbed"), str(base), ONE)
    kill(at, shards, tmp_path / "out", base)
    check_same(run(shards, str(tmp_path / "out"), str(base), ONE), undisturbed)

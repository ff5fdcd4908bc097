"""`hibari hosts`: the list comes from the run's own curation, and says so where it cannot."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from flows.config import ConfigError, RunConfig, load_run
from flows.hosts import write_ng_hosts
from flows.plan import plan_corpus
from storage.artifact import FileEntry, Manifest, seal
from storage.uri import sha256
from tests.flows.test_config import MINIMAL
from tests.tasks.refine.test_ng_hosts import pages, write_metrics


@pytest.fixture
def run(tmp_path: Path) -> RunConfig:
    (tmp_path / "w.warc.gz").write_bytes(gzip.compress(b"WARC/1.0\r\n", mtime=0))
    (tmp_path / "run.yaml").write_text(MINIMAL.replace("w.warc.gz", f"{tmp_path}/w.warc.gz"))
    return load_run(tmp_path / "run.yaml", root=f"{tmp_path}/runs")


def test_the_list_is_made_of_what_curation_measured(run: RunConfig, tmp_path: Path) -> None:
    plan = plan_corpus(run)[0]
    path = Path(write_metrics(Path(plan.uri), "metrics/w.parquet", pages("izakaya.example", 50, 2)))
    entry = FileEntry("metrics/w.parquet", path.stat().st_size, sha256(str(path)))
    made_of = (plan.algorithm_version, dict(plan.literals), dict(plan.inputs), dict(plan.libraries))
    seal(plan.uri, Manifest(plan.stage, plan.name, plan.fingerprint, *made_of, [entry], {}, "", "", 1.0))
    assert [found.host for found in write_ng_hosts(run, tmp_path / "ng.txt")] == ["izakaya.example"]
    assert (tmp_path / "ng.txt").read_text().splitlines()[1:] == ["izakaya.example  # 2 of 50"]
    assert write_ng_hosts(run, tmp_path / "ng.txt", min_pages=3) == []


def test_without_curation_or_ng_words_there_is_no_list(run: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"curate is not complete at .*; first: hibari run"):
        write_ng_hosts(run, tmp_path / "ng.txt")
    without_words = load_run(tmp_path / "run.yaml", ["curate.quality.ng_words.files=[]"])
    with pytest.raises(ConfigError, match=r"ng_words\.files is empty"):
        write_ng_hosts(without_words, tmp_path / "ng.txt")
    assert not (tmp_path / "ng.txt").exists()

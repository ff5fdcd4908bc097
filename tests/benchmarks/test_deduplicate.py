"""Breaks when a figure of the deduplication benchmark is not what its runs say, or one of its commands does not run."""

from __future__ import annotations

import importlib.util
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from benchmarks.deduplicate import PEERS, deviation, expected_recall, main
from benchmarks.measure import DiskWatch
from benchmarks.planted_corpus import Pairs


def test_expected_recall_is_of_the_pairs_that_count() -> None:
    pairs = Pairs(np.arange(3), np.arange(3, 6), np.array([0.5, 0.8, 1.0]))
    assert expected_recall("40x20", pairs) == pytest.approx((0.3711 + 1) / 2, abs=1e-4)


def test_deviation_in_standard_errors() -> None:
    assert deviation(-0.02, 0.01) == pytest.approx(-2)
    assert deviation(0.0, 0.0) == 0
    assert deviation(0.1, 0.0) == float("inf")


def test_the_disk_watch_sees_what_is_removed_again(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    with DiskWatch(folder) as watch:
        (folder / "a").mkdir(parents=True)
        (folder / "a" / "b").write_bytes(b"x" * 1000)
        seen = threading.Event()
        while watch.peak < 1000:
            seen.wait(0.05)
        (folder / "a" / "b").unlink()
    assert watch.peak == 1000


def test_recall_prints_a_line_for_each_bin(capsys: pytest.CaptureFixture[str]) -> None:
    main(["recall", "--pairs", "20", "--schemes", "14x8", "--json"])
    said = capsys.readouterr().out.splitlines()
    bins = json.loads(said[-1])
    assert [(found["low"], found["pairs"]) for found in bins[:2]] == [(0.70, 20), (0.73, 20)]
    assert len(bins) == 10
    assert len(said) == 10 + 4
    assert all(abs(found["deviation"]) < 5 for found in bins if found["standard_error"] > 0.001)


def test_speed_measures_us_and_the_peers_on_one_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.deduplicate._compile", lambda work: None)  # nobody looks at the times
    peers = [name for name in PEERS if importlib.util.find_spec(name)]
    main(["speed", "--documents", "400", "--workers", "1", "--work", str(tmp_path), "--json"])
    out = capsys.readouterr().out
    rows = json.loads(out.splitlines()[-1])
    assert [row["name"] for row in rows] == ["hibari", *peers]
    for name in PEERS.keys() - set(peers):
        assert f"{name} is not installed" in out
    for row in rows:
        assert row["quality"]["documents"] == 400
        assert row["quality"]["recall_90"] > 0.9
        assert abs(row["quality"]["recall_80"] - row["expected_recall_80"]) < 0.2
        assert row["quality"]["precision"] > 0.75
        assert row["cpu_ms"] == pytest.approx(1000 * row["cpu_s"] / 400)
        assert row["peak_mib"] >= row["largest_mib"] > 0
    assert not list(tmp_path.glob("hibari-dedup*")), "corpora and results are removed"


@pytest.mark.slow
def test_scale_and_verification_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["scale", "--documents", "400", "800", "--workers", "1", "--work", str(tmp_path), "--json"])
    small, large = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert large["index_bytes"] - small["index_bytes"] > 400 * 40 * 12, "a hash and a row in each band"
    main(["verification", "--documents", "400", "--schemes", "14x8", "--work", str(tmp_path), "--json"])
    buckets, verified = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert verified["quality"]["precision"] == 1 > buckets["quality"]["precision"]
    assert verified["quality"]["recall_80"] == buckets["quality"]["recall_80"]

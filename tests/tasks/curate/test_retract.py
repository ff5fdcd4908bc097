"""Pages that are taken down go from the curated documents, by curating under tombstones or out of what is there."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from storage.artifact import Manifest, artifact_uri, fingerprint, seal
from storage.documents import read_documents
from storage.ledger import Rule, count_rules, read_full
from storage.tombstones import TOMBSTONES, Tombstones, add_tombstones, tombstones_digest
from storage.uri import write_bytes
from tasks.curate.config import CurateConfig
from tasks.curate.curate import WarcShard, curate_warc
from tasks.curate.retract import RetractShard, find_earlier, retract_shard
from tasks.curate.sources import list_warcs
from tasks.shards import ShardRecord
from tasks.stage import StagePlan
from tests.tasks.curate.test_curate import EXPECTED
from tests.tasks.curate.warc_files import write_warc


@pytest.fixture(scope="module")
def warc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of record; six are kept: 0, 11, 12, 13, 14 and 16."""
    path = tmp_path_factory.mktemp("warc") / "x.warc.gz"
    write_warc(path, [data for data, _ in EXPECTED])
    return path


def curated(warc: Path, out: Path, *patterns: str) -> ShardRecord:
    """Curate under tombstones, and leave the shard's record as the stage does."""
    (source,) = list_warcs([str(warc)])
    config = CurateConfig(sources=[str(warc)])
    found = curate_warc(WarcShard(source, config, str(out), tombstones=Tombstones.of(patterns)))
    write_bytes(f"{out}/_shards/x.json", json.dumps(asdict(found)).encode())
    return found


def test_what_is_taken_down_is_left_out_and_stands_in_the_ledger(tmp_path: Path, warc: Path) -> None:
    found = curated(warc, tmp_path, "https://example.jp/11.html", "https://example.jp/3.html")
    urls = [url for batch in read_documents(f"{tmp_path}/documents/x.parquet") for url in batch["url"].to_pylist()]
    assert urls == [f"https://example.jp/{number}.html" for number in (0, 12, 13, 14, 16)]
    taken = [row for row in read_full(f"{tmp_path}/ledger/x.parquet") if row.rule == Rule.TAKEDOWN]
    assert [(row.url, row.value, row.threshold) for row in taken] == [("https://example.jp/11.html", None, None)]
    assert count_rules(map(str, tmp_path.glob("ledger/*")))["page_too_large"] == 1, "asked before the tombstones are"
    assert (found.counts["kept"], found.counts["dropped_takedown"]) == (5, 1)
    assert found.counts["kept"] + found.counts["dropped"] == found.counts["records"] == len(EXPECTED)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((), ("https://example.jp/11.html",)),
        ((), ("https://example.jp/0.html", "https://example.jp/16.html")),
        (("https://example.jp/0.html",), ("https://example.jp/0.html", "https://example.jp/13.html")),
        (("https://example.jp/0.html",), ("https://example.jp/0.html", "https://example.jp/404.html")),
        ((), ("host:example.jp",)),
    ],
    ids=["one", "first and last", "more", "nothing more", "all"],
)
def test_taking_out_gives_what_curating_anew_gives(
    tmp_path: Path, warc: Path, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    earlier, out = tmp_path / "earlier", tmp_path / "out"
    curated(warc, earlier, *before)
    anew = curated(warc, tmp_path / "anew", *after)
    taken_out = retract_shard(RetractShard("x", str(earlier), str(out), Tombstones.of(after)))
    assert taken_out == replace(anew, counts=taken_out.counts)
    assert Counter(taken_out.counts) == Counter(anew.counts)
    for entry in anew.files:
        assert (out / entry.path).read_bytes() == (tmp_path / "anew" / entry.path).read_bytes()


def test_an_untouched_shard_is_linked_and_a_touched_one_leaves_the_old_as_it_was(tmp_path: Path, warc: Path) -> None:
    earlier = tmp_path / "earlier"
    before = curated(warc, earlier)
    content = {entry.path: (earlier / entry.path).read_bytes() for entry in before.files}
    for name, pattern in (("same", "host:elsewhere.jp"), ("less", "https://example.jp/12.html")):
        retract_shard(RetractShard("x", str(earlier), str(tmp_path / name), Tombstones.of([pattern])))
    for entry in before.files:
        assert (tmp_path / "same" / entry.path).samefile(earlier / entry.path)
        assert (earlier / entry.path).read_bytes() == content[entry.path]
    assert not (tmp_path / "less" / "documents" / "x.parquet").samefile(earlier / "documents" / "x.parquet")
    assert not list(tmp_path.rglob("*.tmp"))


def planned(root: Path, *, tombstones: str | None = None, literals: int = 1, warcs: str = "w") -> StagePlan:
    inputs = {"warcs": warcs} | ({TOMBSTONES: tombstones} if tombstones else {})
    identity = fingerprint("curate", "1", {"min": literals}, inputs, {"lib": "1"})
    uri = artifact_uri(str(root), "curate", "tiny", identity)
    return StagePlan("curate", "tiny", uri, identity, "1", {"min": literals}, inputs, {"lib": "1"})


def complete(plan: StagePlan) -> None:
    made_of = (plan.algorithm_version, dict(plan.literals), dict(plan.inputs), dict(plan.libraries))
    seal(plan.uri, Manifest(plan.stage, plan.name, plan.fingerprint, *made_of, [], {}, "", "", 0.0))


def test_the_artifact_to_start_from_differs_in_fewer_tombstones_only(tmp_path: Path) -> None:
    root = str(tmp_path)
    states: list[str | None] = [None]
    for pattern in ("host:a.jp", "host:b.jp", "host:c.jp"):
        add_tombstones(root, [pattern], reason="", list_digest=pattern)
        states.append(tombstones_digest(root))
    wanted = planned(tmp_path, tombstones=states[2])
    assert find_earlier(wanted) is None
    for other in (
        planned(tmp_path, tombstones=states[3]),
        planned(tmp_path, literals=2),
        planned(tmp_path, warcs="more"),
        planned(tmp_path, tombstones="0" * 64),
        wanted,
    ):
        complete(other)
    assert find_earlier(wanted) is None
    for state in states[:2]:
        complete(planned(tmp_path, tombstones=state))
        assert find_earlier(wanted) == planned(tmp_path, tombstones=state).uri
    assert find_earlier(planned(tmp_path)) is None, "nothing is taken down"


def test_an_artifact_without_the_shard_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished shard x"):
        retract_shard(RetractShard("x", str(tmp_path), str(tmp_path / "out"), Tombstones()))

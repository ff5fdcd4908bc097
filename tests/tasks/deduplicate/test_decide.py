"""Everyone's fate, held against the definitions followed one document at a time."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.ledger import Rule
from tasks.deduplicate import buckets, decide, gather, lsh
from tasks.deduplicate.config import DeduplicateConfig, VerifyConfig
from tasks.deduplicate.index import IndexShard
from tasks.shards import ExecutorConfig, one_pool
from tests.pools import threads
from tests.tasks.deduplicate.made_index import Document, Fate, decide_plainly, write_index

EXECUTOR = ExecutorConfig(workers=1)
CONFIG = DeduplicateConfig(bands=3, rows=4)
NEAR_FILES = [f"near-{number:05}.arrow" for number in range(3)]


def document(name: int, *bands: int, **others: Any) -> Document:
    others.setdefault("exact", name.to_bytes(16, "big"))
    return Document(id=name.to_bytes(16, "big"), bands=bands or (name, name, name), **others)


def fates(out: Path, shards: Sequence[Sequence[Document]], config: DeduplicateConfig) -> dict[bytes, Fate]:
    """What `decide` says, by id."""
    index = write_index(str(out), shards, config)
    decisions = decide.decide(index, config, out=str(out), executor=EXECUTOR, documents={})
    ids = [row.tobytes() for row in decisions.ids]
    assert ids == [one.id for shard in shards for one in shard]
    assert np.array_equal(decisions.kept, decisions.survivor == np.arange(len(ids)))
    return {
        ids[row]: Fate(
            Rule(int(decisions.rule[row])),
            ids[decisions.survivor[row]],
            ids[decisions.twin[row]] if decisions.twin[row] >= 0 else None,
            None if np.isnan(decisions.value[row]) else float(decisions.value[row]),
        )
        for row in range(len(ids))
    }


def by_number(found: Mapping[bytes, Fate]) -> dict[int, tuple[str, int, int | None]]:
    return {
        int.from_bytes(id, "big"): (
            fate.rule.name,
            int.from_bytes(fate.survivor, "big"),
            None if fate.twin is None else int.from_bytes(fate.twin, "big"),
        )
        for id, fate in found.items()
    }


@pytest.mark.usefixtures("shards_in_threads")
def test_a_chain_of_buckets_is_one_cluster_with_one_survivor(tmp_path: Path) -> None:
    # 1 and 3 share band 0, 3 and 2 share band 1; the smaller number is better-ranked.
    chain = [document(1, 7, 11, 12), document(2, 8, 5, 13), document(3, 7, 5, 14), document(4, 9, 15, 7)]
    assert by_number(fates(tmp_path, [chain[:2], chain[2:]], CONFIG)) == {
        1: ("KEPT", 1, None),
        2: ("NEAR_DUPLICATE", 1, 3),  # only a lower-ranked document ties it to its survivor
        3: ("NEAR_DUPLICATE", 1, 1),
        4: ("KEPT", 4, None),  # its 7 is of another band
    }


@pytest.mark.usefixtures("shards_in_threads")
def test_any_bucket_keeps_what_only_lower_ranked_documents_tie_to_a_survivor(tmp_path: Path) -> None:
    chain = [document(1, 7, 11, 12), document(2, 8, 5, 13), document(3, 7, 5, 14), document(4, 1, 5, 15)]
    found = fates(tmp_path, [chain], CONFIG.model_copy(update={"grouping": "any_bucket"}))
    assert by_number(found) == {
        1: ("KEPT", 1, None),
        2: ("KEPT", 2, None),
        3: ("NEAR_DUPLICATE", 1, 1),
        4: ("NEAR_DUPLICATE", 2, 2),  # 3, which it shares the bucket with as well, is not kept itself
    }


@pytest.mark.usefixtures("shards_in_threads")
def test_who_is_dropped_at_one_level_takes_no_part_in_the_next(tmp_path: Path) -> None:
    same = b"x" * 16
    shard = [
        document(1, 1, 2, 3, page=50),
        document(2, 1, 5, 6, page=50, exact=same),  # a copy of 1 by URL: does not tie 3 and 4 to 1
        document(3, 9, 5, 7, exact=same),
        document(4, 9, 8, 8, page=51, exact=same),
        document(5, 9, 5, 5),
        document(6, 60, 61, 62, page=0),
        document(7, 70, 71, 72, page=0),  # no URL is not one URL
    ]
    found = fates(tmp_path, [shard], CONFIG.model_copy(update={"urls": True}))
    assert by_number(found) == {
        1: ("KEPT", 1, None),
        2: ("SAME_URL", 1, 1),
        3: ("KEPT", 3, None),
        4: ("EXACT_DUPLICATE", 3, 3),
        5: ("NEAR_DUPLICATE", 3, 3),
        6: ("KEPT", 6, None),
        7: ("KEPT", 7, None),
    }
    without = by_number(fates(tmp_path / "without", [shard], CONFIG))
    assert without[3] == without[4] == ("EXACT_DUPLICATE", 1, 2), "a copy has the survivor of its twin"


@pytest.mark.usefixtures("shards_in_threads")
def test_digests_that_agree_in_one_half_are_not_equal(tmp_path: Path) -> None:
    halves = [b"a" * 8 + b"b" * 8, b"a" * 8 + b"c" * 8, b"d" * 8 + b"b" * 8, b"a" * 8 + b"c" * 8]
    shard = [document(number, exact=half) for number, half in enumerate(halves, 1)]
    assert by_number(fates(tmp_path, [shard], CONFIG)) == {
        1: ("KEPT", 1, None),
        2: ("KEPT", 2, None),
        3: ("KEPT", 3, None),
        4: ("EXACT_DUPLICATE", 2, 2),
    }


def crowd(seed: int) -> list[Document]:
    """Documents of which many are tied: few different hashes, pages, digests, crawls and dates."""
    chance = random.Random(seed)
    return [
        document(
            chance.randrange(1 << 120),
            *((chance.randrange(28) * 0x0900_0000_0000_0001) for _ in range(3)),
            exact=chance.randrange(45).to_bytes(1, "big") * 16,
            page=chance.choice([0, *range(1 << 56, 40 << 56, 1 << 56)]),
            url=chance.randrange(4),
            crawl=chance.choice([None, "unknown", "CC-MAIN-2023-50", "CC-MAIN-2024-10", "CC-MAIN-2013-20"]),
            fetched_at=chance.choice([None, 0, 5, 9]),
            num_characters=chance.randrange(3),
            quality=chance.choice([None, 0.0, 0.25, 0.5]),
        )
        for _ in range(60)
    ]


def similarity(left: Document, right: Document) -> float:
    """A stand-in for that of texts: the same for both orders, and about half are below 0.8."""
    return 0.6 + (left.num_characters + right.num_characters + left.host + int.from_bytes(left.id, "big") % 2) % 5 / 10


@pytest.mark.usefixtures("shards_in_threads")
@pytest.mark.parametrize("urls", [False, True], ids=["", "urls"])
@pytest.mark.parametrize("grouping", ["cluster", "any_bucket"])
@pytest.mark.parametrize("survivor", ["newest", "oldest", "longest", "best_quality"])
def test_random_crowds_fare_as_the_definitions_say(tmp_path: Path, survivor: str, grouping: str, urls: bool) -> None:
    config = DeduplicateConfig(bands=3, rows=4, survivor=survivor, grouping=grouping, urls=urls)
    rules = set()
    for seed in range(4):
        documents = crowd(seed)
        found = fates(tmp_path / str(seed), [documents[:7], documents[7:7], documents[7:40], documents[40:]], config)
        assert found == decide_plainly(documents, config)
        rules |= {fate.rule for fate in found.values()}
    assert rules == {Rule.KEPT, Rule.EXACT_DUPLICATE, Rule.NEAR_DUPLICATE, *([Rule.SAME_URL] if urls else [])}


@pytest.mark.usefixtures("shards_in_threads")
@pytest.mark.parametrize("grouping", ["cluster", "any_bucket"])
def test_verification_ties_only_pairs_that_are_similar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grouping: str
) -> None:
    config = DeduplicateConfig(bands=3, rows=4, grouping=grouping, verify=VerifyConfig(enabled=True))
    documents = crowd(5)
    asked: list[np.ndarray] = []

    def verify_pairs(pairs: np.ndarray, shards: Sequence[IndexShard], *_: Any, **__: Any) -> np.ndarray:
        asked.append(pairs)
        return np.array([similarity(documents[left], documents[right]) for left, right in pairs])

    monkeypatch.setattr(decide, "verify_pairs", verify_pairs)
    found = fates(tmp_path, [documents[:20], documents[20:]], config)
    assert found == decide_plainly(documents, config, similarity)
    assert found != decide_plainly(documents, config)
    assert len(np.unique(np.sort(asked[0], axis=1), axis=0)) == len(asked[0]), "a pair was compared twice"


@pytest.mark.usefixtures("shards_in_threads")
@pytest.mark.parametrize("small_slice", [0, 100], ids=["apart", "gathered"])
def test_how_the_work_is_cut_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_slice: int) -> None:
    config = DeduplicateConfig(bands=3, rows=4, urls=True)
    documents = crowd(6)
    monkeypatch.setattr(gather, "SMALL_SLICE", small_slice)
    monkeypatch.setattr(gather, "GATHERED", 20)
    whole = decide.decide(
        write_index(str(tmp_path / "whole"), [documents], config),
        config,
        out=str(tmp_path / "whole"),
        executor=EXECUTOR,
        documents={},
    )
    monkeypatch.setattr(buckets, "MAX_ROWS", 7)
    monkeypatch.setattr(lsh, "KEYS_PER_PIECE", 10)
    shards = [documents[:9], documents[9:18], documents[18:40], documents[40:51], documents[51:]]
    index = write_index(str(tmp_path / "cut"), shards, config)
    cut = decide.decide(index, config, out=str(tmp_path / "cut"), executor=ExecutorConfig(workers=3), documents={})
    work = tmp_path / "cut" / "_work"
    assert len(list(work.glob("near-*.arrow"))) > 8
    assert len(list(work.glob("gathered/index/*"))) == (4 if small_slice else 0)
    for name in ("survivor", "twin", "rule", "ids"):
        assert np.array_equal(getattr(whole, name), getattr(cut, name)), name


def test_workers_and_a_second_attempt_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = crowd(7)
    results, files = [], []
    monkeypatch.setattr(lsh, "KEYS_PER_PIECE", 50)
    for workers in (1, 2, 4):
        out = tmp_path / str(workers)
        index = write_index(str(out), [documents[:30], documents[30:]], CONFIG)
        executor = ExecutorConfig(workers=workers)
        with one_pool(executor):
            results.append(decide.decide(index, CONFIG, out=str(out), executor=executor, documents={}))
        files.append({path.name: path.read_bytes() for path in (out / "_work").rglob("*.*")})
    assert files[0] == files[1] == files[2]
    assert sorted(files[0]) == ["00000.bands", "00000.parquet", "exact-00000.arrow", *NEAR_FILES]

    out = tmp_path / "2"  # as if killed between two pieces of work
    (out / "_work" / "near-00001.arrow").unlink()
    kept = (out / "_work" / "near-00000.arrow").stat().st_mtime_ns
    monkeypatch.setattr("tasks.shards._open_executor", threads)
    again = decide.decide(index_of(out, documents), CONFIG, out=str(out), executor=EXECUTOR, documents={})
    assert (out / "_work" / "near-00000.arrow").stat().st_mtime_ns == kept
    for other in (*results[1:], again):
        for name in ("survivor", "twin", "rule", "value", "ids"):
            assert getattr(other, name).tobytes() == getattr(results[0], name).tobytes(), name


def index_of(out: Path, documents: Sequence[Document]) -> list[IndexShard]:
    return [IndexShard("a", str(out), 0, 30), IndexShard("b", str(out), 30, len(documents) - 30)]


@pytest.mark.usefixtures("shards_in_threads")
def test_progress_reaches_the_number_of_steps_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lsh, "KEYS_PER_PIECE", 50)
    config = DeduplicateConfig(bands=3, rows=4, urls=True)
    documents = crowd(8)
    told: list[tuple[float, int]] = []
    decide.decide(
        write_index(str(tmp_path), [documents], config),
        config,
        out=str(tmp_path),
        executor=EXECUTOR,
        documents={},
        progress=lambda done, total, _: told.append((done, total)),
    )
    assert told[-1] == (11, 11)
    assert sorted(told) == told


@pytest.mark.usefixtures("shards_in_threads")
def test_a_document_that_was_read_twice_is_refused(tmp_path: Path) -> None:
    shards = [[document(1), document(2)], [document(2, 8, 8, 8)]]
    with pytest.raises(ValueError, match=f"1 ids are of more than one document, {document(2).id.hex()} of 2"):
        fates(tmp_path, shards, CONFIG)


@pytest.mark.usefixtures("shards_in_threads")
def test_an_index_of_other_settings_is_refused(tmp_path: Path) -> None:
    index = write_index(str(tmp_path), [[document(1)]], CONFIG)
    with pytest.raises(ValueError, match="rows 4, this run 5"):
        decide.decide(index, DeduplicateConfig(bands=3, rows=5), out=str(tmp_path), executor=EXECUTOR, documents={})


@pytest.mark.usefixtures("shards_in_threads")
def test_documents_that_share_nothing_are_all_kept(tmp_path: Path) -> None:
    documents = [document(number) for number in range(1, 20)]
    found = fates(tmp_path, [documents], CONFIG)
    assert {fate.rule for fate in found.values()} == {Rule.KEPT}

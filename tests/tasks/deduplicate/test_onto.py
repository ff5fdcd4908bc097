"""Adding crawls to a corpus ends in the corpus that deduplicating everything at once makes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest

from storage.artifact import Outcome, content_digest, input_digests
from storage.corpus import corpus_shards, corpus_texts
from storage.documents import document_id
from storage.ledger import Rule
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.deduplicate import deduplicate
from tasks.refine.config import RefineConfig
from tasks.shards import ExecutorConfig
from tests.tasks.deduplicate.corpora import UNREFINED, Page, random_pages, sealed, sentences, write_pages

pytestmark = pytest.mark.usefixtures("shards_in_threads")
CRAWLS = "CC-MAIN-2024-10", "CC-MAIN-2024-18", "CC-MAIN-2024-26"
LOOSE = {"bands": 24, "rows": 3}  # two texts of similarity 0.5 share a bucket nineteen times in twenty
POLICIES = "newest", "oldest", "longest", "best_quality"
EVERY = list(product(POLICIES, ("cluster", "any_bucket"), (False, True), (False, True)))
SOME = [
    ("newest", "cluster", False, False),
    ("oldest", "any_bucket", True, False),
    ("longest", "any_bucket", False, True),
    ("best_quality", "cluster", True, True),
]


def run(
    documents: list[str],
    out: Path,
    base: Path | None = None,
    refine: RefineConfig = UNREFINED,
    digests: dict[str, str] | None = None,
    **config: Any,
) -> Outcome:
    outcome = deduplicate(
        documents,
        DeduplicateConfig.model_validate(LOOSE | config),
        refine,
        out=str(out),
        executor=ExecutorConfig(workers=1),
        base=str(base) if base else None,
        digests=digests,
        pairs_per_bin=0,
    )
    return sealed(str(out), outcome)


def crawls(folder: Path, seed: int = 0) -> list[list[str]]:
    """Three crawls of two shards each, whose names mix."""
    rng = Random(seed)
    return [
        [write_pages(folder, f"{name}-{crawl}", random_pages(rng, 14, crawl)) for name in names]
        for names, crawl in zip(("be", "ad", "cf"), CRAWLS, strict=True)
    ]


def corpus(out: Path) -> list[tuple[bytes, str]]:
    return [entry for shard in corpus_shards(str(out)) for entry in corpus_texts(shard)]


def ledgers(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "ledger").iterdir()}


def check_equal(added: Path, whole: Path, outcome: Outcome, expected: Outcome) -> None:
    """A corpus of generations is what a corpus made at once is; documents that returned come later in their shard."""
    assert ledgers(added) == ledgers(whole)
    shards = corpus_shards(str(added))
    texts, expected_texts = corpus(added), corpus(whole)
    assert sorted(texts) == sorted(expected_texts)
    has_returned = len({shard.key for shard in shards}) < len(shards)
    assert has_returned or texts == expected_texts
    assert outcome.counts == expected.counts
    assert {name: outcome.details[name] for name in expected.details} == expected.details


def grow(folder: Path, made: list[list[str]], *, verify: bool, **config: Any) -> list[dict[str, Any]]:
    """Add one crawl after the other, and compare with everything at once; what each generation did."""
    config["verify"] = {"enabled": verify, "min_jaccard": 0.4, "max_candidates": 3}
    documents, base, generations = list(made[0]), folder / "generation-0", []
    run(documents, base, **config)
    for number, crawl in enumerate(made[1:], 1):
        documents += crawl
        out, whole = folder / f"generation-{number}", folder / f"at-once-{number}"
        outcome = run(documents, out, base, **config)
        check_equal(out, whole, outcome, run(documents, whole, **config))
        assert {path.stem for path in (out / "index").glob("*.bands")} == {Path(uri).stem for uri in crawl}
        generations.append(outcome.details["generations"])
        base = out
    return generations


@pytest.mark.parametrize(("survivor", "grouping", "urls", "verify"), SOME)
def test_three_generations_are_everything_at_once(
    tmp_path: Path, survivor: str, grouping: str, urls: bool, verify: bool
) -> None:
    settings = {"survivor": survivor, "grouping": grouping, "urls": urls}
    generations = grow(tmp_path, crawls(tmp_path), verify=verify, **settings)
    assert [made["documents_added"] for made in generations] == [28, 28]
    assert all(made["superseded"] for made in generations)


@pytest.mark.slow
@pytest.mark.parametrize(("survivor", "grouping", "urls", "verify"), EVERY)
def test_three_generations_are_everything_at_once_whatever_the_settings(
    tmp_path: Path, survivor: str, grouping: str, urls: bool, verify: bool
) -> None:
    grow(tmp_path, crawls(tmp_path, seed=1), survivor=survivor, grouping=grouping, urls=urls, verify=verify)


def test_a_document_that_joins_two_clusters_supersedes_one_of_their_survivors(tmp_path: Path) -> None:
    left, right = sentences(1, 20), sentences(2, 20)
    half = len(left) // 2
    pages = [Page(left, "CC-MAIN-2024-18"), Page(right, "CC-MAIN-2024-10")]
    base, bridge = write_pages(tmp_path, "base", pages), left[:half] + right[half:]
    first = run([base], tmp_path / "first", rows=1)
    new = write_pages(tmp_path, "new", [Page(bridge, "CC-MAIN-2023-50")])
    second = run([base, new], tmp_path / "second", tmp_path / "first", rows=1)
    assert (first.counts["kept"], second.counts["kept"]) == (2, 1)
    (gone,) = pq.read_table(tmp_path / "second" / "superseded" / "base.parquet").to_pylist()
    assert gone == {
        "id": document_id("base", 1),
        "rule": Rule.NEAR_DUPLICATE,
        "twin_id": document_id("new", 0),  # what it shares buckets with, though it ranks below
        "survivor_id": document_id("base", 0),
    }
    assert [id for id, _ in corpus(tmp_path / "second")] == [document_id("base", 0)]


def test_a_document_returns_once_what_outranked_it_is_dropped_for_another_reason(tmp_path: Path) -> None:
    """Its cluster's survivor loses its page to a newer crawl, and so takes no part in the levels after that."""
    text, address = sentences(1), "https://example.org/a"
    old = [Page(text, "CC-MAIN-2024-18", address), Page(text + "尾", "CC-MAIN-2024-10", "https://example.org/b")]
    shards = [write_pages(tmp_path, "old", old)]
    first = run(shards, tmp_path / "1", urls=True)
    shards.append(write_pages(tmp_path, "new", [Page(sentences(2), "CC-MAIN-2024-26", address)]))
    second = run(shards, tmp_path / "2", tmp_path / "1", urls=True)
    assert (first.counts["kept"], second.counts["same_url"]) == (1, 1)
    assert second.details["generations"] == {"earlier": ["1"], "documents_added": 1, "returned": 1, "superseded": 1}
    assert corpus(tmp_path / "2") == [(document_id("new", 0), sentences(2)), (document_id("old", 1), text + "尾")]
    assert pq.read_table(tmp_path / "2" / "documents" / "old.parquet").num_rows == 1
    shards.append(write_pages(tmp_path, "newer", [Page(text + "尾", "CC-MAIN-2024-30", "https://example.org/c")]))
    third = run(shards, tmp_path / "3", tmp_path / "2", urls=True)
    check_equal(tmp_path / "3", tmp_path / "3w", third, run(shards, tmp_path / "3w", urls=True))
    superseded = pq.read_table(tmp_path / "3" / "superseded" / "old.parquet")["id"].to_pylist()
    assert superseded == [document_id("old", 0), document_id("old", 1)], "one lies in each earlier generation"


def test_a_superseded_document_that_returns_is_read_where_it_lies(tmp_path: Path) -> None:
    text, address = sentences(1), "https://example.org/a"
    shards = [write_pages(tmp_path, "old", [Page(text, "CC-MAIN-2024-10", "https://example.org/o")])]
    run(shards, tmp_path / "1", urls=True)
    shards.append(write_pages(tmp_path, "new", [Page(text + "尾", "CC-MAIN-2024-18", address)]))
    second = run(shards, tmp_path / "2", tmp_path / "1", urls=True)
    shards.append(write_pages(tmp_path, "newer", [Page(sentences(2), "CC-MAIN-2024-26", address)]))
    third = run(shards, tmp_path / "3", tmp_path / "2", urls=True)
    assert second.details["generations"]["superseded"] == 1
    assert third.details["generations"]["returned"] == 0
    assert not (tmp_path / "3" / "documents" / "old.parquet").exists()
    assert {id for id, _ in corpus(tmp_path / "3")} == {document_id("old", 0), document_id("newer", 0)}
    check_equal(tmp_path / "3", tmp_path / "3w", third, run(shards, tmp_path / "3w", urls=True))


def test_no_text_of_an_earlier_generation_is_read(tmp_path: Path) -> None:
    """Neither what the base wrote, which is scratched out, nor what it was made of, which is gone."""
    first, second, _ = crawls(tmp_path)
    base = tmp_path / "base"
    run(first, base)
    whole = run([*first, *second], tmp_path / "whole")
    digests = dict(zip([*first, *second], input_digests([*first, *second]), strict=True))
    for path in (base / "documents").iterdir():
        path.write_bytes(bytes(path.stat().st_size))
    for uri in first:
        Path(uri).unlink()
    added = run([*first, *second], tmp_path / "added", base, digests=digests)
    assert ledgers(tmp_path / "added") == ledgers(tmp_path / "whole")
    assert added.counts == whole.counts
    assert added.details["generations"]["returned"] == 0 < added.details["generations"]["superseded"]
    assert {path.stem for path in (tmp_path / "added" / "documents").iterdir()} == {Path(uri).stem for uri in second}


def test_what_refinement_did_is_counted_over_all_generations(tmp_path: Path) -> None:
    """Counts, benchmarks' items and characters are those of the corpus as it is, whichever generation did the work."""
    question = "春の野原で空高く昇りながら長くさえずる茶色い小鳥の名前は何でしょうか。"
    (tmp_path / "quiz.txt").write_text(question + "\n")
    named = {"name": "quiz", "files": [f"{tmp_path}/quiz.txt"]}
    refine = RefineConfig.model_validate(
        {"boilerplate": {"enabled": False}, "decontamination": {"benchmarks": [named], "action": "mark"}}
    )
    shards, base = [], None
    for number, crawl in enumerate(CRAWLS):
        texts = [sentences(seed, 16) for seed in range(number, number + 6)]
        mail = [f"連絡先は hibari{seed}@hibari-shop.jp まで。\n{text}" for seed, text in enumerate(texts)]
        pages = [Page(text, crawl, host="egg.5ch.net" if text == mail[4] else "example.jp") for text in mail]
        quiz = texts[1 + number] if number else sentences(90, 16)  # the middle one is superseded
        pages[1 + number] = Page(f"{quiz}\n{question}", crawl)
        shards.append(write_pages(tmp_path, "bca"[number], [*pages, Page("　\n", crawl)]))
        whole = run(shards, tmp_path / f"whole-{number}", refine=refine)
        outcome = run(shards, tmp_path / f"added-{number}", base, refine)
        assert outcome.counts == whole.counts
        assert {name: outcome.details[name] for name in whole.details} == whole.details
        base = tmp_path / f"added-{number}"
    assert ledgers(tmp_path / "added-2") == ledgers(tmp_path / "whole-2")
    assert outcome.details["contamination"]["quiz"]["documents"] == 2
    counted = {name: outcome.counts[name] for name in ("masked_emails", "dropped_blocked_host", "dropped_emptied")}
    assert min(counted.values()) > 0, counted


def test_boilerplate_that_an_earlier_generation_found_is_cut_too(tmp_path: Path) -> None:
    menu = "巣箱の店\n買い物かご\n店までの道"
    refine = RefineConfig.model_validate({"hosts": {"files": [], "patterns": []}, "footer": {"files": []}})
    pages = [Page(f"{menu}\n{sentences(seed, 20)}", host="shop.example") for seed in range(7)]
    old, new = write_pages(tmp_path, "old", pages[:6]), write_pages(tmp_path, "new", pages[6:])
    run([old], tmp_path / "1", refine=refine)
    outcome = run([old, new], tmp_path / "2", tmp_path / "1", refine)
    assert outcome.counts["boilerplate_lines"] == 7 * 3
    assert outcome.counts["boilerplate_found"] == 0, "one page of a host repeats nothing"
    assert dict(corpus(tmp_path / "2"))[document_id("new", 0)] == sentences(6, 20)


def test_a_base_of_other_documents_or_settings_is_refused(tmp_path: Path) -> None:
    first, second, _ = crawls(tmp_path)
    run(first, tmp_path / "base")
    for documents, changed, message in (
        (first[1:] + second, {}, "not among the documents to deduplicate.*leave deduplicate.onto out"),
        (first + second, {"urls": True}, "made with urls: False, not True"),
        (first + second, {"rows": 4}, "rows"),
    ):
        with pytest.raises(ValueError, match=message):
            run(documents, tmp_path / "out", tmp_path / "base", **changed)
    Path(first[0]).unlink()
    write_pages(tmp_path, Path(first[0]).stem, [Page(sentences(77))])
    with pytest.raises(ValueError, match="from another file: sha256"):
        run(first + second, tmp_path / "out", tmp_path / "base")
    (tmp_path / "base" / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match="no complete artifact"):
        run(first + second, tmp_path / "out", tmp_path / "base")


def test_an_interrupted_addition_ends_in_the_same_bytes(tmp_path: Path) -> None:
    first, second, _ = crawls(tmp_path)
    run(first, tmp_path / "base", urls=True)
    whole = run(first + second, tmp_path / "out", tmp_path / "base", urls=True)
    for path in (tmp_path / "out" / "_shards").iterdir():
        if path.name.startswith(("write-a", "write-b", "returning-e")):
            path.unlink()
    (tmp_path / "out" / "manifest.json").unlink()
    again = run(first + second, tmp_path / "out", tmp_path / "base", urls=True)
    assert content_digest(again.files) == content_digest(whole.files)
    assert (again.counts, again.details) == (whole.counts, whole.details)

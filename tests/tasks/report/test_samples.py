"""Samples are drawn by hash, the same every time, with what the ledger knows; taken-down pages are never shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from storage.corpus import corpus_shards
from storage.documents import document_id
from tasks.report import samples as module
from tasks.report.artifacts import RunArtifacts
from tasks.report.census import census_of
from tasks.report.samples import EXCERPT_CHARACTERS, draw, excerpt, samples
from tests.tasks.report.made_up_files import SHARDS, TEXTS
from tests.tasks.report.made_up_run import make_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunArtifacts:
    return RunArtifacts.read(make_run(tmp_path_factory.mktemp("run"), num_steps=2))


def facts_of(made: RunArtifacts) -> dict[str, Any]:
    drawn = draw(made)
    shards = corpus_shards(made.uris["deduplicate"])
    return samples(drawn, shards, census_of(shards, drawn.survivors).places)


def test_each_rule_shows_what_was_measured_or_the_place_in_the_warc(made: RunArtifacts) -> None:
    dropped = {row["rule"]: row["examples"] for row in facts_of(made)["dropped"]}
    assert list(dropped) == ["not_html", "no_japanese_bytes", "too_few_letters", "top_2gram"]
    assert {(page["value"], page["threshold"]) for page in dropped["too_few_letters"]} == {(120.0, 400.0)}
    assert all(page["url"].startswith("https://warc-0000") for page in dropped["too_few_letters"])
    assert [page["url"] for page in dropped["not_html"]] == [None, None]
    assert {page["place"] for page in dropped["not_html"]} == {f"{shard}, byte 7" for shard in SHARDS}
    assert [len(pages) for pages in dropped.values()] == [2, 3, 3, 2]
    assert len({page["place"] for page in dropped["no_japanese_bytes"]}) == 3


def test_examples_have_the_smallest_ids_and_are_not_simply_the_first(made: RunArtifacts) -> None:
    dropped = {row["rule"]: row["examples"] for row in facts_of(made)["dropped"]}
    offsets = [(shard, offset) for shard in SHARDS for offset in range(5000, 5008)]
    chosen = sorted(offsets, key=lambda place: document_id(*place))[:3]
    expected = [f"https://{shard.lower()}.example.jp/page/{offset}?q=<雲雀>" for shard, offset in chosen]
    assert [page["url"] for page in dropped["too_few_letters"]] == expected
    assert chosen != offsets[:3]


def test_a_copy_stands_beside_what_is_kept(made: RunArtifacts) -> None:
    copies = facts_of(made)["copies"]
    assert [pair["rule"] for pair in copies] == ["exact_duplicate", "near_duplicate"]
    assert copies[0]["url"] == "https://warc-00000.example.jp/page/900?q=<雲雀>"
    assert copies[0]["survivor_url"] == "https://warc-00001.example.jp/page/101?q=<雲雀>"
    assert copies[0]["excerpt"] == TEXTS[1]


def test_kept_documents_show_the_beginning_of_their_text(made: RunArtifacts) -> None:
    kept = facts_of(made)["kept"]
    assert len(kept) == 4
    assert {document["excerpt"] for document in kept} <= set(TEXTS)


def test_a_page_that_was_taken_down_is_not_shown(made: RunArtifacts) -> None:
    assert "taken-down" not in json.dumps(facts_of(made))


def test_only_some_shards_of_many_are_looked_into(made: RunArtifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHARDS", 1)
    facts = facts_of(made)
    assert (facts["shards"], facts["of_shards"]) == (1, 2)
    hosts = {page["url"].split("/")[2] for row in facts["dropped"] for page in row["examples"] if page["url"]}
    assert len(hosts) == 1


def test_without_artifacts_there_is_nothing_to_show(tmp_path: Path) -> None:
    nothing = RunArtifacts.read({"curate": str(tmp_path)})
    assert samples(draw(nothing), [], {}) == {
        "shards": 0, "of_shards": 0, "dropped": [], "copies": [], "kept": [],
    }  # fmt: skip


def test_an_excerpt_is_one_line_and_says_that_it_was_cut() -> None:
    assert excerpt("雲雀が\n\n 鳴く。") == "雲雀が 鳴く。"
    assert excerpt("鳴" * 500) == "鳴" * EXCERPT_CHARACTERS + "…"
    assert excerpt(None) is None

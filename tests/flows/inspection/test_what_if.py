"""Breaks when a what-if says something else than curating again with these thresholds would give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.config import RunConfig
from flows.inspection.blocks import Excerpt, Fields, Note, Table
from flows.inspection.command import Question, answer
from flows.inspection.draw import draw_dropped
from flows.inspection.run import OpenedRun
from storage.documents import read_texts
from storage.ledger import Rule
from storage.tombstones import Tombstones
from tasks.curate.config import CurateConfig
from tasks.curate.curate import curate
from tasks.curate.output import metrics_path
from tasks.curate.proposal import propose
from tasks.curate.what_if import Trial, try_config


def trial(opened: OpenedRun, new: CurateConfig) -> Trial:
    files = {shard: uri for shard in opened.curate.shards if (uri := opened.curate.file(metrics_path(shard)))}
    return try_config(files, opened.config.curate, new, opened.tombstones)


def kept(out: str | Path) -> set[bytes]:
    return {id for path in Path(out).glob("documents/*.parquet") for id, _ in read_texts(str(path))}


@pytest.mark.parametrize(
    "settings",
    [
        ["min_letters=100", "min_japanese_letters=100"],
        ["sentences=swallow", "max_sentence_length=50", "min_letters=100", "min_japanese_letters=100"],
        ["ngram_duplication=distinct", "japanese_letters=swallow", "max_duplicate_5gram_fraction=0.016"],
    ],
    ids=" ".join,
)
def test_a_real_rerun_keeps_the_same(
    opened: OpenedRun, made: RunConfig, shards_in_threads: None, tmp_path: Path, settings: list[str]
) -> None:
    new, _ = propose(made.curate, settings)
    found = trial(opened, new)
    outcome = curate(new, out=str(tmp_path), executor=made.executor, tombstones=opened.tombstones)
    before, after = kept(opened.curate.uri), kept(tmp_path)
    assert set(found.newly_kept.ids) == after - before
    assert set(found.newly_dropped.ids) == before - after
    assert before != after, "the settings must change something"
    assert found.after.documents[Rule.KEPT] == outcome.counts["documents"]
    assert found.after.characters[Rule.KEPT] == outcome.counts["characters"]
    by_rule = {rule.label: int(found.after.documents[rule]) for rule in Rule if 30 <= rule < 80}
    assert by_rule == {label: outcome.counts.get(f"dropped_{label}", 0) for label in by_rule}


def what_if(opened: OpenedRun, *settings: str) -> dict[str, list[Any]]:
    page = answer(opened, Question(what_if=settings, num=2, seed=3))
    return {section.title: list(section.blocks) for section in page.sections}


def test_totals_rules_hosts_and_samples_are_shown(opened: OpenedRun) -> None:
    sections = what_if(opened, "min_letters=50", "min_japanese_letters=50")
    changes, totals, *_ = sections["What if"]
    assert changes.rows == [["quality.min_letters", "400", "50"], ["quality.min_japanese_letters", "400", "50"]]
    assert isinstance(totals, Fields)
    assert str(dict(totals.rows)["newly kept"]).startswith("1 document, ")
    (rules,) = sections["Rule by rule"]
    assert isinstance(rules, Table)
    short = next(row for row in rules.rows if row[0] == "too_few_letters")
    assert short[1:3] == ["1", "0"]
    _, by_rule, hosts = sections["Newly kept"]
    assert by_rule.rows == [["too_few_letters", "1", "100.0\u00a0%"]]
    assert hosts.rows[0][:2] == ["b.example.jp", "1"]
    about, text = sections["Newly kept, 1 of 1"]
    assert dict(about.rows)["URL"] == "https://b.example.jp/short"
    assert isinstance(text, Excerpt)
    assert sections["Newly dropped"] == [Note("None.", "muted")]


def test_newly_dropped_documents_say_whether_they_are_in_the_corpus(opened: OpenedRun) -> None:
    totals = what_if(opened, "min_letters=100000")["What if"][1]
    assert str(dict(totals.rows)["kept then"]).startswith("0 documents")
    in_corpus = opened.deduplicate.manifest.counts["kept"] if opened.deduplicate else 0
    assert dict(totals.rows)["newly dropped"].endswith(f", {in_corpus} of them in the corpus now")


def test_pages_that_were_never_measured_are_counted_apart(opened: OpenedRun) -> None:
    (refused,) = draw_dropped(opened, Rule.NOT_JAPANESE, 1, seed=1).drawn
    assert refused.row["value"] < opened.config.curate.language.min_score
    sections = what_if(opened, f"min_score={refused.row['value'] - 0.001}")
    notes = [block.text for block in sections["What if"] if isinstance(block, Note)]
    assert [note.startswith("1 pages that were refused as not Japanese") for note in notes] == [False, True]
    assert sections["Newly kept"] == [Note("None.", "muted")]


def test_a_page_taken_down_stays_out(opened: OpenedRun) -> None:
    assert trial(opened, opened.config.curate).after.documents[Rule.TAKEDOWN] == 1
    assert opened.tombstones != Tombstones()

"""Breaks when a draw is unfair or of another rule, or the funnel does not add up."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from flows.config import RunConfig
from flows.inspection.blocks import Beside, Excerpt, Fields, Note, Table
from flows.inspection.command import Question, answer
from flows.inspection.draw import draw_dropped, draw_kept
from flows.inspection.funnel import drops, funnel_sections
from flows.inspection.pages import dropped_sections
from flows.inspection.run import Made, OpenedRun, Rereader
from storage.ledger import Rule, full_path, read_full, write_full
from tests.flows.inspection.crawl import LONG, PAGES

EXPECTED = Counter(page[4] for page in PAGES) + Counter([Rule.TORN_MEMBER])


@pytest.mark.parametrize("rule", [rule for rule in Rule if rule in EXPECTED and rule != Rule.KEPT])
def test_a_draw_finds_all_that_a_rule_dropped(opened: OpenedRun, rereader: Rereader, rule: Rule) -> None:
    draw = draw_dropped(opened, rule, 100, seed=1)
    assert draw.total == len(draw.drawn) == EXPECTED[rule]
    assert {drawn.row["rule"] for drawn in draw.drawn} == {rule}
    sections = dropped_sections(opened, rule, draw, rereader)
    assert len(sections) == 1 + EXPECTED[rule]
    urls = {page[0] for page in PAGES if page[4] == rule}
    if urls:
        fields = [block for section in sections for block in section.blocks if isinstance(block, Fields)]
        assert {dict(block.rows)["URL"] for block in fields} == urls


def test_a_sample_shows_what_was_measured_and_where(opened: OpenedRun, rereader: Rereader) -> None:
    draw = draw_dropped(opened, Rule.SENTENCE_TOO_LONG, 1, seed=1)
    fields, text = dropped_sections(opened, Rule.SENTENCE_TOO_LONG, draw, rereader)[1].blocks
    assert isinstance(fields, Fields)
    assert dict(fields.rows)["measured"] == str(len(LONG))
    assert dict(fields.rows)["threshold"] == "200"
    assert isinstance(text, Excerpt)
    assert [piece.text for piece in text.pieces if piece.marked] == [LONG]


def test_an_unparsed_page_shows_its_first_bytes(opened: OpenedRun, rereader: Rereader) -> None:
    draw = draw_dropped(opened, Rule.NOT_HTML, 1, seed=1)
    fields, first = dropped_sections(opened, Rule.NOT_HTML, draw, rereader)[1].blocks
    assert isinstance(fields, Fields)
    assert dict(fields.rows)["type"] == "application/pdf"
    assert isinstance(first, Excerpt)
    assert first.pieces[0].text == "%PDF-1.7 x"


def test_a_copy_is_shown_beside_its_twin(opened: OpenedRun, rereader: Rereader) -> None:
    draw = draw_dropped(opened, Rule.NEAR_DUPLICATE, 1, seed=1)
    fields, texts = dropped_sections(opened, Rule.NEAR_DUPLICATE, draw, rereader)[1].blocks
    assert isinstance(fields, Fields)
    assert dict(fields.rows)["twin and survivor"] == "https://c.example.jp/first"
    assert isinstance(texts, Beside)


def test_every_document_is_as_likely_and_a_seed_draws_the_same(opened: OpenedRun) -> None:
    drawn = [frozenset(found.row["url"] for found in draw_kept(opened, 2, seed).drawn) for seed in range(30)]
    assert drawn[0] == frozenset(found.row["url"] for found in draw_kept(opened, 2, 0).drawn)
    assert {len(urls) for urls in drawn} == {2}
    times = Counter(url for urls in drawn for url in urls)
    assert set(times) == {page[0] for page in PAGES if page[4] == Rule.KEPT}
    assert max(times.values()) < 2.5 * 60 / len(times), "60 draws"


def test_kept_documents_come_with_their_texts(opened: OpenedRun) -> None:
    page = answer(opened, Question(kept=True, num=3, seed=5))
    assert len(page.sections) == 4
    assert all(any(isinstance(block, Excerpt) for block in section.blocks) for section in page.sections[1:])


def funnel(run: OpenedRun) -> tuple[Table, list[Note]]:
    (section,) = funnel_sections(run)
    table, *notes = section.blocks
    assert isinstance(table, Table)
    return table, [note for note in notes if isinstance(note, Note)]


def test_the_funnel_leaves_what_is_in_the_corpus(opened: OpenedRun) -> None:
    table, notes = funnel(opened)
    labels = [row[0].split(":")[0] for row in table.rows]
    dropped = {rule.label for rule in EXPECTED if rule != Rule.KEPT}
    assert set(labels) == dropped | {"records read", "kept by curate", "in the corpus"}
    assert len(labels) == len(dropped) + 3
    left = [int(row[2].replace(",", "")) for row in table.rows]
    read, corpus = sum(EXPECTED.values()), EXPECTED[Rule.KEPT]
    assert left[0] == read
    assert left[-2:] == [corpus, corpus], "the last rule leaves what the stage says it kept"
    for row, before, after in zip(table.rows[1:], left, left[1:], strict=False):
        assert before - after == (int(row[1]) if row[1] else 0)
    assert [note.tone for note in notes] == ["good", "good", ""]
    assert f"{read} rows" in notes[0].text


def test_characters_of_what_was_dropped_are_those_of_the_texts(opened: OpenedRun, rereader: Rereader) -> None:
    table, notes = funnel(opened)
    by_rule = {row[0].split(":")[0]: row[4] for row in table.rows}
    draw = draw_dropped(opened, Rule.TOO_FEW_LETTERS, 9, seed=1)
    texts = [
        again.examined.text
        for drawn in draw.drawn
        if (again := rereader.read(drawn.place.shard, drawn.row["offset"])).examined
    ]
    assert by_rule["too_few_letters"] == str(sum(map(len, texts)))
    assert by_rule["not_html"] == ""
    curated, corpus = (int(by_rule[name].replace(",", "")) for name in ("kept by curate", "in the corpus"))
    later = ("exact_duplicate", "near_duplicate", "blocked_host", "emptied", "contaminated")
    gone = sum(int(by_rule[name].replace(",", "")) for name in later)
    assert notes[-1].text.startswith(f"refine: {curated - gone - corpus} characters cut")


def test_a_ledger_that_lost_a_row_does_not_add_up(opened: OpenedRun, tmp_path: Path) -> None:
    shutil.copytree(opened.curate.uri, tmp_path / "curate")
    shard = opened.curate.shards[0]
    rows = list(read_full(f"{opened.curate.uri}/{full_path(shard)}"))
    write_full(str(tmp_path / "curate"), full_path(shard), rows[1:])
    run = replace(opened, curate=Made(str(tmp_path / "curate"), opened.curate.manifest))
    _, notes = funnel(run)
    assert notes[0].tone == "bad"
    assert rows[0].rule.label in notes[0].text


def test_a_run_without_deduplicate_ends_with_curate(opened: OpenedRun, made: RunConfig) -> None:
    table, notes = funnel(replace(opened, deduplicate=None))
    assert table.rows[-1][0] == "kept by curate"
    assert len(notes) == 1
    assert sum(drops(opened.curate).values()) == opened.curate.manifest.counts["dropped"]

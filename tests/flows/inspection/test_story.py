"""Breaks when a page's story names another step than the one that decided, or a page cannot be found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from flows.config import ConfigError, RunConfig, load_run
from flows.inspection.blocks import Beside, Block, Excerpt, Table
from flows.inspection.command import Question, answer
from flows.inspection.find import EARLY, Record, find_id, find_url
from flows.inspection.pages import story_sections
from flows.inspection.run import OpenedRun, Rereader, open_run
from flows.inspection.steps import NOT_REACHED, PASSED, REFUSED, steps_of
from flows.inspection.story import Story, tell
from flows.plan import plan_corpus
from flows.records import record_run
from storage.ledger import Rule
from tests.flows.inspection.crawl import FOOTER, ITEM, LONG, MAIL, PAGES
from tests.flows.pages import ENGLISH

# What the step that refuses a page is called.
REFUSED_BY = {
    Rule.BAD_STATUS: "record",
    Rule.EMPTY_RECORD: "record",
    Rule.PAGE_TOO_LARGE: "record",
    Rule.NOT_HTML: "content type",
    Rule.NO_JAPANESE_BYTES: "pre-check",
    Rule.MOJIBAKE: "charset",
    Rule.EMPTY_TEXT: "main text",
    Rule.NOT_JAPANESE: "language",
    Rule.TOO_FEW_LETTERS: "quality rules",
    Rule.SENTENCE_TOO_LONG: "quality rules",
    Rule.TAKEDOWN: "takedown",
    Rule.EXACT_DUPLICATE: "deduplicate",
    Rule.NEAR_DUPLICATE: "deduplicate",
    Rule.BLOCKED_HOST: "refine",
    Rule.EMPTIED: "refine",
    Rule.CONTAMINATED: "refine",
}


def stories(rereader: Rereader, url: str, *, scan: bool = False) -> list[Story]:
    run = rereader.run
    return [tell(run, record, rereader) for record in find_url(run, url, scan=scan).records]


def story(rereader: Rereader, url: str) -> Story:
    (found,) = stories(rereader, url)
    return found


def shown(run: OpenedRun, told: Story) -> list[Block]:
    return [block for section in story_sections(run, told) for block in section.blocks]


def marked(blocks: list[Block]) -> str:
    """What is marked in the page's own text."""
    return "|".join(
        piece.text for block in blocks if isinstance(block, Excerpt) for piece in block.pieces if piece.marked
    )


@pytest.mark.parametrize(("url", "rule"), [(page[0], page[4]) for page in PAGES if "twice" not in page[0]])
def test_every_url_has_its_story(opened: OpenedRun, rereader: Rereader, url: str, rule: Rule) -> None:
    told = story(rereader, url)
    assert told.final_rule == rule
    assert told.problems == []
    assert (told.refined is not None) == (rule == Rule.KEPT)
    assert told.verdict.startswith("In the corpus." if rule == Rule.KEPT else f"Not in the corpus: {rule.label} ")
    steps = steps_of(opened, told)
    names = [step.name for step in steps]
    last = names.index(REFUSED_BY[rule]) if rule in REFUSED_BY else len(names)
    outcomes = [PASSED] * last + [REFUSED] * (last < len(names)) + [NOT_REACHED] * (len(names) - last - 1)
    assert [step.outcome for step in steps] == outcomes
    assert story_sections(opened, told)[0].title == url


def test_an_address_that_was_read_twice_has_two_stories(opened: OpenedRun, rereader: Rereader) -> None:
    url = "https://a.example.jp/twice"
    search = find_url(opened, url)
    assert [record.rule for record in search.records] == [Rule.KEPT]
    assert search.remark == EARLY
    both = stories(rereader, url, scan=True)
    assert sorted(told.final_rule for told in both) == [Rule.KEPT, Rule.BAD_STATUS]
    refused = next(told for told in both if told.final_rule == Rule.BAD_STATUS)
    assert refused.head.status == "503 Service Unavailable"
    page = answer(opened, Question(url=url, scan=True))
    assert [section.title for section in page.sections if not section.inner] == ["Records", url, url]


@pytest.mark.parametrize("spelling", ["http://A.example.jp/kept#top", "https://a.example.jp:443/%6bept"])
def test_other_spellings_of_an_address_find_it(opened: OpenedRun, rereader: Rereader, spelling: str) -> None:
    assert story(rereader, spelling).final_rule == Rule.KEPT


def test_every_record_is_found_by_its_id(opened: OpenedRun, rereader: Rereader) -> None:
    """Those without an id in any file too, such as the torn one, of which nothing else is known."""
    ids: dict[bytes, Record] = {}
    for source in opened.sources.values():
        ids |= {record.id: record for record in _all_records(opened, source.key)}
    assert len(ids) == len(PAGES) + 1
    for id, record in ids.items():
        (found,) = find_id(opened, id)
        assert (found.shard, found.offset, found.rule) == (record.shard, record.offset, record.rule)
    torn = next(record for record in ids.values() if record.rule == Rule.TORN_MEMBER)
    told = tell(opened, torn, rereader)
    assert told.verdict.startswith("Not in the corpus: torn_member")
    assert find_id(opened, bytes(16)) == []


def _all_records(run: OpenedRun, shard: str) -> list[Record]:
    from flows.inspection.find import compact_rows
    from storage.ledger import full_path, read_full

    records = []
    for offset, rule in compact_rows(run, shard):
        id = run.id_of(shard, offset)
        assert id is not None
        records.append(Record(shard, offset, rule, bytes.fromhex(id)))
    uri = run.curate.file(full_path(shard))
    assert uri is not None
    return records + [Record(shard, row.offset or 0, row.rule, row.id, row.url, row) for row in read_full(uri)]


def test_measures_stand_beside_their_thresholds(opened: OpenedRun, rereader: Rereader) -> None:
    told = story(rereader, "https://b.example.jp/short")
    failed = {check.rule.rule: check for check in told.checks if not check.passes}
    assert failed[Rule.TOO_FEW_LETTERS].value == len(told.text)
    assert failed[Rule.TOO_FEW_LETTERS].threshold == 400
    assert f"{len(told.text)}, asked at least 400" in told.verdict
    (table,) = [block for block in shown(opened, told) if isinstance(block, Table) and block.headings[0] == "rule"]
    assert table.rows[0] == ["too_few_letters", "num_letters", str(len(told.text)), "at least 400", "fails"]


def test_what_the_rule_objects_to_is_marked(opened: OpenedRun, rereader: Rereader) -> None:
    assert marked(shown(opened, story(rereader, "https://b.example.jp/long"))) == LONG


def test_lines_in_other_languages_are_marked_in_the_main_text(opened: OpenedRun, rereader: Rereader) -> None:
    told = story(rereader, "https://b.example.jp/mixed")
    assert marked(shown(opened, told)) == "|".join(ENGLISH)
    assert "8 lines" in next(step.detail for step in steps_of(opened, told) if step.name == "language")


def test_a_copy_stands_beside_its_twin(opened: OpenedRun, rereader: Rereader) -> None:
    told = story(rereader, "https://c.example.jp/second")
    (copy,) = told.copies
    assert copy.url == "https://c.example.jp/first"
    assert copy.similarity is not None
    assert 0.9 < copy.similarity < 1
    (found,) = [block for block in shown(opened, told) if isinstance(block, Beside)]
    differing = [(piece.text, piece.marked) for _, right in found.lines for piece in right if piece.marked]
    assert differing == [("三", True)]
    exact = story(rereader, "https://c.example.jp/copy")
    assert [copy.similarity for copy in exact.copies] == [1.0]
    survivor = story(rereader, "https://a.example.jp/kept")
    assert [row.url for row in survivor.copied_by] == ["https://c.example.jp/copy"]


def test_refinement_says_what_it_changed(opened: OpenedRun, rereader: Rereader) -> None:
    told = story(rereader, "https://b.example.jp/mail")
    assert told.refinement == {"masked_emails": 1}
    (found,) = [block for block in shown(opened, told) if isinstance(block, Beside)]
    before, after = found.lines[-1]
    assert "".join(piece.text for piece in before) == MAIL
    assert "kansatsu-kai" not in "".join(piece.text for piece in after)
    blocked = story(rereader, "https://egg.5ch.net/thread")
    assert blocked.refinement["blocked_by"] == "*.5ch.net"
    assert FOOTER in story(rereader, "https://c.example.jp/thin").text
    assert ITEM in story(rereader, "https://c.example.jp/quiz").text


def test_an_unknown_address_is_said_to_be_unknown(opened: OpenedRun) -> None:
    page = answer(opened, Question(url="https://nowhere.example.jp/"))
    assert [section.title for section in page.sections] == ["Not found"]


def test_other_settings_than_the_run_s_are_noticed(opened: OpenedRun) -> None:
    """As a changed WARC file, list or model would be."""
    (record,) = find_url(opened, "https://b.example.jp/short").records
    quality = opened.config.curate.quality.model_copy(update={"min_letters": 1, "min_japanese_letters": 1})
    with Rereader(opened, opened.config.curate.model_copy(update={"quality": quality})) as rereader:
        told = tell(opened, record, rereader)
    assert ["kept" in problem for problem in told.problems] == [True]


@pytest.fixture
def moved(made: RunConfig, tmp_path: Path, shards_in_threads: None) -> RunConfig:
    """A recorded copy of the run."""
    folder = tmp_path / "moved"
    shutil.copytree(Path(made.root).parent, folder)
    path = folder / "run.yaml"
    path.write_text(path.read_text().replace(str(Path(made.root).parent), str(folder)))
    run = load_run(path)
    record_run(run, plan_corpus(run), None, "run.yaml")
    return run


def test_without_the_warc_files_the_ledgers_still_tell(moved: RunConfig) -> None:
    for warc in Path(moved.root).parent.glob("*.warc.gz"):
        warc.unlink()
    run = open_run(moved, "run.yaml")
    assert ["curate.sources" in remark for remark in run.remarks] == [True]
    with Rereader(run) as rereader:
        told, mail = story(rereader, "https://b.example.jp/short"), story(rereader, "https://b.example.jp/mail")
    assert told.final_rule == Rule.TOO_FEW_LETTERS
    assert [problem.startswith("No text can be read again") for problem in told.problems] == [True]
    assert any(not check.passes for check in told.checks)
    assert mail.refined is not None
    search = find_url(run, "https://a.example.jp/gone")
    assert search.records == []
    assert "cannot be read any more" in search.remark
    page = answer(run, Question(url="https://a.example.jp/gone"))
    assert page.sections[0].title == "Remarks"


def test_without_inputs_and_record_it_fails_with_what_is_missing(moved: RunConfig) -> None:
    shutil.rmtree(Path(moved.root) / "runs")
    for warc in Path(moved.root).parent.glob("*.warc.gz"):
        warc.unlink()
    with pytest.raises(ConfigError, match=r"(?s)curate\.sources.*tiny\.json"):
        open_run(moved, "run.yaml")


def test_an_incomplete_deduplicate_leaves_the_question_open(moved: RunConfig) -> None:
    settings = yaml.safe_load((Path(moved.root).parent / "run.yaml").read_text())
    (Path(moved.root).parent / "run.yaml").write_text(yaml.safe_dump(settings | {"deduplicate": {"bands": 20}}))
    run = open_run(load_run(Path(moved.root).parent / "run.yaml"), "run.yaml")
    assert run.deduplicate is None
    assert "--until deduplicate" in run.remarks[0]
    assert "bands: 40 -> 20" in run.remarks[0]
    with Rereader(run) as rereader:
        assert "not decided" in story(rereader, "https://a.example.jp/kept").verdict

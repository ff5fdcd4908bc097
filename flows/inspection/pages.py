"""What is shown of single pages: a story, the samples of a rule, kept documents.

sections = story_sections(opened, story)
"""

from __future__ import annotations

from collections.abc import Sequence

from flows.inspection.blocks import Beside, Block, Excerpt, Fields, Note, Piece, Section, Table, Tone, excerpt
from flows.inspection.copies import beside
from flows.inspection.draw import Draw, Drawn
from flows.inspection.find import documents
from flows.inspection.run import Again, OpenedRun, Rereader
from flows.inspection.steps import NOT_REACHED, PASSED, REFUSED, steps_of
from flows.inspection.story import Check, Copy, Story, copies_of, reason
from storage.ledger import Rule
from tasks.curate.page import Examined
from tasks.curate.rules import QUALITY_RULES
from tasks.curate.spans import offending_spans
from tasks.report.formats import count, decimal, moment, significant

FIRST_BYTES = 400  # of a page that was refused unparsed
STORY_CHARACTERS, SAMPLE_CHARACTERS = 4000, 400
MAX_COPIES = 20  # listed, of those a document stands for
_TONES: dict[str, Tone] = {PASSED: "", REFUSED: "bad", NOT_REACHED: "muted"}
_BOUNDS = {"min": "at least", "max": "at most", "below": "less than"}
_QUALITY = frozenset(rule.rule for rule in QUALITY_RULES)


def story_sections(run: OpenedRun, story: Story) -> list[Section]:
    """The whole story of one record, from where it lies to what is in the corpus of it."""
    sections = [Section(story.url or f"record {story.record.id.hex()}", _summary(run, story))]
    if story.checks:
        sections.append(Section("Quality rules", [check_table(story.checks)], inner=True))
    sections += _text_sections(run, story)
    sections += _copy_sections(story)
    if story.document and story.refined and story.document["text"] != story.refined["text"]:
        changed = beside("after curate", story.document["text"], "in the corpus", story.refined["text"])
        sections.append(Section("What refinement changed", [changed], inner=True))
    return sections


def _summary(run: OpenedRun, story: Story) -> list[Block]:
    record = story.record
    page = story.again.page
    fetched = (story.document or {}).get("fetched_at") or (page.fetched_at if page else None)
    steps = steps_of(run, story)
    rows = [[step.name, step.outcome, step.detail] for step in steps]
    place = Fields([
        ("id", record.id.hex()),
        ("WARC file", story.warc or f"shard {record.shard}; its file is not known any more"),
        ("byte", count(record.offset)),
        ("fetched", moment(fetched.isoformat()) if fetched else None),
    ])  # fmt: skip
    return [
        Note(story.verdict, "good" if story.refined else "bad"),
        place,
        *(Note(problem, "bad") for problem in story.problems),
        Table(["step", "outcome", ""], rows, tones={row: _TONES[step.outcome] for row, step in enumerate(steps)}),
    ]


def check_table(checks: Sequence[Check]) -> Table:
    """Every rule with what was measured and what it asks."""
    rows = [
        [
            check.rule.rule.label,
            check.rule.metric,
            significant(check.value),
            f"{_BOUNDS[check.rule.bound]} {significant(check.threshold)}",
            "passes" if check.passes else "fails",
        ]
        for check in checks
    ]
    tones: dict[int, Tone] = {row: "bad" for row, check in enumerate(checks) if not check.passes}
    return Table(["rule", "metric", "measured", "asked", ""], rows, numbers=frozenset({2}), tones=tones)


def _text_sections(run: OpenedRun, story: Story) -> list[Section]:
    """The text, with what the rule objects to, and what the Japanese-line step took out of it."""
    sections = []
    if story.text:
        block = _text(run, story.text, story.record.rule, STORY_CHARACTERS)
        title = "Its Japanese lines" if story.record.rule == Rule.NOT_JAPANESE else "Text, as the quality rules saw it"
        sections.append(Section("Text after curation" if story.document else title, [block], inner=True))
    removed = removed_lines(story.main_text, story.text)
    if removed:
        title = "Main text; what is marked is in other languages and was removed"
        if not story.text or story.record.rule == Rule.NOT_JAPANESE:
            title = "Main text; what is marked is not Japanese"
        sections.append(Section(title, [excerpt(story.main_text, removed, most=STORY_CHARACTERS)], inner=True))
    elif story.main_text and not story.text:
        sections.append(Section("Main text", [excerpt(story.main_text, most=STORY_CHARACTERS)], inner=True))
    if story.record.row is None:
        sections.append(Section("First bytes", [first_bytes(story.again)], inner=True))
    return sections


def removed_lines(main_text: str, text: str) -> list[tuple[int, int]]:
    """The stretches of a main text whose lines are not in what was left of it; lines keep their order."""
    if not main_text or main_text == text:
        return []
    left = text.split("\n") if text else []
    spans, position, place = [], 0, 0
    for line in main_text.split("\n"):
        if place < len(left) and line == left[place]:
            place += 1
        else:
            spans.append((position, position + len(line)))
        position += len(line) + 1
    return [span for span in spans if span[0] < span[1]]


def _text(run: OpenedRun, text: str, rule: Rule, most: int) -> Excerpt:
    """A text with what a quality rule objects to marked, or its beginning."""
    spans = offending_spans(text, rule, run.config.curate.quality) if rule in _QUALITY else []
    return excerpt(text, spans, most=most)


def first_bytes(again: Again) -> Block:
    """The beginning of a page that was refused unparsed, as UTF-8; other bytes as escapes."""
    if again.page is None or not again.page.body:
        return Note(again.problem or "There is no body to show.", "muted")
    body = again.page.body[:FIRST_BYTES].decode("utf-8", "backslashreplace")
    return Excerpt([Piece(body)])


def _copy_sections(story: Story) -> list[Section]:
    sections = [
        Section(f"This page beside its {copy.role}", _compared(story.text, copy), inner=True) for copy in story.copies
    ]
    if story.copied_by:
        rows = [[row.url or row.id.hex(), row.rule.label] for row in story.copied_by[:MAX_COPIES]]
        more = len(story.copied_by) - len(rows)
        table = Table(["dropped in its favour", "as"], rows)
        notes = [Note(f"{count(more)} more", "muted")] if more else []
        sections.append(Section("Copies it stands for", [table, *notes], inner=True))
    return sections


def _compared(text: str, copy: Copy) -> list[Block]:
    about = Fields([
        ("URL", copy.url or copy.id.hex()),
        ("id", copy.id.hex()),
        ("similarity", decimal(copy.similarity) if copy.similarity is not None else None),
    ])  # fmt: skip
    if copy.text is None:
        return [about, Note("Its text is not among curate's documents.", "muted")]
    if copy.text == text:
        return [about, Note("The texts are the same.", "muted")]
    return [about, beside("this page", text, copy.role, copy.text)]


def dropped_sections(run: OpenedRun, rule: Rule, draw: Draw, rereader: Rereader) -> list[Section]:
    """Some of the records that a rule dropped."""
    what = f"{count(draw.total)} dropped, {count(len(draw.drawn))} drawn at random"
    sections = [Section(reason(rule), [Note(what, "muted")])]
    for number, drawn in enumerate(draw.drawn, 1):
        title = f"{number} of {len(draw.drawn)}"
        sections.append(Section(title, _dropped(run, rule, drawn, rereader), inner=True))
    return sections


def _dropped(run: OpenedRun, rule: Rule, drawn: Drawn, rereader: Rereader) -> list[Block]:
    row = drawn.ledger_row
    if run.deduplicate is not None and drawn.place.made is run.deduplicate:
        return _dropped_copy(run, rule, drawn)
    again = rereader.read(drawn.place.shard, int(drawn.row["offset"]))
    page = again.page
    fields = Fields([
        ("URL", (row.url if row else None) or (page.url if page else None)),
        ("id", row.id.hex() if row else run.id_of(drawn.place.shard, int(drawn.row["offset"]))),
        ("place", f"{drawn.place.shard}, byte {count(int(drawn.row['offset']))}"),
        ("measured", significant(row.value) if row and row.value is not None else None),
        ("threshold", significant(row.threshold) if row and row.threshold is not None else None),
        ("type", page.content_type if page else None),
        ("charset", row.charset if row else page.http_charset if page else None),
    ])  # fmt: skip
    if row is None:
        return [fields, first_bytes(again)]
    if again.examined is None:
        return [fields, Note(f"No text: {again.problem}.", "bad")]
    return [fields, _examined_text(run, rule, again.examined)]


def _examined_text(run: OpenedRun, rule: Rule, examined: Examined) -> Block:
    if rule in _QUALITY:
        return _text(run, examined.text, rule, SAMPLE_CHARACTERS)
    text = examined.main_text or examined.text
    return excerpt(text, most=SAMPLE_CHARACTERS) if text else Note("No text was extracted.", "muted")


def _dropped_copy(run: OpenedRun, rule: Rule, drawn: Drawn) -> list[Block]:
    """A document that deduplicate dropped, beside what it is a copy of."""
    row = drawn.ledger_row
    assert row is not None, "deduplicate's ledger has full rows only"
    document = documents(run.curate, drawn.place.shard, [row.id]).get(row.id, {})
    text = document.get("text", "")
    copies = copies_of(run, row, text)
    about = Fields([
        ("URL", row.url),
        ("id", row.id.hex()),
        ("measured", significant(row.value) if row.value is not None else None),
        ("threshold", significant(row.threshold) if row.threshold is not None else None),
        *((copy.role, copy.url or copy.id.hex()) for copy in copies),
        *(("similarity", decimal(copy.similarity)) for copy in copies[:1] if copy.similarity is not None),
    ])  # fmt: skip
    twin = copies[0] if copies else None
    if twin is None or twin.text is None:
        return [about, excerpt(text, most=SAMPLE_CHARACTERS)]
    if twin.text == text:
        return [about, Note("The texts are the same:", "muted"), excerpt(text, most=SAMPLE_CHARACTERS)]
    found = beside("this page", text, twin.role, twin.text)
    return [about, Beside(found.left, found.right, found.lines[:12])]


def kept_sections(run: OpenedRun, draw: Draw) -> list[Section]:
    """Some of the documents of the corpus."""
    stage = "in the corpus" if run.deduplicate else "kept by curate"
    what = f"{count(draw.total)} documents {stage}, {count(len(draw.drawn))} drawn at random"
    sections = [Section("Kept", [Note(what, "muted")])]
    for number, drawn in enumerate(draw.drawn, 1):
        row = drawn.row
        fields = Fields([
            ("URL", row["url"]),
            ("id", row["id"].hex()),
            ("characters", count(row["num_characters"])),
            ("language score", decimal(row["language_score"])),
            ("charset", row["charset"]),
        ])  # fmt: skip
        text = excerpt(row["text"], most=2 * SAMPLE_CHARACTERS)
        sections.append(Section(f"{number} of {len(draw.drawn)}", [fields, text], inner=True))
    return sections

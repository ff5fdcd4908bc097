"""`hibari inspect`: asks a run one question and shows the answer, in the terminal or as a page.

inspect_run(load_run("configs/demo.yaml"), "configs/demo.yaml", Question(rule="too_few_letters"), Console())
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from rich.console import Console

from flows.config import ConfigError, RunConfig
from flows.inspection.blocks import Note, Page, Section
from flows.inspection.draw import draw_dropped, draw_kept
from flows.inspection.find import Search, find_id, find_url
from flows.inspection.funnel import funnel_sections
from flows.inspection.pages import dropped_sections, kept_sections, story_sections
from flows.inspection.run import OpenedRun, Rereader, open_run
from flows.inspection.story import tell
from flows.inspection.terminal import show
from flows.inspection.what_if import what_if_sections
from storage.ledger import Rule
from storage.uri import write_bytes
from tasks.report.page import render_page

TEMPLATE = "inspect.html"
NOT_FOUND = """\
No record of this crawl has the {asked}. It was not in the WARC files that were read, so no rule dropped it: look at \
the spelling (www. or not, a slash at the end), or add the crawl that has it to curate.sources."""


@dataclass(frozen=True)
class Question:
    """What is asked of a run; nothing but `num` and `seed` asks for the funnel.

    Attributes:
        rule: the label of a rule, for documents that it dropped; `kept`: for some that were kept.
        id: 32 hex digits, or `url`: for the story of a page; `scan`: search the WARC files in any case.
        what_if: `name=value` each, for other thresholds.
        num: documents that are drawn; `seed` of the draw.
    """

    rule: str | None = None
    kept: bool = False
    id: str | None = None
    url: str | None = None
    what_if: Sequence[str] = ()
    num: int = 5
    seed: int = 0
    scan: bool = False

    def __post_init__(self) -> None:
        asked = [name for name in ("rule", "kept", "id", "url", "what_if") if getattr(self, name)]
        if len(asked) > 1:
            raise ConfigError([f"--{name.replace('_', '-')}: ask one question at a time" for name in asked])
        if self.id is not None and not re.fullmatch(r"[0-9a-fA-F]{32}", self.id):
            raise ConfigError([f"--id {self.id}: expected the 32 hexadecimal digits of a document"])
        if self.rule is not None and self.rule not in labels():
            close = get_close_matches(self.rule, labels(), 3)
            hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(labels())}"
            raise ConfigError([f"--rule {self.rule}: no such rule; {hint}"])


def labels() -> list[str]:
    """The rules that drop something."""
    return [rule.label for rule in Rule if rule != Rule.KEPT]


def inspect_run(run: RunConfig, run_file: str, question: Question, console: Console, html: Path | None = None) -> Page:
    """Answer a question about a run, and print the answer or write it as a page.

    Raises:
        ConfigError: a setting that cannot be tried; inputs that cannot be read, and no record of the run; a generation
            of the corpus that is gone.
        StageError: curate is not complete.
    """
    opened = open_run(run, run_file)
    try:
        page = answer(opened, question)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError([str(error)]) from error
    if html is None:
        show(page, console)
    else:
        facts = {"name": page.title, "kind": "inspection", "page": page}
        write_bytes(str(html), render_page(TEMPLATE, facts).encode())
        console.print(f"written to {html}", highlight=False, soft_wrap=True)
    return page


def answer(run: OpenedRun, question: Question) -> Page:
    """The answer, as it will be shown.

    Raises:
        ValueError: a setting that cannot be tried.
    """
    title, sections = _answered(run, question)
    made = [f"curate {run.curate.manifest.fingerprint[:12]}"]
    made += [f"deduplicate {run.deduplicate.manifest.fingerprint[:12]}"] if run.deduplicate else []
    remarks = [Section("Remarks", [Note(remark, "bad") for remark in run.remarks])] if run.remarks else []
    return Page(title, f"{run.config.label} in {run.config.root}: {', '.join(made)}", [*remarks, *sections])


def _answered(run: OpenedRun, question: Question) -> tuple[str, list[Section]]:
    if question.what_if:
        return "What if", what_if_sections(run, question.what_if, question.num, question.seed)
    if question.kept:
        return "Documents that were kept", kept_sections(run, draw_kept(run, question.num, question.seed))
    with Rereader(run) as rereader:
        if question.rule is not None:
            rule = Rule[question.rule.upper()]
            drawn = draw_dropped(run, rule, question.num, question.seed)
            return f"Dropped by {rule.label}", dropped_sections(run, rule, drawn, rereader)
        if question.id is not None:
            records = find_id(run, bytes.fromhex(question.id))
            return "One page", _stories(run, Search(records), f"id {question.id}", rereader)
        if question.url is not None:
            search = find_url(run, question.url, scan=question.scan)
            return "One page", _stories(run, search, f"URL {question.url}", rereader)
    return "Funnel", funnel_sections(run)


def _stories(run: OpenedRun, search: Search, asked: str, rereader: Rereader) -> list[Section]:
    """The stories of all records that were found."""
    remark = [Note(search.remark, "muted")] if search.remark else []
    if not search.records:
        unsure = "No record that was searched has it." if search.remark else NOT_FOUND.format(asked=asked)
        return [Section("Not found", [Note(unsure, "bad"), *remark])]
    sections = []
    if len(search.records) > 1 or remark:
        found = f"{len(search.records)} records were found." if len(search.records) > 1 else ""
        sections.append(Section("Records", [*([Note(found)] if found else []), *remark]))
    for record in search.records:
        sections += story_sections(run, tell(run, record, rereader))
    return sections

"""The steps of curation, deduplication and refinement in their order, and what came of each for one page.

for step in steps_of(opened, story):
    print(step.name, step.outcome, step.detail)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from flows.inspection.run import OpenedRun
from flows.inspection.story import Story, reason
from storage.ledger import Rule
from tasks.report.formats import count, decimal, size, words

Steps = Mapping[str, Collection[int]]

PASSED, REFUSED, NOT_REACHED = "passed", "refused", "not reached"
# By which rules each step refuses; those of deduplicate and refine see only what curate keeps.
CURATE_STEPS: Steps = {
    "record": range(1, 5),
    "content type": range(5, 6),
    "pre-check": range(6, 7),
    "charset": (Rule.UNDECODABLE, Rule.MOJIBAKE),
    "main text": (Rule.EXTRACTION_FAILED, Rule.EXTRACTION_TIMEOUT, Rule.EMPTY_TEXT, Rule.EXTRACTION_MEMORY),
    "language": range(20, 30),
    "quality rules": range(30, 80),
    "takedown": range(90, 100),
}
LATER_STEPS: Steps = {
    "deduplicate": (Rule.SAME_URL, Rule.EXACT_DUPLICATE, Rule.NEAR_DUPLICATE),
    "refine": (Rule.BLOCKED_HOST, Rule.EMPTIED, Rule.CONTAMINATED),
}


@dataclass(frozen=True)
class Step:
    """A step, its outcome and what is known about it."""

    name: str
    outcome: str
    detail: str = ""


def steps_of(run: OpenedRun, story: Story) -> list[Step]:
    """Every step: passed, up to the one that refused; those behind it were not reached."""
    known = _curated(run, story) | _later(story)
    final = story.final_rule
    row = story.fate if final in (*LATER_STEPS["deduplicate"], *LATER_STEPS["refine"]) else story.record.row
    found = []
    refused = False
    for name, rules in {**CURATE_STEPS, **LATER_STEPS}.items():
        if refused or (name in LATER_STEPS and story.fate is None):
            found.append(Step(name, NOT_REACHED))
            continue
        refused = final in rules
        because = reason(final, row.value if row else None, row.threshold if row else None) if refused else ""
        detail = "; ".join(part for part in (because, known.get(name, "")) if part)
        found.append(Step(name, REFUSED if refused else PASSED, detail))
    return found


def _curated(run: OpenedRun, story: Story) -> dict[str, str]:
    """Step of curate -> what is known about it, from the record, the ledger and reading the page again."""
    page, examined, row = story.again.page, story.again.examined, story.record.row
    known: dict[str, list[str]] = {name: [] for name in CURATE_STEPS}
    if story.head.status:
        known["record"].append(f"HTTP {story.head.status}")
    if page is not None and page.body:
        known["record"].append(f"{size(len(page.body))} of body")
    if story.head.content_type:
        known["content type"].append(story.head.content_type)
    charset = row.charset if row and row.charset else examined.charset if examined else None
    if charset:
        replaced = row.num_replaced if row else examined.num_replaced if examined else 0
        known["charset"] += [charset, f"{count(replaced)} broken bytes replaced" if replaced else "no broken bytes"]
    if page is not None and page.http_charset:
        known["charset"].append(f"the HTTP header says {page.http_charset}")
    if story.main_text:
        known["main text"].append(f"{count(len(story.main_text))} characters by {run.config.curate.extractor}")
    if row is not None and row.rule != Rule.NOT_JAPANESE and (score := _score(story)) is not None:
        lowest = run.config.curate.language.min_score
        known["language"].append(f"score {decimal(score)}, asked more than {decimal(lowest)}")
    if row is not None and row.lines_removed:
        removed = f"{count(row.lines_removed)} lines ({count(row.characters_removed)} characters)"
        known["language"].append(f"{removed} in other languages removed")
    if story.checks:
        failed = [check.rule.rule.label for check in story.checks if not check.passes]
        known["quality rules"].append(f"{count(len(story.checks) - len(failed))} of {len(story.checks)} rules passed")
    if patterns := run.tombstones.patterns_for(story.url):
        known["takedown"].append(f"on the takedown list: {', '.join(patterns)}")
    return {name: ", ".join(parts) for name, parts in known.items()}


def _score(story: Story) -> float | None:
    if story.document is not None:
        return story.document["language_score"]
    return story.again.examined.language_score if story.again.examined else None


def _later(story: Story) -> dict[str, str]:
    """What deduplicate and refinement found."""
    copies = [
        f"{copy.role} {copy.url or copy.id.hex()}"
        + (f" (similarity {decimal(copy.similarity)})" if copy.similarity is not None else "")
        for copy in story.copies
    ]
    if story.copied_by:
        copies.append(f"stands for {count(len(story.copied_by))} dropped copies")
    changes = [
        f"{words(name)}: {count(found) if isinstance(found, int) else found}"
        for name, found in story.refinement.items()
    ]
    return {"deduplicate": ", ".join(copies), "refine": ", ".join(changes) or "nothing to change"}

"""The report's funnel from records to documents: what each rule of curate and deduplicate dropped, and what is left.

In: the manifests of both. Out: JSON-like facts. The funnel subtracts what each step dropped from what it was given, so
that its last line can be held against what the stage says it kept: kept + dropped = read.

    facts = funnel(made)
    facts["steps"][-1]["remaining"], facts["checks"]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storage.ledger import Rule
from tasks.report.artifacts import RunArtifacts

# What each rule means, in the order in which they are asked; thresholds are called as in the run file's `curate`.
RULES: dict[Rule, str] = {
    Rule.TORN_MEMBER: "stretch of the WARC file that could not be read (cut short or damaged)",
    Rule.BAD_STATUS: "HTTP status other than 2xx",
    Rule.EMPTY_RECORD: "response without a body",
    Rule.PAGE_TOO_LARGE: "page larger than max_page_bytes",
    Rule.NOT_HTML: "neither HTML nor plain text",
    Rule.NO_JAPANESE_BYTES: "no sign of Japanese in the raw bytes",
    Rule.UNDECODABLE: "no charset decodes it",
    Rule.EXTRACTION_FAILED: "main text could not be extracted",
    Rule.EXTRACTION_TIMEOUT: "extraction took more CPU time than max_page_seconds",
    Rule.EMPTY_TEXT: "no main text on the page",
    Rule.EXTRACTION_MEMORY: "extraction took more memory than max_page_memory_mib",
    Rule.MOJIBAKE: "characters of a wrong charset, in the page itself",
    Rule.NOT_JAPANESE: "language decision: not Japanese",
    Rule.TOO_FEW_LETTERS: "fewer letters than min_letters",
    Rule.TOO_FEW_JAPANESE_LETTERS: "fewer Japanese letters than min_japanese_letters",
    Rule.NO_SENTENCE: "not a single sentence",
    Rule.DUPLICATE_PARAGRAPHS: "too many of its paragraphs are repeated",
    Rule.DUPLICATE_PARAGRAPH_CHARACTERS: "too many of its characters are in repeated paragraphs",
    Rule.DUPLICATE_SENTENCES: "too many of its sentences are repeated",
    Rule.DUPLICATE_SENTENCE_CHARACTERS: "too many of its characters are in repeated sentences",
    Rule.TOP_2GRAM: "one 2-gram makes up too much of it",
    Rule.TOP_3GRAM: "one 3-gram makes up too much of it",
    Rule.TOP_4GRAM: "one 4-gram makes up too much of it",
    Rule.DUPLICATE_5GRAMS: "too many repeated 5-grams",
    Rule.DUPLICATE_6GRAMS: "too many repeated 6-grams",
    Rule.DUPLICATE_7GRAMS: "too many repeated 7-grams",
    Rule.DUPLICATE_8GRAMS: "too many repeated 8-grams",
    Rule.DUPLICATE_9GRAMS: "too many repeated 9-grams",
    Rule.DUPLICATE_10GRAMS: "too many repeated 10-grams",
    Rule.TOO_LITTLE_HIRAGANA: "too little hiragana",
    Rule.TOO_MUCH_KATAKANA: "too much katakana",
    Rule.TOO_LITTLE_JAPANESE: "too few of its letters are Japanese",
    Rule.TOO_LITTLE_PROSE: "too little of it ends as sentences do: a list or a menu",
    Rule.SENTENCES_TOO_SHORT: "sentences too short on average",
    Rule.SENTENCES_TOO_LONG: "sentences too long on average",
    Rule.SENTENCE_TOO_LONG: "a sentence that is too long",
    Rule.TOO_MANY_ELLIPSES: "too many sentences end in an ellipsis",
    Rule.NG_WORDS: "too many of its letters are in words of the NG list",
    Rule.LOW_QUALITY_SCORE: "the quality classifier's score is too low",
    Rule.SAME_URL: "another document of the same URL ranks better",
    Rule.EXACT_DUPLICATE: "the same text as a document that is kept",
    Rule.NEAR_DUPLICATE: "nearly the same text as another document of its cluster",
    Rule.BLOCKED_HOST: "its host is on a list",
    Rule.EMPTIED: "nothing left without boilerplate and footer",
    Rule.CONTAMINATED: "holds an item of a benchmark",
    Rule.TAKEDOWN: "its page or host was taken down",
}


@dataclass(frozen=True)
class Step:
    """A group of rules, asked together; `left` says which records come out of it."""

    reason: str
    left: str
    numbers: range


STEPS = (
    Step("unusable record", "with a page to read", range(1, 6)),
    Step("no Japanese bytes", "with Japanese in the raw bytes", range(6, 7)),
    Step("no main text", "with main text", range(7, 20)),
    Step("language", "in Japanese", range(20, 30)),
    Step("quality", "that pass the quality rules", range(30, 80)),
)
REFINING = (Rule.BLOCKED_HOST, Rule.EMPTIED, Rule.CONTAMINATED)  # deduplicate drops these among its survivors
TAKEN_DOWN = Step("taken down", "that are not taken down", range(90, 100))
COPIES = Step("copy", "after deduplication: the corpus", range(80, 90))
OTHER = Step("other", "after other reasons", range(0))
_ALWAYS_SHOWN = (Rule.EXACT_DUPLICATE, Rule.NEAR_DUPLICATE)  # even where they met nothing
COPIED = {  # the counts of deduplicate, which are named otherwise than rules
    Rule.SAME_URL: "same_url",
    Rule.EXACT_DUPLICATE: "exact_duplicates",
    Rule.NEAR_DUPLICATE: "near_duplicates",
}


def funnel(made: RunArtifacts) -> dict[str, Any]:
    """From records read to the corpus: `steps` with what each leaves, `rules` with what each dropped, `checks`."""
    counts, copies = made.counts("curate"), made.counts("deduplicate")
    read = counts.get("records")
    dropped = {name.removeprefix("dropped_"): n for name, n in counts.items() if name.startswith("dropped_")}
    rules = _rules(dropped, read)
    steps: list[dict[str, Any]] = [_step("records read", None, None, read, read)]
    remaining = read
    for step in (*STEPS, TAKEN_DOWN, OTHER):
        lost = sum(rule["dropped"] for rule in rules if rule["step"] == step.reason)
        remaining = None if remaining is None else remaining - lost
        if lost or step in STEPS:
            steps.append(_step(step.left, step.reason, lost if counts else None, remaining, read))
    kept = counts.get("kept", counts.get("documents"))
    checks = [_check("curate", read, kept, counts.get("dropped"), sum(dropped.values()))]
    steps.append(_step(COPIES.left, COPIES.reason, copies.get("dropped"), copies.get("kept"), read))
    found = {rule: copies[name] for rule, name in COPIED.items() if name in copies}
    found |= {rule: copies.get(f"dropped_{rule.label}", 0) for rule in REFINING}
    by_copy = {rule.label: n for rule, n in found.items() if n or rule in _ALWAYS_SHOWN}
    rules += _rules(by_copy, read)
    checks.append(
        _check("deduplicate", copies.get("documents"), copies.get("kept"), copies.get("dropped"), sum(by_copy.values()))
    )
    names = ("documents", "characters", "other_records", "torn_members", "lines_removed", "characters_removed")
    return {
        **{name: counts.get(name) for name in names},
        "steps": steps,
        "rules": rules,
        "checks": checks,
        "charsets": [{"name": name, **counted} for name, counted in (made.detail("curate", "charsets") or {}).items()],
    }


def _rules(dropped: Mapping[str, int], read: int | None) -> list[dict[str, Any]]:
    """A row for each rule that dropped something, in the order in which rules are asked."""
    known = {rule.label: rule for rule in Rule}
    asked = list(RULES)
    rows = []
    for name, number in dropped.items():
        rule = known.get(name)
        step = next((step for step in (*STEPS, COPIES, TAKEN_DOWN) if rule is not None and rule in step.numbers), OTHER)
        rows.append({
            "rule": name,
            "step": step.reason,
            "meaning": RULES.get(rule, "") if rule is not None else "",
            "dropped": number,
            "share": share_of(number, read),
            "order": len(asked) if rule is None else asked.index(rule),
        })  # fmt: skip
    return sorted(rows, key=lambda row: (row["order"], row["rule"]))


def _step(
    left: str, reason: str | None, dropped: int | None, remaining: int | None, read: int | None
) -> dict[str, Any]:
    return {
        "left": left,
        "reason": reason,
        "dropped": dropped,
        "remaining": remaining,
        "share": share_of(remaining, read),
    }


def _check(stage: str, read: int | None, kept: int | None, dropped: int | None, by_rule: int) -> dict[str, Any]:
    """kept + dropped = read, and the rules' counts add up to dropped; `holds` is None where a count is missing."""
    holds = None if None in (read, kept, dropped) else (kept or 0) + (dropped or 0) == read and by_rule == dropped
    return {"stage": stage, "read": read, "kept": kept, "dropped": dropped, "by_rule": by_rule, "holds": holds}


def share_of(part: int | None, whole: int | None) -> float | None:
    """A part of a whole, None where either is not known."""
    return None if part is None or not whole else part / whole

"""A takedown's report in words: from the facts that `flows.takedown` gathers to Markdown.

print(markdown(facts))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.skipped import SKIPPED

MAX_ROWS = 50
MAX_RANGES = 12
TEXT_MAY_STAY = """\
The same or nearly the same text as that of pages that are taken down stands under addresses that no pattern matches, in
{copies}: in the corpus {stay}, where it stays; left out as a copy {out}, which may now come in. Take them down too if
they should go:"""
MAKE_ANEW = """\
Make the runs anew. Curation takes the pages out of the documents it has and reads no WARC file; all that comes after
it is computed again, training too."""
NOTHING_TO_DO = "Nothing: pages that match are left out when a later crawl brings them."
STALE_RUNS = """\
Nothing was found in what these runs refer to: {runs}. Tombstones are part of what every run of the root is made of, so
they count as stale too; their documents come out the same."""


def markdown(facts: Mapping[str, Any]) -> str:
    """The report."""
    title = "# Takedown, dry run: nothing was taken down" if facts["dry_run"] else "# Takedown"
    reason = f", reason: {facts['reason']}" if facts["reason"] else ""
    added = f"{len(facts['added']):,} {'would be new' if facts['dry_run'] else 'new'} at this root"
    lines = [
        title,
        "",
        f"{facts['when']}, root `{facts['root']}`, run `{facts['run']}`{reason}",
        "",
        f"List `{facts['list']}` (sha256 `{facts['list_sha256']}`):",
        f"{_count(len(facts['patterns']), 'pattern')}, {added}.",
    ]
    for section in (_patterns, _copies, _artifacts, _trainings, _problems, _to_do):
        lines += section(facts)
    return "\n".join(lines) + "\n"


def _patterns(facts: Mapping[str, Any]) -> list[str]:
    """Documents per pattern, in each part of the run and elsewhere."""
    matched = [row for row in facts["patterns"] if row["matched"]]
    parts = list(dict.fromkeys(part for row in matched for part in row["documents"]))
    table = [
        [f"`{row['pattern']}`", *(f"{row['documents'].get(part, 0):,}" for part in parts), f"{row['elsewhere']:,}"]
        for row in matched
    ]
    lines = ["", f"## Documents of the run `{facts['run']}`", ""]
    lines += _table(["pattern", *parts, "in artifacts of others or of no run"], table) if table else ["None."]
    if nothing := [f"`{row['pattern']}`" for row in facts["patterns"] if not row["matched"]]:
        lines += ["", f"Matched nothing at this root: {_first(nothing, MAX_ROWS)}."]
    return lines


def _copies(facts: Mapping[str, Any]) -> list[str]:
    copies = facts["copies"]
    if not copies:
        return []
    stay = sum(copy["in_corpus"] for copy in copies)
    counted = {"copies": _count(len(copies), "document"), "stay": f"{stay:,}", "out": f"{len(copies) - stay:,}"}
    return [
        "",
        "## The same text under other addresses",
        "",
        TEXT_MAY_STAY.format(**counted),
        "",
        *(f"- <{copy['url']}>{' (in the corpus)' if copy['in_corpus'] else ''}" for copy in copies[:MAX_ROWS]),
        *([f"- {len(copies) - MAX_ROWS:,} more in the JSON"] if len(copies) > MAX_ROWS else []),
    ]


def _artifacts(facts: Mapping[str, Any]) -> list[str]:
    table = []
    for row in facts["artifacts"]:
        parts = ", ".join(
            _count(count, "document") + ("" if part == "documents" else f" in {part}")
            for part, count in row["documents"].items()
        )
        runs = ", ".join(f"`{run}`" for run in row["runs"])
        then = f"make anew for {runs}, then prune" if runs else "prune: no run refers to it"
        table.append([row["stage"], f"`{row['artifact']}`", f"holds {parts}" if parts else "made from it", then])
    if not table:
        return ["", "## Artifacts", "", "No artifact at this root holds any of it."]
    return ["", "## Artifacts", "", *_table(["stage", "artifact", "what", "to do"], table)]


def _trainings(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    for row in facts["trainings"]:
        lines += ["", f"## Training `{row['artifact']}`", ""]
        read, steps = row["read"], row["steps_that_read"]
        done = f"{row['steps']:,} steps" + ("" if row["finished"] else " that are saved so far (it is not finished)")
        for gone in row["not_traced"]:
            first, last = gone["steps"]
            lines += [
                f"Steps {first:,}-{last:,} read mixture `{gone['mixture']}`, which is not here: not looked through.",
                "",
            ]
        if not steps:
            lines.append(f"Its mixture `{row['mixture']}` holds pages that are taken down; none of {done} read them.")
            continue
        shown = [f"{first:,}" if first == last else f"{first:,}-{last:,}" for first, last in steps]
        lines += [
            f"Of {done} of {'at most ' if row['batch_ramp'] else ''}{_count(row['global_batch'], 'sequence')} each, "
            f"these read it: {_first(shown, MAX_RANGES)}.",
            f"The first is {steps[0][0]:,}, the last {steps[-1][1]:,}.",
            f"They read {_count(read['documents'], 'document')}, {_count(read['tokens'], 'token')}, in "
            f"{_count(row['samples'], 'sample')}.",
        ]
        if row["left_out"]:
            lines.append(f"Of these samples {row['left_out']:,} left no trace in the weights (`{SKIPPED}`).")
        lines += ["", *(_seen(f"checkpoint of step {found['step']:,}", found) for found in row["checkpoints"])]
        lines += [_seen(f"exported model `{found['artifact']}`", found) for found in row["models"]]
    return lines


def _seen(what: str, found: Mapping[str, Any]) -> str:
    if not found["documents"]:
        return f"- {what}: has seen none of it"
    return f"- {what}: has seen {_count(found['documents'], 'document')}, {_count(found['tokens'], 'token')}"


def _problems(facts: Mapping[str, Any]) -> list[str]:
    if not facts["problems"]:
        return []
    return ["", "## Not looked through", "", *(f"- {problem}" for problem in facts["problems"])]


def _to_do(facts: Mapping[str, Any]) -> list[str]:
    """The commands, in order."""
    root, lines = facts["root"], []
    if facts["runs"]:
        lines += [MAKE_ANEW, "", *_code([run["command"] for run in facts["runs"]]), ""]
    if facts["artifacts"]:
        lines += ["Then remove what still holds the pages; the first command only shows it.", ""]
        lines += [*_code([f"hibari prune {root}", f"hibari prune {root} --delete"]), ""]
    if facts["stale_runs"]:
        lines.append(STALE_RUNS.format(runs=", ".join(f"`{run}`" for run in facts["stale_runs"])))
    return ["", "## What to do", "", *(lines or [NOTHING_TO_DO])]


def _code(commands: Sequence[str]) -> list[str]:
    return ["```", *commands, "```"]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _first(found: Sequence[str], shown: int) -> str:
    more = f" and {len(found) - shown:,} more in the JSON" if len(found) > shown else ""
    return ", ".join(found[:shown]) + more


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Padded, so that it can be read as it stands."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = [headings, ["-" * width for width in widths], *rows]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in lines
    ]

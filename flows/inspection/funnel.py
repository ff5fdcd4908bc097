"""The funnel of a run: records read, what each rule dropped in the order in which it is asked, what is in the corpus.

The counts are the stages'. The ledgers are counted beside them, row by row, to see that kept + dropped = read, and the
characters of what was dropped are added up where a stage measured them (from the quality rules on).

    sections = funnel_sections(opened)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from flows.inspection.blocks import Note, Section, Table, Tone
from flows.inspection.find import LEDGERS
from flows.inspection.run import Made, OpenedRun, over_shards
from flows.inspection.steps import CURATE_STEPS, LATER_STEPS, Steps
from storage.documents import read_documents
from storage.ledger import Rule, compact_path, full_path
from tasks.curate.output import metrics_path
from tasks.curate.rules import QUALITY_RULES
from tasks.report.corpus import COPIED, RULES
from tasks.report.formats import count, share

MAX_SHARDS = 2000  # whose ledgers are read; of larger runs the stages' own counts are shown
NUM_RULES = 256  # a rule is a byte
_TURNS = {rule: turn for turn, rule in enumerate(RULES)}
_QUALITY_TURNS = {rule.rule: turn for turn, rule in enumerate(QUALITY_RULES)}


@dataclass(frozen=True)
class Counted:
    """What a stage's ledgers hold: rows and characters (-1: not measured) by rule, int64 (256,) each."""

    rows: np.ndarray
    characters: np.ndarray


def funnel_sections(run: OpenedRun) -> list[Section]:
    """The funnel as a table, and whether it adds up."""
    reads_ledgers = len(run.curate.shards) <= MAX_SHARDS
    curated = _count_curated(run.curate) if reads_ledgers else None
    deduplicated = _count_deduplicated(run) if reads_ledgers and run.deduplicate else None
    notes = [_check("curate", run.curate, "records", curated)]
    stages: list[tuple[Made, Steps, Counted | None, str]] = [(run.curate, CURATE_STEPS, curated, "kept by curate")]
    if run.deduplicate:
        stages.append((run.deduplicate, LATER_STEPS, deduplicated, "in the corpus"))
        notes.append(_check("deduplicate", run.deduplicate, "documents", deduplicated))
        notes += _refined(run.deduplicate, deduplicated)
    if not reads_ledgers:
        text = f"{count(len(run.curate.shards))} shards: their ledgers were not counted row by row, nor characters."
        notes.append(Note(text, "muted"))
    return [Section("From records to the corpus", [_table(run, stages), *notes])]


def _table(run: OpenedRun, stages: Sequence[tuple[Made, Steps, Counted | None, str]]) -> Table:
    read = left = run.curate.manifest.counts["records"]
    rows = [["records read", "", count(read), share(1), ""]]
    groups: dict[int, str] = {}
    tones: dict[int, Tone] = {0: "good"}
    for made, steps, counted, title in stages:
        dropped = drops(made)
        for step, rules in steps.items():
            here = [rule for rule in sorted(dropped, key=_turn) if rule in rules]
            if here:
                groups[len(rows)] = step
            for rule in here:
                left -= dropped[rule]
                characters = int(counted.characters[rule]) if counted is not None else -1
                rows.append(_row(rule, dropped[rule], left, read, characters))
        tones[len(rows)] = "good"
        counts = made.manifest.counts
        rows.append([title, "", count(counts["kept"]), share(_part(counts["kept"], read)), count(counts["characters"])])
    headings = ["", "dropped", "left", "of read", "characters"]
    return Table(headings, rows, numbers=frozenset(range(1, 5)), tones=tones, groups=groups)


def _turn(rule: Rule) -> tuple[bool, int]:
    """Rules in the order in which they are asked."""
    return (True, _QUALITY_TURNS[rule]) if rule in _QUALITY_TURNS else (False, _TURNS.get(rule, NUM_RULES))


def _refined(made: Made, counted: Counted | None) -> list[Note]:
    """By how much refinement made the documents shorter that are kept."""
    if counted is None or counted.characters[Rule.KEPT] < 0:
        return []
    cut = int(counted.characters[Rule.KEPT]) - made.manifest.counts["characters"]
    return [Note(f"refine: {count(cut)} characters cut from the documents that are kept.")] if cut else []


def _row(rule: Rule, dropped: int, left: int, read: int, characters: int) -> list[str]:
    meaning = f"{rule.label}: {RULES[rule]}" if rule in RULES else rule.label
    return [
        meaning,
        count(dropped),
        count(left),
        share(_part(left, read)),
        count(characters) if characters >= 0 else "",
    ]


def drops(made: Made) -> dict[Rule, int]:
    """What each rule dropped, by the stage's own counts."""
    counts = made.manifest.counts
    found = {rule: counts.get(f"dropped_{rule.label}", 0) for rule in Rule}
    for rule, name in COPIED.items():
        found[rule] += counts.get(name, 0)
    return {rule: number for rule, number in found.items() if number}


def _part(some: int, all: int) -> float:
    return some / all if all else 0.0


def _check(stage: str, made: Made, read: str, counted: Counted | None) -> Note:
    counts, dropped = made.manifest.counts, drops(made)
    sums = f"{stage}: {count(counts['kept'])} kept + {count(counts['dropped'])} dropped = {count(counts[read])} read"
    adds_up = counts["kept"] + counts["dropped"] == counts[read] and sum(dropped.values()) == counts["dropped"]
    if counted is None:
        return Note(f"{sums}{'.' if adds_up else '; this does not add up.'}", "good" if adds_up else "bad")
    in_ledger = {rule: int(counted.rows[rule]) for rule in Rule if counted.rows[rule]}
    expected = dropped | ({Rule.KEPT: counts["kept"]} if counts["kept"] else {})
    if adds_up and in_ledger == expected:
        return Note(f"{sums}; the ledgers have {count(counted.rows.sum())} rows, and as many of each rule.", "good")
    differing = [rule.label for rule in Rule if in_ledger.get(rule, 0) != expected.get(rule, 0)]
    return Note(f"{sums}; the ledgers have {count(counted.rows.sum())} rows; {', '.join(differing)} differ.", "bad")


def _count_curated(made: Made) -> Counted:
    """Curate's ledgers, and the characters of what it measured."""

    def look(shard: str) -> Counted:
        files = [uri for path in (compact_path, full_path) if (uri := made.file(path(shard)))]
        rows = sum((_bincount(batch["rule"]) for uri in files for batch in _columns(uri, ["rule"])), _none())
        characters = _none()
        if uri := made.file(metrics_path(shard)):
            for batch in _columns(uri, ["rule", "num_letters"]):
                characters += _bincount(batch["rule"], batch["num_letters"])
        return Counted(rows, characters)

    return _added(over_shards(made.shards, look, LEDGERS))


def _count_deduplicated(run: OpenedRun) -> Counted:
    """Deduplicate's ledgers, which have a row for each of curate's documents in their order, and their characters."""
    made = run.deduplicate
    assert made is not None, "deduplicate is complete"

    def look(shard: str) -> Counted:
        ledger, documents = made.file(full_path(shard)), run.curate.file(f"documents/{shard}.parquet")
        if ledger is None or documents is None:
            return Counted(_none(), _none())
        rules = np.concatenate([batch["rule"] for batch in _columns(ledger, ["rule"])] or [np.empty(0, np.uint8)])
        lengths = [batch["num_characters"] for batch in _columns(documents, ["num_characters"])]
        return Counted(_bincount(rules), _bincount(rules, np.concatenate(lengths or [np.empty(0, np.int64)])))

    return _added(over_shards(made.shards, look, LEDGERS))


def _columns(uri: str, names: Sequence[str]) -> Iterable[dict[str, np.ndarray]]:
    for batch in read_documents(uri, names):
        yield {name: batch.column(name).to_numpy() for name in names}


def _bincount(rules: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    return np.bincount(rules, weights, minlength=NUM_RULES).astype(np.int64)


def _none() -> np.ndarray:
    return np.zeros(NUM_RULES, np.int64)


def _added(parts: Iterable[Counted]) -> Counted:
    """All shards together; a rule without characters anywhere was never measured."""
    rows, characters = _none(), _none()
    for part in parts:
        rows += part.rows
        characters += part.characters
    return Counted(rows, np.where(characters > 0, characters, -1))

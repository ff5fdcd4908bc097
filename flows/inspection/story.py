"""The story of one page: every step it went through, what was measured there, and why it is or is not in the corpus.

What the ledgers, the stored metrics and the stored documents say comes first. The page is then read again in its WARC
file and taken through curation's steps, for its text where none was kept, and to see that the ledger still tells what
happens. Where the WARC file cannot be reached any more, the story is what the ledgers know.

    story = tell(opened, record, rereader)
    story.verdict  # 'Not in the corpus: too_few_letters (fewer letters than min_letters): 120, asked at least 400.'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from flows.inspection.copies import similarity
from flows.inspection.find import ID_BYTES, LEDGERS, Record, documents, locate, rows_by_id, rows_where
from flows.inspection.run import Again, OpenedRun, Rereader, over_shards
from storage.ledger import LedgerRow, Rule
from tasks.curate.headers import RecordHead, heads_at
from tasks.curate.output import metrics_path
from tasks.curate.quality_config import QualityConfig
from tasks.curate.rules import QUALITY_RULES, QualityRule
from tasks.report.corpus import RULES
from tasks.report.formats import asked, significant

NO_CHANGE = ("id", "rule", "num_characters")  # what a row of refinement has beside what it did


@dataclass(frozen=True)
class Check:
    """A quality rule that was asked: the page's metric (None where it was not measured) and the threshold."""

    rule: QualityRule
    value: float | None
    threshold: float
    passes: bool


@dataclass(frozen=True)
class Copy:
    """A document of the page's cluster: the `twin` it is a copy of, or the `survivor` that stands for both.

    `similarity` is the Jaccard index of its n-grams and the page's.
    """

    role: str
    id: bytes
    url: str | None = None
    text: str | None = None
    similarity: float | None = None


@dataclass(frozen=True)
class Story:
    """Everything that is known of one WARC record.

    Attributes:
        warc: the URI of its WARC file, None where that is not known any more.
        again: the page, read again.
        checks: of a page that reached the quality rules.
        document: what curate kept of it; `refined`: what is in the corpus of it.
        fate: its row in deduplicate's ledger; `refinement`: what refinement did to it, by name.
        copies: of a duplicate, its twin and its survivor; `copied_by`: documents dropped in its favour.
        problems: what does not fit together.
    """

    record: Record
    warc: str | None
    head: RecordHead
    again: Again
    checks: Sequence[Check]
    document: Mapping[str, Any] | None
    refined: Mapping[str, Any] | None
    fate: LedgerRow | None
    refinement: Mapping[str, Any]
    copies: Sequence[Copy]
    copied_by: Sequence[LedgerRow]
    verdict: str
    problems: Sequence[str] = ()

    @property
    def url(self) -> str | None:
        return self.record.url or self.head.url or (self.again.page.url if self.again.page else None)

    @property
    def final_rule(self) -> Rule:
        """What became of it: curate's rule, or deduplicate's for what curate kept."""
        return self.fate.rule if self.fate else self.record.rule

    @property
    def text(self) -> str:
        """After curation, as it was kept or as it is read again."""
        if self.document is not None:
            return str(self.document["text"])
        return self.again.examined.text if self.again.examined else ""

    @property
    def main_text(self) -> str:
        """As extracted, before its lines in other languages were taken away; empty where it cannot be read again."""
        return self.again.examined.main_text if self.again.examined else ""


def tell(run: OpenedRun, record: Record, rereader: Rereader) -> Story:
    """Put together all that is known of a record."""
    source = run.source(record.shard)
    again = rereader.read(record.shard, record.offset)
    measured = rows_by_id(run.curate, metrics_path(record.shard), [record.id]).get(record.id) if record.row else None
    document = documents(run.curate, record.shard, [record.id]).get(record.id)
    fate, refined, refinement = _deduplicated(run, record)
    copies = copies_of(run, fate, document["text"] if document else None) if fate else []
    return Story(
        record=record,
        warc=source.uri if source else None,
        head=_head(run, record, again),
        again=again,
        checks=checks(measured, run.config.curate.quality) if measured else [],
        document=document,
        refined=refined,
        fate=fate,
        refinement=refinement,
        copies=copies,
        copied_by=_copied_by(run, record) if refined else [],
        verdict=_verdict(run, record, fate, refined, copies),
        problems=_problems(record, again),
    )


def checks(measured: Mapping[str, Any], quality: QualityConfig) -> list[Check]:
    """Every quality rule that is asked, held against a page's metrics."""
    found = []
    for rule in QUALITY_RULES:
        if rule.is_asked(quality):
            value = measured[rule.metric]
            found.append(Check(rule, value, float(rule.threshold_in(quality)), not rule.refuses(value, quality)))
    return found


def copies_of(run: OpenedRun, fate: LedgerRow, text: str | None) -> list[Copy]:
    """The twin and the survivor of a duplicate, the twin first, with their texts.

    Args:
        fate: its row in deduplicate's ledger; `text`: its text.
    """
    if run.deduplicate is None or fate.twin_id is None or fate.survivor_id is None:
        return []
    roles = {fate.twin_id: "twin", fate.survivor_id: "survivor"}
    if len(roles) == 1:
        roles[fate.twin_id] = "twin and survivor"
    places = locate(run.deduplicate, roles)
    copies = []
    for id, role in roles.items():
        shard, row = places.get(id, (None, None))
        other = documents(run.curate, shard, [id]).get(id, {}).get("text") if shard else None
        alike = similarity(text, other, run.config.deduplicate.ngram) if text and other else None
        copies.append(Copy(role, id, row.url if row else None, other, alike))
    return copies


def reason(rule: Rule, value: float | None = None, threshold: float | None = None) -> str:
    """A rule in words: `too_few_letters (fewer letters than min_letters): 120, asked at least 400`."""
    words = f"{rule.label} ({RULES[rule]})" if rule in RULES else rule.label
    if value is None:
        return words
    if threshold is None:
        return f"{words}: {significant(value)}"
    strict = {Rule.NOT_JAPANESE: "more than", Rule.NG_WORDS: "less than", Rule.NEAR_DUPLICATE: "less than"}.get(rule)
    limit = f"{strict} {significant(threshold)}" if strict else asked({"value": value, "threshold": threshold})
    return f"{words}: {significant(value)}, asked {limit}"


def _head(run: OpenedRun, record: Record, again: Again) -> RecordHead:
    source = run.source(record.shard)
    if source is None or again.page is None:
        return RecordHead()
    return next(heads_at(source.uri, [record.offset]))[1]


def _deduplicated(
    run: OpenedRun, record: Record
) -> tuple[LedgerRow | None, Mapping[str, Any] | None, Mapping[str, Any]]:
    """The record's row in deduplicate's ledger, its document in the corpus, and what refinement did to it."""
    if run.deduplicate is None or record.rule != Rule.KEPT:
        return None, None, {}
    wanted = pa.array([record.id], pa.binary(ID_BYTES))
    fate = next(rows_where(run.deduplicate, record.shard, "id", wanted), None)
    refined = documents(run.deduplicate, record.shard, [record.id]).get(record.id)
    counts: Mapping[str, Any] = {}
    is_copy = fate is not None and fate.twin_id is not None  # an earlier generation may have refined it all the same
    for made in () if is_copy else run.deduplicate.generations:  # the last that has written it is right
        counts = rows_by_id(made, f"refine/{record.shard}.parquet", [record.id]).get(record.id, counts)
    return fate, refined, {name: found for name, found in counts.items() if found and name not in NO_CHANGE}


def _copied_by(run: OpenedRun, record: Record) -> list[LedgerRow]:
    made = run.deduplicate
    assert made is not None, "a document is in the corpus"
    wanted = pa.array([record.id], pa.binary(ID_BYTES))
    found = over_shards(made.shards, lambda shard: list(rows_where(made, shard, "survivor_id", wanted)), LEDGERS)
    return [row for rows in found for row in rows]


def _verdict(
    run: OpenedRun,
    record: Record,
    fate: LedgerRow | None,
    refined: Mapping[str, Any] | None,
    copies: Sequence[Copy],
) -> str:
    if record.rule != Rule.KEPT:
        value, threshold = (record.row.value, record.row.threshold) if record.row else (None, None)
        return f"Not in the corpus: {reason(record.rule, value, threshold)}."
    if run.deduplicate is None:
        return "Kept by curate. Whether it is in the corpus is not decided: deduplicate is not complete."
    if refined is not None:
        return "In the corpus."
    if fate is None:
        return "Kept by curate, but not in deduplicate's ledger: one of the two was made from something else."
    stands = copies[-1] if copies else None
    instead = f"; {stands.url or stands.id.hex()} stands for it" if stands else ""
    return f"Not in the corpus: {reason(fate.rule, fate.value, fate.threshold)}{instead}."


def _problems(record: Record, again: Again) -> list[str]:
    problems = [f"No text can be read again: {again.problem}."] if again.problem else []
    if again.examined and again.examined.decision.rule != record.rule:
        now, then = again.examined.decision.rule.label, record.rule.label
        problems.append(
            f"Read again, the page is decided otherwise: {now}; the ledger says {then}. The WARC file, a list, a model "
            "or the code has changed, or the page met a limit of time or memory."
        )
    return problems

"""What other thresholds would change, shown: totals, rule by rule, hosts, and samples of what would come and go.

sections = what_if_sections(opened, ["min_letters=200"], num=5, seed=1)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from flows.inspection.blocks import Block, Fields, Note, Section, Table, excerpt
from flows.inspection.find import ID_BYTES, LEDGERS
from flows.inspection.run import OpenedRun, Rereader, Told, over_shards
from flows.inspection.story import reason
from storage.documents import read_documents
from storage.ledger import Rule, full_path
from tasks.curate.config import CurateConfig
from tasks.curate.output import metrics_path
from tasks.curate.proposal import Change, propose
from tasks.curate.rules import QUALITY_RULES
from tasks.curate.spans import offending_spans
from tasks.curate.what_if import Group, Sample, Trial, count_let_in, try_config
from tasks.report.formats import change, count, share, significant

TOP_HOSTS = 15
SAMPLE_CHARACTERS = 400
NOT_DONE_AGAIN = """\
Decided again from the stored metrics of every page that reached the quality rules. Pages refused before them, the \
texts themselves and everything from deduplicate on stay as they are: what is newly kept may still be a copy, and a \
copy of what is newly dropped may take its place."""
JAPANESE_LINES = (
    "Pages not above the raised min_score count as dropped. Some of these would be judged again by their Japanese "
    "lines and kept: up to {most} pages."
)
LET_IN = (
    "{let_in} pages that were refused as not Japanese would reach the quality rules under the lowered min_score. Their "
    "metrics were never measured, so they are not among the newly kept."
)


def what_if_sections(run: OpenedRun, settings: Sequence[str], num: int, seed: int) -> list[Section]:
    """Try other thresholds on what curate stored.

    Args:
        settings: `name=value` each.
        num: samples to draw of what would be newly kept, and of what newly dropped.

    Raises:
        ValueError: a setting that cannot be tried.
    """
    old = run.config.curate
    new, changes = propose(old, settings)
    files = {shard: uri for shard in run.curate.shards if (uri := run.curate.file(metrics_path(shard)))}
    told = Told(len(files), "shards decided again")
    trial = try_config(files, old, new, run.tombstones, num=num, seed=seed, progress=told)
    notes = [Note(NOT_DONE_AGAIN, "muted"), *_language_notes(run, old, new, trial)]
    if trial.disagreeing:
        text = f"{count(trial.disagreeing)} stored decisions are not what these rules say of the stored metrics."
        notes.append(Note(f"{text} They were made by other rules.", "bad"))
    sections = [
        Section("What if", [_changes(changes), _totals(run, trial), *notes]),
        Section("Rule by rule", [_rule_table(trial)]),
    ]
    with Rereader(run, new) as rereader:
        sections += _group_sections("Newly kept", "dropped now by", trial.newly_kept, old, rereader)
        sections += _group_sections("Newly dropped", "would be dropped by", trial.newly_dropped, new, rereader)
    return sections


def _changes(changes: Sequence[Change]) -> Table:
    rows = [[change.name, str(change.old), str(change.new)] for change in changes]
    return Table(["setting", "now", "what if"], rows, numbers=frozenset({1, 2}))


def _totals(run: OpenedRun, trial: Trial) -> Fields:
    before, after = trial.before, trial.after
    in_corpus = _in_corpus(run, trial.newly_dropped)
    of_these = f", {count(in_corpus)} of them in the corpus now" if in_corpus is not None else ""
    return Fields([
        ("measured pages", count(before.documents.sum())),
        ("kept now", _amount(before.documents[Rule.KEPT], before.characters[Rule.KEPT])),
        ("kept then", _amount(after.documents[Rule.KEPT], after.characters[Rule.KEPT])),
        ("change", change(_relative(after.documents[Rule.KEPT], before.documents[Rule.KEPT]))),
        ("newly kept", _amount(trial.newly_kept.documents, trial.newly_kept.characters)),
        ("newly dropped", _amount(trial.newly_dropped.documents, trial.newly_dropped.characters) + of_these),
        ("dropped by another rule", count(trial.otherwise) if trial.otherwise else None),
    ])  # fmt: skip


def _amount(documents: int, characters: int) -> str:
    return f"{count(documents)} document{'' if documents == 1 else 's'}, {count(characters)} characters"


def _relative(after: int, before: int) -> float | None:
    return (int(after) - int(before)) / int(before) if before else None


def _in_corpus(run: OpenedRun, group: Group) -> int | None:
    """How many of a group's documents are in the corpus; None where deduplicate is not complete."""
    if run.deduplicate is None:
        return None
    made = run.deduplicate
    wanted = pa.array(group.ids, pa.binary(ID_BYTES))

    def look(shard: str) -> int:
        uri = made.file(full_path(shard))
        rows = read_documents(uri, ["id", "rule"]) if uri else ()
        return sum(
            pc.sum(pc.and_(_is_kept(batch), pc.is_in(batch.column("id"), wanted))).as_py() or 0 for batch in rows
        )

    return sum(over_shards(made.shards, look, LEDGERS)) if group.ids else 0


def _is_kept(batch: pa.RecordBatch) -> pa.Array:
    return pc.equal(batch.column("rule"), pa.scalar(Rule.KEPT, pa.uint8()))


def _language_notes(run: OpenedRun, old: CurateConfig, new: CurateConfig, trial: Trial) -> list[Note]:
    if new.language.min_score > old.language.min_score and old.japanese_lines.enabled:
        most = int(trial.after.documents[Rule.NOT_JAPANESE])
        return [Note(JAPANESE_LINES.format(most=count(most)), "muted")] if most else []
    if new.language.min_score < old.language.min_score:
        made = run.curate
        ledgers = [uri for shard in made.shards if (uri := made.file(full_path(shard)))]
        count_one = partial(count_let_in, old=old.language.min_score, new=new.language.min_score)
        let_in = sum(over_shards(ledgers, count_one, LEDGERS))
        return [Note(LET_IN.format(let_in=count(let_in)), "muted")] if let_in else []
    return []


def _rule_table(trial: Trial) -> Table:
    """What each rule drops first, at all, and alone, under both sets of thresholds."""
    rows = []
    numbered = [Rule.NOT_JAPANESE, *(rule.rule for rule in QUALITY_RULES), Rule.TAKEDOWN]
    for rule in dict.fromkeys(numbered):
        pairs = [
            (int(getattr(trial.before, name)[rule]), int(getattr(trial.after, name)[rule]))
            for name in ("documents", "characters", "failing", "alone")
        ]
        if any(number for pair in pairs for number in pair):
            rows.append([rule.label, *(count(number) for pair in pairs for number in pair)])
    columns = ("dropped", "characters", "failing", "only by it")
    headings = ["rule", *(f"{column} {when}" for column in columns for when in ("now", "then"))]
    return Table(headings, rows, numbers=frozenset(range(1, len(headings))))


def _group_sections(title: str, by: str, group: Group, config: CurateConfig, rereader: Rereader) -> list[Section]:
    """The pages that would come, or go: by rule, by host, and some of them."""
    if not group.documents:
        return [Section(title, [Note("None.", "muted")])]
    rules = [[rule.label, count(number), share(number / group.documents)] for rule, number in group.rules.most_common()]
    ranked = sorted(group.hosts.items(), key=lambda item: (-item[1]["documents"], item[0]))
    hosts = [[host, count(counts["documents"]), count(counts["characters"])] for host, counts in ranked[:TOP_HOSTS]]
    more = [Note(f"{count(len(ranked) - len(hosts))} more hosts", "muted")] if len(ranked) > len(hosts) else []
    sections = [
        Section(title, [
            Note(_amount(group.documents, group.characters)),
            Table([by, "documents", "of these"], rules, numbers=frozenset({1, 2})),
            Table(["host", "documents", "characters"], hosts, numbers=frozenset({1, 2})),
            *more,
        ])
    ]  # fmt: skip
    for number, sample in enumerate(group.samples, 1):
        blocks = _sample(sample, config, rereader)
        sections.append(Section(f"{title}, {number} of {len(group.samples)}", blocks, inner=True))
    return sections


def _sample(sample: Sample, config: CurateConfig, rereader: Rereader) -> list[Block]:
    """A page with its text, in which what the rule objects to is marked.

    Args:
        config: whose thresholds the page does not meet.
    """
    about = Fields([
        ("URL", sample.url),
        ("id", sample.id.hex()),
        ("rule", reason(sample.refused_by)),
        ("measured", significant(sample.value) if sample.value is not None else None),
        ("now", significant(sample.old_threshold) if sample.old_threshold is not None else None),
        ("what if", significant(sample.new_threshold) if sample.new_threshold is not None else None),
    ])  # fmt: skip
    again = rereader.read(sample.shard, sample.offset)
    if again.examined is None:
        return [about, Note(f"No text: {again.problem}.", "bad")]
    notes = [about]
    decided = again.examined.decision.rule
    if decided != sample.decided_then:
        text = f"Read again under the new thresholds: {decided.label}, not {sample.decided_then.label}."
        return [*notes, Note(text, "bad"), _marked(again.examined.text, sample, config)]
    return [*notes, _marked(again.examined.text, sample, config)]


def _marked(text: str, sample: Sample, config: CurateConfig) -> Block:
    quality_rules = {rule.rule for rule in QUALITY_RULES}
    in_quality = sample.refused_by in quality_rules
    spans = offending_spans(text, sample.refused_by, config.quality) if in_quality else []
    return excerpt(text, spans, most=SAMPLE_CHARACTERS)

"""What a finished stage shows of itself: what went in, what came out, what was dropped and why, how fast.

In: the stage's plan and record. Out: rows of a table and a short markdown; `tasks.task` publishes both.

    table_rows(record), markdown(plan, record)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.progress import duration
from tasks.stage import StagePlan, StageRecord

NUM_MOST_COPIED = 3  # clusters, and hosts, in deduplicate's table


@dataclass(frozen=True)
class Shown:
    """The counts of a stage that say what went in and came out; patterns, where each source has its own.

    Attributes:
        dropped: pattern of the counts of what was left out; its group names the reason.
        of: the count that the dropped ones are a share of.
        work: the count whose rate is the stage's throughput.
    """

    went_in: tuple[str, ...]
    came_out: tuple[str, ...]
    work: str
    dropped: str = r"(?!)"
    of: str = ""


SHOWN = {
    "curate": Shown(("records",), ("documents", "characters"), "records", r"dropped_(.+)", "records"),
    "deduplicate": Shown(
        ("documents",),
        ("kept", "characters"),
        "documents",
        r"(?:dropped_)?(same_url|(?:exact|near)_duplicates|blocked_host|emptied|contaminated)",
        "documents",
    ),
    "expand": Shown(("base_vocab", "sample_documents", "sample_characters"), ("new_pieces", "vocab"), ""),
    "initialize": Shown(("base_vocab",), ("new_rows", "vocab", "parameters"), "parameters"),
    "binarize": Shown(
        (r"documents_.+_read",),
        ("documents", "tokens", "bytes"),
        "tokens",
        r"documents_(.+_(?:duplicate|empty|held_out_elsewhere|taken_down))",
    ),
    "mix": Shown((r"tokens_.+",), ("samples", "tokens", "validation_samples"), ""),
    "train": Shown(("samples",), ("steps", "tokens"), "tokens"),
    "export": Shown(("steps",), ("parameters",), "parameters"),
    "evaluate": Shown(("models", r"documents_.+", r"questions_.+", r"items_.+"), ("examples", "tokens"), "tokens"),
    "report": Shown(("stages",), (), ""),
}


def table_rows(record: StageRecord) -> list[dict[str, Any]]:
    """One row per count that says what became of the input; the dropped ones largest first, with their share."""
    shown = SHOWN[record.stage]
    rows = [_row("in", name, value) for name, value in _matching(record.counts, shown.went_in).items()]
    rows += [_row("out", name, value) for name, value in _matching(record.counts, shown.came_out).items()]
    whole = record.counts.get(shown.of, 0)
    for reason, value in dropped(record).items():
        rows.append(_row("dropped", reason, value, f"{value / whole:.1%}" if whole else ""))
    return rows + _most_copied(record, whole)


def _most_copied(record: StageRecord, whole: int) -> list[dict[str, Any]]:
    """Deduplicate's largest clusters and the hosts that lost most documents."""
    clusters = [
        ("cluster of", cluster["survivor"]["url"], cluster["size"])
        for cluster in record.details.get("largest_clusters", ())[:NUM_MOST_COPIED]
    ]
    hosts = [("copies on", host["host"], host["dropped"]) for host in record.details.get("hosts", ())[:NUM_MOST_COPIED]]
    return [
        {"what": what, "count": name or "unknown", "value": f"{value:,}", "share of input": f"{value / whole:.1%}"}
        for what, name, value in (*clusters, *hosts)
    ]


def dropped(record: StageRecord) -> dict[str, int]:
    """Reason -> how many, largest first; reasons that met nothing are left out."""
    pattern = re.compile(SHOWN[record.stage].dropped)
    found = {match[1]: value for name, value in record.counts.items() if (match := pattern.fullmatch(name)) and value}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def markdown(plan: StagePlan, record: StageRecord) -> str:
    """The stage in a few lines."""
    shown = SHOWN[record.stage]
    lines = [f"**{plan.name} / {record.stage}**: {_status(record)}", ""]
    for label, names in (("in", shown.went_in), ("out", shown.came_out)):
        if found := _matching(record.counts, names):
            lines.append(f"- {label}: " + ", ".join(f"{value:,} {_words(name)}" for name, value in found.items()))
    if reasons := dropped(record):
        most = [f"{_words(reason)} {value:,}" for reason, value in list(reasons.items())[:6]]
        rest = len(reasons) - len(most)
        lines.append("- dropped: " + ", ".join(most) + (f" and {rest} more reasons" if rest else ""))
    lines += [f"- {line}" for line in _highlights(record)]
    work = record.counts.get(shown.work, 0)
    if work and record.seconds and record.attempts == 1:
        lines.append(f"- throughput: {work / record.seconds:,.1f} {_words(shown.work)} a second")
    lines += [
        f"- artifact: `{record.uri}` (fingerprint `{record.fingerprint[:12]}`, content `{record.content_digest[:12]}`)",
        f"- rerun: `{plan.rerun}`",
    ]
    lines += _score_matrix(record)
    return "\n".join(lines) + "\n"


def failure_markdown(plan: StagePlan, error: Exception) -> str:
    """What to read when a stage failed: the reason, what it was made of, and what to type."""
    inputs = "".join(f"\n- input {name}: `{digest[:12]}`" for name, digest in plan.inputs.items())
    return f"**{plan.name} / {plan.stage} failed**\n\n```\n{error}\n```\n{inputs}\n- rerun: `{plan.rerun}`\n"


def _status(record: StageRecord) -> str:
    if record.status == "reused":
        return "was complete, nothing done"
    again = "" if record.attempts == 1 else f" (attempt {record.attempts}; what earlier ones had finished was kept)"
    return f"done in {duration(record.seconds)}{again}"


def _highlights(record: StageRecord) -> list[str]:
    """What a stage's details say that its counts do not."""
    details = record.details
    if record.stage == "deduplicate":
        return _copies(details)
    if record.stage == "expand" and (fertility := details.get("fertility")):
        return ["characters per token: " + ", ".join(f"{m} {f['characters_per_token']}" for m, f in fertility.items())]
    if record.stage == "train" and "loss" in details:
        bits = ", ".join(f"{language} {value:.3f}" for language, value in details["bits_per_byte"].items())
        return [f"last loss {details['loss']:.3f}; bits per byte {bits}; {details['memory_gib']:.1f} GiB a rank"]
    if record.stage == "export" and "max_logit_difference" in details:
        return [f"largest difference of logits to the checkpoint's: {details['max_logit_difference']:g}"]
    if record.stage == "evaluate":
        return [f"{model}: {_headlines(scores)}" for model, scores in details["table"].items()]
    if record.stage == "report":
        return list(details.get("summary", ()))
    return []


def _copies(details: Mapping[str, Any]) -> list[str]:
    """Where the copies are: the largest cluster, the host with most, and what is new onto an earlier corpus."""
    lines = []
    if clusters := details.get("largest_clusters"):
        url = clusters[0]["survivor"]["url"] or "a page that has no URL"
        lines.append(f"largest cluster: {clusters[0]['size']:,} documents, of which `{url}` is kept")
    if hosts := details.get("hosts"):
        name = hosts[0]["host"] or "no host"
        lines.append(f"most copies: {hosts[0]['dropped']:,} of {hosts[0]['documents']:,} documents of {name}")
    if added := details.get("generations"):
        lines.append(
            f"onto `{added['earlier'][-1]}`: {added['documents_added']:,} documents added; of the earlier ones "
            f"{added['superseded']:,} no longer kept, {added['returned']:,} kept again"
        )
    return lines


def _headlines(scores: Mapping[str, float]) -> str:
    """Bits per byte, the probe's right answers, and the averages of benchmarks; these themselves are in the matrix."""
    own = (r".+_bits_per_byte", r"probe_.+_accuracy", r".+_average-.+")
    shown = {name: scores[name] for name in scores if any(re.fullmatch(pattern, name) for pattern in own)}
    return ", ".join(f"{_words(name)} {value:.3f}" for name, value in shown.items())


def _score_matrix(record: StageRecord) -> list[str]:
    """Evaluate's benchmarks as a table of Markdown, in percent: a line per task and profile, a column per model."""
    table: Mapping[str, Mapping[str, float | None]] = record.details.get("table", {})
    is_benchmark = re.compile(r"(?P<task>[^-]+)-(?P<profile>[^_]+)(?:_(?P<metric>.+))?")
    names = list(dict.fromkeys(name for scores in table.values() for name in scores))
    matches = [match for name in names if (match := is_benchmark.fullmatch(name))]
    if record.stage != "evaluate" or not matches:
        return []
    models = [model for model, scores in table.items() if any(match[0] in scores for match in matches)]
    lines = [
        "",
        "| task | profile | metric | " + " | ".join(models) + " |",
        "| --- | --- | --- |" + " ---: |" * len(models),
    ]
    for match in matches:
        values = (table[model].get(match[0]) for model in models)
        cells = ["–" if value is None else f"{100 * value:.1f}" for value in values]
        named = (_words(match["task"]), match["profile"], _words(match["metric"] or "mean"))
        lines.append("| " + " | ".join((*named, *cells)) + " |")
    return lines


def overview_row(record: StageRecord) -> dict[str, Any]:
    """A stage in one row of its run's table."""
    shown = SHOWN[record.stage]
    counted = {
        label: ", ".join(f"{value:,} {_words(name)}" for name, value in _matching(record.counts, names).items())
        for label, names in (("in", shown.went_in), ("out", shown.came_out))
    }
    time = duration(record.seconds) if record.complete else ""
    return {"stage": record.stage, "status": record.status, **counted, "time": time, "artifact": record.uri}


def _matching(counts: Mapping[str, int], patterns: tuple[str, ...]) -> dict[str, int]:
    return {name: value for pattern in patterns for name, value in counts.items() if re.fullmatch(pattern, name)}


def _row(what: str, name: str, value: int, share: str = "") -> dict[str, Any]:
    return {"what": what, "count": _words(name), "value": f"{value:,}", "share of input": share}


def _words(name: str) -> str:
    return name.replace("_", " ")

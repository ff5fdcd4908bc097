"""Taking pages out of a curated crawl without curating it again.

A takedown changes no page, only which of them are kept. So where the root holds a complete artifact that differs only
in having fewer tombstones, each of its shards becomes the new one's: linked where no document of it is taken down,
else written again without those that are, their ledger rows changed from kept to takedown. The result is what
curating all WARC files would give, byte for byte, and no WARC file is read.

    if earlier := find_earlier(plan):
        record = retract_shard(RetractShard("CC-MAIN-00000", earlier, out, tombstones))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from storage.artifact import MANIFEST, Manifest, read_manifest
from storage.documents import read_documents, write_documents, write_parquet
from storage.ledger import LedgerRow, Rule, full_path, read_full, write_full
from storage.tombstones import TOMBSTONES, Tombstones, history, read_tombstones
from storage.uri import filesystem, join, link
from tasks.curate.output import DOCUMENTS_SCHEMA, METRICS_SCHEMA, metrics_path
from tasks.shards import ShardRecord, finished_shard
from tasks.stage import StagePlan


@dataclass(frozen=True)
class RetractShard:
    """A finished shard of the artifact `earlier`, to be had in `out` without what `tombstones` match."""

    key: str
    earlier: str
    out: str
    tombstones: Tombstones


def find_earlier(plan: StagePlan) -> str | None:
    """A complete artifact that differs from the planned one only in having fewer tombstones; the one with the most."""
    if TOMBSTONES not in plan.inputs:
        return None
    states = list(history(read_tombstones(plan.uri.rsplit("/", 2)[0])))
    states = states[: states.index(plan.inputs[TOMBSTONES])]
    found = {
        manifest.inputs.get(TOMBSTONES, ""): uri
        for uri, manifest in earlier_artifacts(plan)
        if _differs_in_tombstones_only(plan, manifest)
    }
    return next((found[state] for state in reversed(states) if state in found), None)


def earlier_artifacts(plan: StagePlan) -> Iterator[tuple[str, Manifest]]:
    """Complete artifacts of the stage and run other than the planned one, with their URIs."""
    folder, _, own = plan.uri.rpartition("/")
    fs, path = filesystem(folder)
    fs.invalidate_cache()
    for found in fs.glob(f"{path}/{plan.name}-*/{MANIFEST}"):
        name = str(found).rsplit("/", 2)[1]
        manifest = None if name == own or name.endswith(".again") else read_manifest(join(folder, name))
        if manifest is not None and manifest.name == plan.name:
            yield join(folder, name), manifest


def _differs_in_tombstones_only(plan: StagePlan, manifest: Manifest) -> bool:
    def without(inputs: dict[str, str]) -> dict[str, str]:
        return {name: digest for name, digest in inputs.items() if name != TOMBSTONES}

    mine = (plan.stage, plan.algorithm_version, plan.literals, plan.libraries, without(dict(plan.inputs)))
    theirs = (
        manifest.stage,
        manifest.algorithm_version,
        manifest.literals,
        manifest.libraries,
        without(manifest.inputs),
    )
    return mine == theirs


def retract_shard(shard: RetractShard) -> ShardRecord:
    """Take one shard over, linked or without what is taken down; counts as if it had been curated so.

    Raises:
        FileNotFoundError: the earlier artifact no longer has the shard.
    """
    record = finished_shard(shard.earlier, shard.key)
    if record is None:
        raise FileNotFoundError(f"{shard.earlier} has no finished shard {shard.key} any more; run again")
    source = join(shard.earlier, f"documents/{shard.key}.parquet")
    taken = {
        id
        for batch in read_documents(source, ["id", "url"])
        for id, url in zip(batch.column("id").to_pylist(), batch.column("url").to_pylist(), strict=True)
        if shard.tombstones.matches(url)
    }
    unchanged = [entry for entry in record.files if not taken or entry.path.endswith(".compact.parquet")]
    for entry in unchanged:
        link(join(shard.earlier, entry.path), join(shard.out, entry.path))
    return _without(record, shard, taken) if taken else record


def _without(record: ShardRecord, shard: RetractShard, taken: set[bytes]) -> ShardRecord:
    """Write documents, metrics and ledger without what is taken down, and count again what hangs on it."""
    totals: Counter[str] = Counter()
    charsets: Counter[str] = Counter()  # of the documents that remain

    def kept() -> Iterator[pa.RecordBatch]:
        for batch in read_documents(join(shard.earlier, f"documents/{shard.key}.parquet")):
            remaining = batch.filter(pa.array([id not in taken for id in batch.column("id").to_pylist()], pa.bool_()))
            charsets.update(remaining.column("charset").to_pylist())
            totals["documents"] += remaining.num_rows
            totals["characters"] += sum(remaining.column("num_characters").to_pylist())
            totals["lines_removed"] += sum(remaining.column("lines_removed").to_pylist())
            totals["characters_removed"] += sum(remaining.column("characters_removed").to_pylist())
            yield remaining

    def fates() -> Iterator[LedgerRow]:
        for row in read_full(join(shard.earlier, full_path(shard.key))):
            yield replace(row, rule=Rule.TAKEDOWN) if row.rule == Rule.KEPT and row.id in taken else row

    def measured() -> Iterator[pa.RecordBatch]:
        for batch in read_documents(join(shard.earlier, metrics_path(shard.key))):
            rules = [
                Rule.TAKEDOWN if rule == Rule.KEPT and id in taken else rule
                for id, rule in zip(batch.column("id").to_pylist(), batch.column("rule").to_pylist(), strict=True)
            ]
            yield batch.set_column(
                batch.schema.get_field_index("rule"), METRICS_SCHEMA.field("rule"), pa.array(rules, pa.uint8())
            )

    path = f"documents/{shard.key}.parquet"
    written = {
        entry.path: entry
        for entry in (
            write_documents(shard.out, path, kept(), DOCUMENTS_SCHEMA),
            write_full(shard.out, full_path(shard.key), fates()),
            write_parquet(shard.out, metrics_path(shard.key), measured(), METRICS_SCHEMA),
        )
    }
    label = f"dropped_{Rule.TAKEDOWN.label}"
    counts = record.counts | dict(totals)
    counts["kept"] = counts["documents"]
    counts["dropped"] = counts["records"] - counts["kept"]
    counts[label] = record.counts.get(label, 0) + len(taken)
    files = [written.get(entry.path, entry) for entry in record.files]
    counted = {charset: before | {"kept": charsets[charset]} for charset, before in record.details["charsets"].items()}
    return ShardRecord(record.key, files, counts, record.details | {"charsets": counted})

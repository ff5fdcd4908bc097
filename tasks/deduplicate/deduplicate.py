"""Deduplicate documents: sign every shard, decide over all, write the survivors, refined, and everyone's fate.

In: document shards (Parquet). Out: the index, `index/<shard>.*` (`tasks.deduplicate.index`) and `index/documents.json`
with the sha256 of each file that was signed; `boilerplate/<range>.parquet` with the lines that the pages of a host
share (`tasks.deduplicate.host_lines`); and what `tasks.deduplicate.survivors` writes: the survivors' documents, refined
as `tasks.refine` says, and a ledger row for every document: kept, dropped with the twin it is a copy of and the
survivor that stands for both, or dropped as it was refined. Onto an earlier corpus, only new shards are signed and
written (`tasks.deduplicate.onto`). Everything but the decision's union-find is mapped over shards.

Method: Swallow's (MinHash over character 5-grams, any shared bucket), with clusters and a stated survivor; see
Broder 1997 for MinHash and Leskovec et al., Mining of Massive Datasets, section 3.4, for banding. Hosts are filtered
and texts modified after it, as the Swallow Corpus paper orders them.

    outcome = deduplicate(uris, DeduplicateConfig(), RefineConfig(), out=..., executor=...)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np

from storage.artifact import Outcome, input_digests
from storage.documents import count_documents
from storage.ledger import Rule
from storage.uri import join, remove
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.decide import Decisions, decide
from tasks.deduplicate.fates import WORK, write_fates
from tasks.deduplicate.host_lines import find_boilerplate
from tasks.deduplicate.index import IndexShard, SignShard, read_rows, rows_path, sign_shard
from tasks.deduplicate.onto import (
    Earlier,
    EarlierShard,
    find_returning,
    open_earlier,
    rewrite_shard,
    write_generations,
    write_signed,
)
from tasks.deduplicate.planted import measured_s_curve
from tasks.deduplicate.signatures import SCHEME, compile_ahead
from tasks.deduplicate.statistics import statistics
from tasks.deduplicate.survivors import WriteShard, write_shard
from tasks.refine.config import RefineConfig
from tasks.refine.contamination import merge_tallies
from tasks.refine.refine import COUNTS, DROPPING, Refiner
from tasks.shards import ExecutorConfig, Progress, Shard, ShardRecord, combine, map_shards, one_pool

REFINE_DEFAULTS = RefineConfig()
PAIRS_PER_BIN = 200  # of the S-curve that the stage measures
_Argument = TypeVar("_Argument")


def deduplicate(
    documents: Sequence[str],
    config: DeduplicateConfig,
    refine: RefineConfig = REFINE_DEFAULTS,
    *,
    out: str,
    executor: ExecutorConfig,
    progress: Progress | None = None,
    base: str | None = None,
    digests: Mapping[str, str] | None = None,
    pairs_per_bin: int = PAIRS_PER_BIN,
) -> Outcome:
    """Keep one document of every cluster of copies, and refine what is kept.

    Args:
        documents: URIs of document shards; file names are unique and name the shards.
        base: URI of the complete corpus to add to, made of some of these documents; None for a corpus made at once.
        digests: sha256 of each of `documents`; computed where left out.
        pairs_per_bin: planted pairs that the S-curve is measured with, in each bin; 0 measures none.

    Returns:
        counts `documents` (read), `kept`, `dropped`, `same_url`, `exact_duplicates`, `near_duplicates`,
        `dropped_<rule>` for each rule of refinement, `clusters` (with two or more documents), `characters` (kept),
        `boilerplate_found` (distinct lines, in what this generation writes), and what refinement cut, replaced and
        masked; documents = kept + dropped. Details: `refined`, of how many documents it did each; `contamination`, the
        table by benchmark; `s_curve`; those of `tasks.deduplicate.statistics`; and `generations` onto a base.

    Raises:
        FileNotFoundError, ValueError: a list or benchmark that `refine` names is missing or unreadable; the base is not
            complete, or not made of these documents under these settings.
        ValueError: there are no documents, or two have the same id, or two shards the same name.
    """
    Refiner(refine)  # a missing list should fail here, not after all is signed
    sources = _sources(documents)
    sha256 = _sha256(sources, digests)
    earlier = open_earlier(base, sha256, config) if base else None
    steps = 3 + refine.boilerplate.enabled + (2 if earlier else 0)
    stage = _Stage(sources, config, refine, out, executor, _Parts(progress, len(sources), steps), earlier)
    with one_pool(executor):
        shards, signed = _sign(stage)
        deciding = stage.parts.next()
        decisions = decide(shards, config, out=out, executor=executor, documents=sources, progress=deciding)
        write_fates(out, shards, decisions)
        lines, written = _write(stage, shards)
    outcome = _outcome(decisions, [*signed, *lines, *written])
    outcome.files.append(write_signed(out, config, {key: sha256[key] for key in stage.new}))
    if earlier:
        outcome.files.append(write_generations(out, earlier))
        outcome.details["generations"] = _generations(earlier, signed, written)
    outcome.details |= statistics(decisions, shards, documents=sources, pii=refine.pii)
    curve = measured_s_curve(config, pairs_per_bin) if pairs_per_bin else []
    outcome.details["s_curve"] = [asdict(measured) for measured in curve]
    remove(join(out, WORK))
    return outcome


@dataclass(frozen=True)
class _Stage:
    """What the steps have in common; `documents`: key -> URI of every shard, sorted by key."""

    documents: Mapping[str, str]
    config: DeduplicateConfig
    refine: RefineConfig
    out: str
    executor: ExecutorConfig
    parts: _Parts
    earlier: Earlier | None

    @property
    def new(self) -> list[str]:
        """Keys of the shards that no earlier generation has signed."""
        return [key for key in self.documents if self.earlier is None or key not in self.earlier.index]

    def map(
        self, function: Callable[[_Argument], ShardRecord], step: str, arguments: Mapping[str, _Argument]
    ) -> list[ShardRecord]:
        """Map a step over shards, given by key."""
        shards = [Shard(f"{step}-{key}", argument) for key, argument in arguments.items()]
        return map_shards(function, shards, out=self.out, executor=self.executor, progress=self.parts.next())


class _Parts:
    """The progress callbacks of `number` mappings, one after the other, that count as `size` shards each."""

    def __init__(self, progress: Progress | None, size: int, number: int) -> None:
        self._progress, self._size, self._total = progress, size, size * number
        self._done = 0

    def next(self) -> Progress | None:
        """The callback of the next mapping, however many shards that has."""
        if (progress := self._progress) is None:
            return None
        first, size, total = self._done, self._size, self._total
        self._done += size
        return lambda done, of, counts: progress(first + size * done / max(1, of), total, counts)


def _sources(documents: Sequence[str]) -> dict[str, str]:
    """Key -> URI of every shard, sorted by key."""
    sources = {uri.rsplit("/", 1)[-1].removesuffix(".parquet"): uri for uri in documents}
    if len(sources) < len(documents):
        raise ValueError("the names of the document files are not unique: was a file given twice?")
    return dict(sorted(sources.items()))


def _sha256(sources: Mapping[str, str], digests: Mapping[str, str] | None) -> dict[str, str]:
    """The digest of every shard's file, by key."""
    if digests is None:
        return dict(zip(sources, input_digests(sources.values()), strict=True))
    return {key: digests[uri] for key, uri in sources.items()}


def _sign(stage: _Stage) -> tuple[list[IndexShard], list[ShardRecord]]:
    """Sign the new shards; the index of all shards, and the records of the new ones."""
    new = stage.new
    arguments = {key: SignShard(key, stage.documents[key], stage.out, stage.config) for key in new}
    if new and stage.executor.workers > 1 and stage.config.signatures == "hibari":
        compile_ahead()
    signed = stage.map(sign_shard, "sign", arguments)
    counts = dict(zip(new, (record.counts["documents"] for record in signed), strict=True))
    places = dict.fromkeys(new, stage.out)
    if stage.earlier:
        places |= stage.earlier.index
        counts |= {key: count_documents(join(uri, rows_path(key))) for key, uri in stage.earlier.index.items()}
    shards: list[IndexShard] = []
    for key in stage.documents:
        first = shards[-1].first + shards[-1].documents if shards else 0
        shards.append(IndexShard(key, places[key], first, counts[key]))
    if not sum(counts.values()):
        raise ValueError(f"there are no documents in the {len(shards)} shards to deduplicate")
    return shards, signed


def _write(stage: _Stage, shards: Sequence[IndexShard]) -> tuple[list[ShardRecord], list[ShardRecord]]:
    """Find boilerplate and write all shards; the records of both."""
    new, earlier = _shards_to_write(stage, shards)
    found = stage.map(find_returning, "returning", earlier) if earlier else []
    lines: list[ShardRecord] = []
    if stage.refine.boilerplate.enabled:
        pairs = zip(earlier.values(), found, strict=True)
        returning = [shard.write for shard, record in pairs if record.counts["returning"]]
        lines = _find_lines(stage, shards, [*new.values(), *returning])
        boilerplate = [join(stage.out, file.path) for record in lines for file in record.files]
        boilerplate += stage.earlier.boilerplate if stage.earlier else ()
        new, earlier = _shards_to_write(stage, shards, tuple(boilerplate))
    written = stage.map(write_shard, "write", new)
    return lines, written + (stage.map(rewrite_shard, "write", earlier) if earlier else [])


def _shards_to_write(
    stage: _Stage, shards: Sequence[IndexShard], boilerplate: tuple[str, ...] = ()
) -> tuple[dict[str, WriteShard], dict[str, EarlierShard]]:
    """By key: the new shards, and those that an earlier generation has written."""
    new: dict[str, WriteShard] = {}
    earlier: dict[str, EarlierShard] = {}
    for shard in shards:
        source, min_jaccard = stage.documents[shard.key], stage.config.verify.min_jaccard
        write = WriteShard(shard.key, source, stage.out, stage.refine, min_jaccard, boilerplate)
        if stage.earlier is None or shard.key not in stage.earlier.index:
            new[shard.key] = write
        else:
            earlier[shard.key] = stage.earlier.shard(replace(write, returning=True), shard)
    return new, earlier


def _find_lines(stage: _Stage, shards: Sequence[IndexShard], to_write: Sequence[WriteShard]) -> list[ShardRecord]:
    """Find boilerplate among the documents that are written."""
    if not to_write:
        return []
    indexed = {shard.key: shard for shard in shards}
    hosts = [
        read_rows(indexed[shard.key], ["host"])["host"].to_numpy()[shard.to_write(shard.fates())] for shard in to_write
    ]
    return find_boilerplate(
        to_write, np.concatenate(hosts), out=stage.out, executor=stage.executor, progress=stage.parts.next()
    )


def _outcome(decisions: Decisions, records: Sequence[ShardRecord]) -> Outcome:
    """Files, counts and details of all shards."""
    outcome = combine(records)
    totals = Counter(outcome.counts)
    by_rule = np.bincount(decisions.rule, minlength=256)
    sizes = np.bincount(decisions.survivor)
    num_documents = len(decisions.survivor)
    outcome.counts = {
        "documents": num_documents,
        "kept": totals["kept"],
        "dropped": num_documents - totals["kept"],
        "same_url": int(by_rule[Rule.SAME_URL]),
        "exact_duplicates": int(by_rule[Rule.EXACT_DUPLICATE]),
        "near_duplicates": int(by_rule[Rule.NEAR_DUPLICATE]),
        **{f"dropped_{rule.label}": totals[f"dropped_{rule.label}"] for rule in DROPPING},
        "clusters": int((sizes > 1).sum()),
        "characters": totals["characters"],
        **{name: totals[name] for name in ("boilerplate_found", *COUNTS)},
    }
    touched: Counter[str] = Counter()
    for record in records:
        touched.update(record.details.get("refined", {}))
    tallies = [record.details["contamination"] for record in records if "contamination" in record.details]
    outcome.details = {
        "scheme": SCHEME,
        "refined": {name: touched[name] for name in COUNTS},
        "contamination": merge_tallies(tallies),
    }
    return outcome


def _generations(earlier: Earlier, signed: Sequence[ShardRecord], written: Sequence[ShardRecord]) -> dict[str, Any]:
    """What this generation adds to the earlier ones, and takes back of them."""
    totals = combine([*signed, *written]).counts
    return {
        "earlier": [uri.rsplit("/", 1)[-1] for uri in earlier.artifacts],
        "documents_added": totals.get("documents", 0),
        "returned": totals.get("returned", 0),
        "superseded": totals.get("superseded", 0),
    }

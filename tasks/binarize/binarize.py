"""binarize: every source tokenised once, training and validation documents in files of their own.

In: sources (shards of the run's corpus, or files from elsewhere that `storage.sources` reads) and a tokenizer folder.
Out: per source `train.bin/.idx`, `validation.bin/.idx` and the tables that name their documents, and `tokens.json`
(`storage.token_catalog`). Shards are tokenised in parallel into parts (`tasks.binarize.shard`), what is kept of them is
decided (`tasks.binarize.selection`), and they are merged in order (`tasks.binarize.merge`). Every document read is
counted once: kept for training, held out, empty, taken down (`storage.tombstones`), an exact duplicate within its
source, or equal to a text that another source holds out.

    outcome = binarize(sources, "runs/expand/demo-0123/tokenizer", config, out=..., executor=ExecutorConfig())
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from storage.artifact import Outcome
from storage.corpus import CorpusShard
from storage.held_out import validation_threshold
from storage.sources import AUTO, SourceLayout
from storage.stretches import stretches
from storage.token_catalog import TokenSource, write_catalog
from storage.tokens import token_dtype
from storage.tombstones import Tombstones
from storage.uri import expand_glob, join, remove
from tasks.binarize.config import BinarizeConfig
from tasks.binarize.merge import merge_source
from tasks.binarize.selection import Fate, Selection, select
from tasks.binarize.shard import NOTHING_TAKEN_DOWN, PARTS, BinarizeShard, binarize_shard, part_path
from tasks.shards import ExecutorConfig, Progress, Shard, ShardRecord, map_shards, one_pool

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceInput:
    """A source to tokenise.

    Attributes:
        documents: shards of the run's corpus, or paths, globs or URIs of files from elsewhere.
        layout: how files from elsewhere are read.
    """

    name: str
    language: str
    documents: tuple[CorpusShard, ...] | tuple[str, ...]
    layout: SourceLayout = AUTO


def binarize(
    sources: Sequence[SourceInput],
    tokenizer: str,
    config: BinarizeConfig,
    *,
    out: str,
    executor: ExecutorConfig,
    progress: Progress | None = None,
    tombstones: Tombstones = NOTHING_TAKEN_DOWN,
) -> Outcome:
    """Tokenise all sources into token files below `out`.

    Args:
        tokenizer: folder of the tokenizer, as `tokenizer.encoder.load_encoder` takes it.
        tombstones: what is left out of external sources, by the `url` of their documents.

    Returns:
        counts `documents_<source>_<split>`, `tokens_…` and `bytes_…`; `documents_<source>_read`, which is
        the sum of both splits and of `_empty`, `_taken_down`, `_duplicate` and `_held_out_elsewhere`; `_shared_id`,
        documents that a trace cannot tell from an earlier one of the source; `_not_chosen` and `_unreadable`, records
        of files from elsewhere that are no documents of the source.

    Raises:
        ValueError: a source without files or documents, or a language without a validation document.
    """
    _check_inputs(sources)
    shards = _shards(sources, tokenizer, config, out, tombstones)
    every_shard = [shard for of_source in shards for shard in of_source]
    with one_pool(executor):
        done = map_shards(binarize_shard, every_shard, out=out, executor=executor, progress=progress)
    records = {record.key: record for record in done}
    keys = [[shard.key for shard in of_source] for of_source in shards]
    vocab_size = int(records[every_shard[0].key].details["vocab_size"])
    dtype = token_dtype(vocab_size)
    outcome = Outcome(details={"vocab_size": vocab_size, "dtype": str(dtype), "sources": []})
    merged: list[TokenSource] = []
    tables = [[join(out, f"{part_path(key)}.parquet") for key in of_source] for of_source in keys]
    with select(tables, validation_threshold(config.validation_ratio)) as selections:
        _check_splits(sources, selections, config.validation_ratio)
        for source, of_source, selection in zip(sources, keys, selections, strict=True):
            described, files = merge_source(out, source.name, source.language, of_source, selection, dtype)
            merged.append(described)
            outcome.files += files
            _count(outcome, described, selection, [records[key] for key in of_source])
    outcome.files.append(write_catalog(out, merged, vocab_size))
    remove(join(out, PARTS))
    return outcome


def _check_inputs(sources: Sequence[SourceInput]) -> None:
    names = [source.name for source in sources]
    problems = [f"two sources are called {name!r}" for name in sorted(set(names)) if names.count(name) > 1]
    problems += [f"source {source.name!r} has no document files" for source in sources if not source.documents]
    if not sources:
        problems.append("there is no source")
    if problems:
        raise ValueError("binarize: " + "; ".join(problems))


def _shards(
    sources: Sequence[SourceInput], tokenizer: str, config: BinarizeConfig, out: str, tombstones: Tombstones
) -> list[list[Shard[BinarizeShard]]]:
    """One shard for each file of each source, in order, or several where a file from elsewhere is large."""
    shards = []
    for source in sources:
        of_source = []
        for number, documents in enumerate(_files(source)):
            parts = stretches(documents, source.layout) if isinstance(documents, str) else [None]
            for part, stretch in enumerate(parts):
                key = f"{source.name}.{number:05d}" + (f"-{part:05d}" if stretch else "")
                argument = BinarizeShard(
                    key=key,
                    out=out,
                    documents=documents,
                    file=number,
                    source=source.name,
                    tokenizer=tokenizer,
                    validation_ratio=config.validation_ratio,
                    layout=source.layout,
                    stretch=stretch,
                    tombstones=tombstones if isinstance(documents, str) else NOTHING_TAKEN_DOWN,
                )
                of_source.append(Shard(key, argument))
        shards.append(of_source)
    return shards


def _files(source: SourceInput) -> list[CorpusShard | str]:
    """The files of a source, globs expanded."""
    return [
        file
        for documents in source.documents
        for file in (expand_glob(documents) if isinstance(documents, str) else [documents])
    ]


def _check_splits(sources: Sequence[SourceInput], selections: Sequence[Selection], ratio: float) -> None:
    """Every source has something to train on, every language something held out."""
    problems = []
    for source, selection in zip(sources, selections, strict=True):
        if not selection.count(Fate.TRAIN):
            held_out = selection.count(Fate.VALIDATION)
            problems.append(
                f"source {source.name!r} has no document to train on ({held_out} held out by "
                f"validation_ratio {ratio}, {len(selection.fates) - held_out} duplicates): check its files, and "
                "whether they were taken down"
            )
    for language in sorted({source.language for source in sources}):
        mine = [selection for source, selection in zip(sources, selections, strict=True) if source.language == language]
        if any(selection.count(Fate.VALIDATION) for selection in mine):
            continue
        candidates = [selection.lowest_split_hash for selection in mine if selection.lowest_split_hash is not None]
        if not candidates:
            problems.append(f"language {language!r} has no document at all: check the files of its sources")
            continue
        documents = sum(len(selection.fates) for selection in mine)
        enough = math.ceil((min(candidates) + 1) / 2**64 * 10_000) / 10_000
        problems.append(
            f"language {language!r} has {documents} documents, and validation_ratio {ratio} holds out none, "
            f"so nothing can be measured: set binarize.validation_ratio to {enough} or more, or add documents"
        )
    if problems:
        raise ValueError("binarize: " + "\n".join(problems))


def _count(
    outcome: Outcome,
    source: TokenSource,
    selection: Selection,
    records: Sequence[ShardRecord],
) -> None:
    counts = outcome.counts
    for split, described in source.splits.items():
        for what in ("documents", "tokens", "bytes"):
            number = getattr(described, what)
            counts[f"{what}_{source.name}_{split}"] = number
            counts[what] = counts.get(what, 0) + number
    told_by_shards = ("read", "empty", "taken_down", "not_chosen", "unreadable")
    dropped = {
        **{what: sum(record.counts[f"documents_{what}"] for record in records) for what in told_by_shards},
        "duplicate": selection.count(Fate.DUPLICATE),
        "held_out_elsewhere": selection.count(Fate.HELD_OUT_ELSEWHERE),
        "shared_id": selection.shared_id,
    }
    if dropped["shared_id"]:
        logger.warning(
            "source %s: %d documents have the id of another one; give each an id of its own, "
            "and each file without ids a name of its own, to tell them apart in a trace",
            source.name,
            dropped["shared_id"],
        )
    counts.update({f"documents_{source.name}_{reason}": number for reason, number in dropped.items()})
    outcome.details["sources"].append({**asdict(source), **dropped})

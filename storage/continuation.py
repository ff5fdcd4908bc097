"""What a run has read when its mixture changes, and what of it the new mixture's sources hold.

In: the folder of the earlier training (its artifact, or where it works), how many samples were consumed, and the
catalog of the new token files. Out: a `storage.consumption.Continuation`. The earlier mixture is found through the
training's manifest or job file. A source whose token files are the same keeps its ranges, whatever it is called now.
Where they changed, the source of the same name is matched document by document through the document tables: tokens of
documents that are gone are dropped, new documents were not read. A document that has another number of tokens now is
an error, since its tokens cannot be told to be the same.

    mixture = mixture_of("runs/train/demo-0123456789ab")
    continuation, ledger = continue_mixture(mixture, 4000, "runs/binarize/demo-89ab", read_catalog(...))
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from storage.artifact import MANIFEST, Manifest, read_manifest
from storage.checkpoints import JOB
from storage.consumption import (
    ConsumedSource,
    Continuation,
    History,
    Ledger,
    consumed_ranges,
    joined,
    read_ledger,
    split_at_documents,
)
from storage.mixture_plan import MixturePlan, PlannedSource, check_token_file, read_plan, resolve_uri
from storage.stored_order import StoredOrder, mapped_arrays
from storage.token_catalog import TokenSource, document_rows_path, token_prefix
from storage.tokens import TokenFile
from storage.uri import exists, join, localized, read_bytes

SPLIT = "train"


def mixture_of(training: str) -> str:
    """URI of the mixture that a training reads.

    Args:
        training: a train artifact, or the folder that an unfinished one works in.

    Raises:
        ValueError: neither, or the mixture is not there any more.
    """
    training = training.rstrip("/")
    root, name = resolve_uri(training, "../.."), training.rpartition("/")[2].rpartition("-")[0]
    places = []
    if exists(join(training, JOB)):
        given = str(json.loads(read_bytes(join(training, JOB)))["mixture"])
        places = [given, join(root, "mix", given.rpartition("/")[2])]
    elif exists(join(training, MANIFEST)):
        inputs = Manifest.from_json(read_bytes(join(training, MANIFEST))).inputs
        if "mix" in inputs:
            places = [join(root, "mix", f"{name}-{inputs['mix'][:12]}")]
    if not places:
        raise ValueError(
            f"{training} is no training: it has neither {JOB} nor the {MANIFEST} of a train artifact; expected a "
            f"folder as runs/train/NAME-0123456789ab"
        )
    for place in places:
        if read_manifest(place) is not None:
            return place
    raise ValueError(
        f"the mixture that {training} reads is not there, or not complete, at {' or '.join(dict.fromkeys(places))}: it "
        f"says what was consumed; restore it"
    )


def continue_mixture(
    mixture: str, samples: int, binarized: str, sources: Sequence[TokenSource]
) -> tuple[Continuation, Ledger]:
    """What the first `samples` of a run have read, seen from the token files of the mixture to come.

    Args:
        mixture: the run's last one; where it continues others, its ledger says what those had read.
        samples: counted from the run's beginning.

    Returns:
        The continuation, and the ledger up to here: phases as they were read, and all sources that ever were.

    Raises:
        FileNotFoundError: token files of the earlier mixture are gone.
        ValueError: `mixture` does not hold sample `samples`, or a source's documents changed their tokens.
    """
    plan = read_plan(mixture)
    split, ledger = plan.splits[SPLIT], read_ledger(mixture)
    if not split.first_sample <= samples <= split.num_samples:
        raise ValueError(
            f"{mixture} holds samples {split.first_sample} to {split.num_samples} of its run, so it cannot be "
            f"continued after {samples}: set mix.continues.step to a step that the training had "
            f"reached, of the training that read it"
        )
    read, tokens = _read_until(mixture, plan, samples, ledger)
    by_name = {source.name: source for source in read}
    histories = {}
    for source in sources:
        if (before := _earlier(source, read)) is not None:
            now = _as_now(before, binarized, source)
            by_name.pop(before.name, None)
            by_name[source.name] = now
            histories[source.name] = now.history
    epochs = {source.name: round(source.history.num_tokens / max(source.num_tokens, 1), 6) for source in read}
    phase = replace(ledger.phases[-1], end_sample=samples, tokens=tokens, epochs=epochs)
    phases = [*ledger.phases[:-1], phase]
    continuation = Continuation(split.digest, samples, len(phases), histories)
    return continuation, Ledger(phases, sorted(by_name.values(), key=lambda source: source.name))


def _read_until(
    mixture: str, plan: MixturePlan, samples: int, ledger: Ledger
) -> tuple[list[ConsumedSource], dict[str, int]]:
    """All sources with what was read of them by sample `samples`; by source, the targets of this mixture."""
    found = {source.name: source for source in ledger.sources}
    tokens, split = {}, plan.splits[SPLIT]
    with mapped_arrays(mixture, SPLIT) as array:
        taken = np.bincount(array("source")[: samples - split.first_sample], minlength=len(split.sources))
        for number, source in enumerate(split.sources):
            order = StoredOrder.load(array, source, plan.packing)
            starts, stops = consumed_ranges(order, int(taken[number]), _document_starts(mixture, source))
            tokens[source.name] = int((stops - starts).sum())
            before = found[source.name].history.ranges if source.name in found else np.empty((0, 3), np.int64)
            ranges = joined(
                np.concatenate((before[:, 0], starts)),
                np.concatenate((before[:, 1], stops)),
                np.concatenate((before[:, 2], np.ones(len(starts), np.int64))),
            )
            found[source.name] = ConsumedSource(
                source.name,
                resolve_uri(mixture, source.tokens),
                resolve_uri(mixture, source.rows),
                source.documents,
                source.num_tokens,
                source.bin_sha256,
                source.idx_sha256,
                History(ranges),
            )
    return list(found.values()), tokens


def _document_starts(mixture: str, source: PlannedSource) -> np.ndarray:
    prefix = resolve_uri(mixture, source.tokens)
    try:
        with TokenFile.open(prefix) as tokens:
            check_token_file(prefix, tokens, source.documents, source.num_tokens)
            return tokens.document_starts
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}: the token files of source {source.name!r} that the continued training has read are gone; "
            f"restore them, they say which documents its samples were"
        ) from error


def _earlier(source: TokenSource, read: Sequence[ConsumedSource]) -> ConsumedSource | None:
    """The source that `source` was before: the same token files, if possible of the same name; else the same name."""
    split = source.splits[SPLIT]
    same = [found for found in read if (found.bin_sha256, found.idx_sha256) == (split.bin_sha256, split.idx_sha256)]
    named = [found for found in read if found.name == source.name]
    return next((found for found in same if found in named), None) or next(iter(same or named), None)


def _as_now(before: ConsumedSource, binarized: str, source: TokenSource) -> ConsumedSource:
    """What was read of a source, as positions in its present token file."""
    split = source.splits[SPLIT]
    now = ConsumedSource(
        source.name,
        join(binarized, token_prefix(source.name, SPLIT)),
        join(binarized, document_rows_path(source.name, SPLIT)),
        split.documents,
        split.tokens,
        split.bin_sha256,
        split.idx_sha256,
        before.history,
    )
    if (before.bin_sha256, before.idx_sha256) == (now.bin_sha256, now.idx_sha256):
        return now
    return replace(now, history=History(_moved(before, now)))


def _moved(before: ConsumedSource, now: ConsumedSource) -> np.ndarray:
    """The ranges of `before` in the token file of `now`, for the documents that both have."""
    with TokenFile.open(before.tokens) as earlier, TokenFile.open(now.tokens) as present:
        starts, starts_now = earlier.document_starts, present.document_starts
    row_now = matched_rows(_document_ids(before.rows), _document_ids(now.rows))
    ranges = before.history.ranges
    parts = [np.empty((0, 3), np.int64)]
    for times in np.unique(ranges[:, 2]):
        here = ranges[ranges[:, 2] == times]
        pieces = split_at_documents(here[:, 0], here[:, 1], starts).astype(np.int64)
        there = row_now[pieces[:, 0]]
        pieces, there = pieces[there >= 0], there[there >= 0]
        lengths, lengths_now = np.diff(starts)[pieces[:, 0]], np.diff(starts_now)[there]
        if (differ := np.flatnonzero(lengths != lengths_now)).size:
            _refuse(before, now, len(np.unique(there[differ])), lengths[differ[0]], lengths_now[differ[0]])
        base = starts_now[there]
        parts.append(np.stack((base + pieces[:, 1], base + pieces[:, 2], np.full(len(there), times)), axis=1))
    return joined(*np.concatenate(parts).T)


def _refuse(before: ConsumedSource, now: ConsumedSource, documents: int, tokens: int, tokens_now: int) -> None:
    raise ValueError(
        f"source {now.name!r}: {documents:,} documents that were read have another number of tokens now (the first "
        f"{tokens_now}, it had {tokens} in {before.tokens}), so it cannot be told what of them was read: the "
        f"tokenizer or the texts changed. Continue with the same tokenizer and texts, or give the source another name: "
        f"under that it starts afresh and repeats what was read"
    )


def _document_ids(rows_uri: str) -> np.ndarray:
    """(documents, 2) uint64: the 16 bytes of each row's document id."""

    def halves() -> Iterator[np.ndarray]:
        with localized(rows_uri) as path, pq.ParquetFile(path) as table:
            for batch in table.iter_batches(columns=["id"]):
                column = batch.column("id").cast(pa.binary(16))
                octets = np.frombuffer(column.buffers()[1], np.uint64)
                yield octets[2 * column.offset : 2 * (column.offset + len(column))].reshape(-1, 2).copy()

    return np.concatenate([np.empty((0, 2), np.uint64), *halves()])


def matched_rows(ids: np.ndarray, ids_now: np.ndarray) -> np.ndarray:
    """(documents,) int64: the row of `ids_now` with the same id, of equal ones in order; -1 where there is none."""
    every = np.concatenate((ids, ids_now))
    is_now = np.arange(len(every)) >= len(ids)
    order = np.lexsort((is_now, every[:, 0], every[:, 1]))  # stable: equal ids stay in the order of their rows
    same = np.zeros(len(every), bool)
    same[1:] = (every[order[1:]] == every[order[:-1]]).all(axis=1)
    group = np.cumsum(~same) - 1
    now = is_now[order]
    first = np.flatnonzero(~same)
    number = np.arange(len(every)) - first[group]
    num_before = np.bincount(group, weights=~now).astype(np.int64)
    rows = np.full(len(ids), -1, np.int64)
    # The n-th row of an id here goes with the n-th there: that stands `num_before` further on in the sorted order.
    partner = np.arange(len(every)) + num_before[group]
    size = np.bincount(group)
    paired = ~now & (number + num_before[group] < size[group])
    rows[order[paired]] = order[partner[paired]] - len(ids)
    return rows

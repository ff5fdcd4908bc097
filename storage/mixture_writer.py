"""Writes a mixture: the blend, each source's order, and the plan that describes them (`storage.mixture_plan`).

In: the catalog of a binarize artifact, weights in tokens, how many samples; for a mixture that continues another, which
tokens were read before (`storage.consumption`). Out: `.npy` arrays below `<split>/`, and `mixture.json`.

    plan = MixturePlan(seq_len=512, seed=7, splits={})
    plan.splits["train"], files = write_split(out, "train", plan, tokens, sources, weights, num_samples=64)
    files.append(write_plan(out, plan))
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import repeat

import numpy as np

from storage.artifact import FileEntry, new_file
from storage.blend import blend, largest_deviation, normalised, samples_to_build
from storage.consumption import Continuation, History, epochs_left
from storage.mixture_plan import (
    PLAN,
    SCHEMA_VERSION,
    MixturePlan,
    PlannedSource,
    SplitPlan,
    array_path,
    check_token_file,
    order_digest,
    relative_uri,
)
from storage.packing import packed_order, whole_documents
from storage.sample_order import piece_order, source_order
from storage.token_catalog import TokenSource, document_rows_path, token_prefix
from storage.tokens import TokenFile
from storage.uri import join


def write_split(
    out: str,
    split: str,
    plan: MixturePlan,
    binarized: str,
    sources: Sequence[TokenSource],
    weights: Sequence[float],
    *,
    num_samples: int,
    fills: Sequence[float] | None = None,
    continued: Continuation | None = None,
) -> tuple[SplitPlan, list[FileEntry]]:
    """Compute and store the order of one split.

    Args:
        plan: sequence length, seed, packing and attention.
        binarized: artifact that holds the token files of `sources`.
        weights: of each source, in tokens; need not add up to 1.
        num_samples: counted from the run's beginning.
        fills: of each source, the part of its samples that is not padding; a source with more padding gives more
            samples, so that the weights hold in tokens. All 1 where none are given.

    Raises:
        ValueError: a source without tokens, or token files that are not those the catalog describes.
    """
    first = continued.samples if continued else 0
    here = num_samples - first
    shares = normalised([weight / fill for weight, fill in zip(weights, fills or repeat(1.0), strict=False)])
    chosen, positions = blend(shares, here)
    files = [
        _write_array(out, array_path(split, "source"), chosen),
        _write_array(out, array_path(split, "sample"), positions),
    ]
    planned = []
    for number, (source, weight, share) in enumerate(zip(sources, normalised(weights), shares, strict=True)):
        taken = int(np.count_nonzero(chosen == number))
        asked = samples_to_build(here, share)
        assert taken <= asked, f"{source.name}: the blend takes {taken} samples, {asked} are built"
        history = continued.histories.get(source.name) if continued else None
        phase = continued.phase if continued else 0
        arrays = _source_order(split, plan, binarized, source, asked, history, phase)
        files += [
            _write_array(out, array_path(split, f"{source.name}.{name}"), array) for name, array in arrays.items()
        ]
        targets = taken * plan.seq_len
        if "targets" in arrays:
            targets = int(arrays["targets"][arrays["shuffle"][:taken]].sum(dtype=np.int64))
        described = source.splits[split]
        planned.append(
            PlannedSource(
                name=source.name,
                language=source.language,
                weight=weight,
                share=share,
                tokens=relative_uri(out, join(binarized, token_prefix(source.name, split))),
                rows=relative_uri(out, join(binarized, document_rows_path(source.name, split))),
                documents=described.documents,
                num_tokens=described.tokens,
                bin_sha256=described.bin_sha256,
                idx_sha256=described.idx_sha256,
                samples=taken,
                targets=targets,
                epochs=round(targets / described.tokens, 6),
                consumed=history.num_tokens if history else 0,
                consumed_sha256=history.sha256 if history else None,
            )
        )
    continues = continued.digest if continued else None
    digest = order_digest(plan, num_samples, planned, first, continues)
    deviation = round(largest_deviation(chosen, shares), 6)
    return SplitPlan(num_samples, digest, deviation, planned, first, continues), files


def _source_order(
    split: str,
    plan: MixturePlan,
    binarized: str,
    source: TokenSource,
    num_samples: int,
    history: History | None,
    phase: int,
) -> dict[str, np.ndarray]:
    """The arrays of one source's order, by name (`storage.stored_order`)."""
    described = source.splits[split]
    prefix = join(binarized, token_prefix(source.name, split))
    with TokenFile.open(prefix) as tokens:
        check_token_file(prefix, tokens, described.documents, described.tokens)
        if described.tokens == 0:
            raise ValueError(
                f"source {source.name}, {split}: {described.documents} documents with no token cannot fill "
                f"{num_samples} samples of {plan.seq_len}"
            )
        starts = tokens.document_starts
    if history is None and plan.packing == "concatenate":
        stream = source_order(np.diff(starts).astype(np.int32), num_samples, plan.seq_len, plan.seed)
        return {"documents": stream.document_index, "samples": stream.sample_index, "shuffle": stream.shuffle_index}
    epochs: Iterator[np.ndarray] = (
        epochs_left(history.ranges, starts) if history else repeat(whole_documents(np.diff(starts)))
    )
    if plan.packing == "concatenate":
        pieces = piece_order(epochs, num_samples, plan.seq_len, plan.seed, phase)
        return {"pieces": pieces.pieces, "samples": pieces.sample_index, "shuffle": pieces.shuffle_index}
    packed = packed_order(epochs, num_samples, plan.seq_len, plan.seed, phase)
    return {
        "pieces": packed.pieces,
        "bounds": packed.bounds,
        "shuffle": packed.shuffle_index,
        "targets": packed.targets,
    }


def _write_array(out: str, path: str, values: np.ndarray) -> FileEntry:
    with new_file(out, path) as file:
        np.lib.format.write_array(file, values, allow_pickle=False)
    return FileEntry.of(path, file)


def write_plan(out: str, plan: MixturePlan) -> FileEntry:
    content = {"schema_version": SCHEMA_VERSION, **asdict(plan)}
    with new_file(out, PLAN) as file:
        file.write(json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")
    return FileEntry.of(PLAN, file)

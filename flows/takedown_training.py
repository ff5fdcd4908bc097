"""Which training steps read pages that were taken down, and which checkpoints and models have therefore seen them.

In: what was found below the root, and for each mixture the samples that read it. Step n (from 1) reads the
`global_batch` samples after those of the steps before (fewer while a batch ramp lasts), whatever the layout, so samples
are steps. A training whose mixture continues an earlier one has read that, too, up to where its own begins.

    rows = trainings(inventory("runs"), {"demo-0123456789ab": reading(mixture, found)}, kept_runs("runs"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from flows.inventory import Artifact
from flows.records import RunRecord, references
from flows.takedown_search import Document, Reading
from storage.checkpoints import FOLDER, saved_steps
from storage.consumption import Phase, read_phases
from storage.uri import join
from tasks.train.launch import work_folder
from trainer.batch_ramp import BatchRamp, levels
from trainer.skipped import read_skipped


def trainings(
    artifacts: Sequence[Artifact], readings: Mapping[str, Reading], records: Sequence[RunRecord]
) -> list[dict[str, Any]]:
    """A row for every training, finished or not, that has read a mixture of `readings` (by folder)."""
    mixtures = {a.manifest.fingerprint: a for a in artifacts if a.stage == "mix" and a.manifest}
    planned = {
        record.stages["train"].artifact: record.stages["mix"].fingerprint
        for record in records
        if {"train", "mix"} <= record.stages.keys()
    }
    referenced = references(records)
    rows = []
    for artifact in artifacts:
        if artifact.stage != "train" or artifact.problem:
            continue
        fingerprint = artifact.manifest.inputs["mix"] if artifact.manifest else planned.get(artifact.folder, "")
        mixture = mixtures.get(fingerprint)
        if mixture is None:
            continue
        read = _read_in_all(mixture, readings)
        unknown = _not_traced(mixture, artifacts)
        if read is not None or unknown:
            row = _training(artifact, mixture, read or _nothing(), _exports(artifact, artifacts))
            rows.append(row | {"not_traced": unknown, "runs": referenced.get(("train", artifact.folder), [])})
    return rows


def _earlier(mixture: Artifact) -> list[Phase]:
    """The phases of the run before a mixture; none where it continues no other."""
    assert mixture.manifest is not None, "only complete mixtures are read"
    return read_phases(mixture.uri)[:-1] if "continued_samples" in mixture.manifest.literals else []


def _read_in_all(mixture: Artifact, readings: Mapping[str, Reading]) -> Reading | None:
    """What the mixture reads and those before it read; None where none of them is known to read anything."""
    parts = []
    for phase in _earlier(mixture):
        if (read := readings.get(phase.mixture)) is not None:
            here = (read.samples >= phase.first_sample) & (read.samples < phase.end_sample)
            parts.append(Reading(read.samples[here], read.documents[here], read.tokens[here]))
    parts += [readings[mixture.folder]] if mixture.folder in readings else []
    if not parts:
        return None
    columns = zip(*((read.samples, read.documents, read.tokens) for read in parts), strict=True)
    return Reading(*(np.concatenate(column) for column in columns))


def _nothing() -> Reading:
    return Reading(*np.empty((3, 0), np.int64))


def _steps(samples: np.ndarray, mixture: Artifact) -> np.ndarray:
    """The step that reads each sample."""
    assert mixture.manifest is not None, "only complete mixtures are read"
    literals = mixture.manifest.literals
    ramp = BatchRamp(**literals["batch_ramp"]) if "batch_ramp" in literals else None
    known = levels(ramp, int(literals["global_batch"]))
    batches, steps, firsts = np.array([[level.batch, level.first_step, level.first_sample] for level in known]).T
    level = np.searchsorted(firsts, samples, side="right") - 1
    return steps[level] + (samples - firsts[level]) // batches[level]


def _not_traced(mixture: Artifact, artifacts: Sequence[Artifact]) -> list[dict[str, Any]]:
    """Samples that the run has read of mixtures that are not among the artifacts: what they read is not known."""
    there = {artifact.folder for artifact in artifacts if artifact.stage == "mix" and artifact.manifest}
    gone = [
        (phase.mixture, np.array([phase.first_sample, phase.end_sample - 1]))
        for phase in _earlier(mixture)
        if phase.mixture not in there and phase.end_sample > phase.first_sample
    ]
    return [
        {"mixture": folder, "samples": samples.tolist(), "steps": _steps(samples, mixture).tolist()}
        for folder, samples in gone
    ]


def _exports(training: Artifact, artifacts: Sequence[Artifact]) -> dict[str, int | None]:
    """Models exported from a training: folder -> step, None for its last."""
    if training.manifest is None:
        return {}
    return {
        artifact.folder: artifact.manifest.literals.get("step")
        for artifact in artifacts
        if artifact.stage == "export"
        and artifact.manifest
        and artifact.manifest.inputs["train"] == training.manifest.fingerprint
    }


def _training(
    training: Artifact, mixture: Artifact, read: Reading, exports: Mapping[str, int | None]
) -> dict[str, Any]:
    assert mixture.manifest is not None, "only complete mixtures are read"
    places = {join(training.uri, FOLDER), join(str(work_folder(training.uri)), FOLDER)}
    saved = sorted({step for place in places for step in saved_steps(place)})
    last = training.manifest.counts["steps"] if training.manifest else max(saved, default=0)
    steps = _steps(read.samples, mixture)

    def by(step: int) -> dict[str, int]:
        """What had been read when `step` was done."""
        until = steps <= step
        documents = len(np.unique(read.documents[until]))
        return {"step": step, "documents": documents, "tokens": int(read.tokens[until].sum())}

    return {
        "artifact": training.folder,
        "mixture": mixture.folder,
        "finished": training.manifest is not None,
        "steps": last,
        "global_batch": int(mixture.manifest.literals["global_batch"]),
        "batch_ramp": "batch_ramp" in mixture.manifest.literals,
        "samples": len(np.unique(read.samples[steps <= last])),
        "left_out": _left_out(training, np.unique(read.samples[steps <= last])),
        "steps_that_read": ranges(steps[steps <= last]),
        "read": by(last),
        "checkpoints": [by(step) for step in saved],
        "models": [{"artifact": folder} | by(last if step is None else step) for folder, step in exports.items()],
    }


def _left_out(training: Artifact, samples: np.ndarray) -> int:
    """How many of these samples the training's spike guard left out, so that they are in no weight."""
    out = np.zeros(len(samples), bool)
    for place in {training.uri, str(work_folder(training.uri))}:
        for row in read_skipped(place):
            out |= (samples >= row.first_sample) & (samples <= row.last_sample)
    return int(out.sum())


def samples_of(documents: Sequence[Document], readings: Mapping[str, Reading]) -> list[dict[str, list[list[int]]]]:
    """For each of the first documents found: mixture's folder -> ranges of the samples that read it."""
    rows: list[dict[str, list[list[int]]]] = [{} for _ in documents]
    for folder, read in readings.items():
        order = np.argsort(read.documents, kind="stable")
        borders = np.searchsorted(read.documents[order], np.arange(len(documents) + 1))
        for row, (first, end) in zip(rows, pairwise(borders), strict=True):
            if end > first:
                row[folder] = ranges(read.samples[order[first:end]])
    return rows


def ranges(numbers: np.ndarray) -> list[list[int]]:
    """First and last of each run of consecutive numbers, in order: 3, 4, 4, 5, 9 give [[3, 5], [9, 9]]."""
    distinct = np.unique(numbers)
    if not len(distinct):
        return []
    breaks = np.flatnonzero(np.diff(distinct) > 1)
    firsts = distinct[np.concatenate(([0], breaks + 1))]
    lasts = distinct[np.concatenate((breaks, [len(distinct) - 1]))]
    return [[int(first), int(last)] for first, last in zip(firsts, lasts, strict=True)]

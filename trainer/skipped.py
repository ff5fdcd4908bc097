"""`skipped.jsonl`: which samples of the mixture left no trace in the weights, and why.

A row for each step that the spike guard left out: its samples were read, but no update was made of them. A rewind takes
back all updates since the last checkpoint as well, so its row names their samples too; ranges of rows may overlap. Rows
after the step that a run resumes from are cut, as it will write them again. Nothing here imports torch.

    append_skipped(out, SkippedSamples(step=412, first_sample=3288, last_sample=3295, ...))
    for row in read_skipped("runs/train/demo-0123456789ab"): ...
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from storage.uri import join
from trainer.rows import SKIPPED, read_rows


@dataclass(frozen=True)
class SkippedSamples:
    """Samples `first_sample` to `last_sample`, both included, that were left out in step `step`.

    Attributes:
        num_steps: how many steps they were: 1, or with a rewind all since the checkpoint.
        action: skip, or rewind.
        loss, grad_norm: of step `step`; None where they were not finite.
        usual: what they had been, by name.
    """

    step: int
    first_sample: int
    last_sample: int
    num_steps: int
    action: str
    reason: str
    loss: float | None = None
    grad_norm: float | None = None
    usual: Mapping[str, float] = field(default_factory=dict)


def append_skipped(out: Path, row: SkippedSamples) -> None:
    """Add a row; it is on its way to the disk on return."""
    values = asdict(row)
    for name in ("loss", "grad_norm"):  # JSON has no NaN
        if values[name] is not None and not math.isfinite(values[name]):
            values[name] = None
    with open(out / SKIPPED, "a", encoding="utf-8") as file:
        file.write(json.dumps(values, allow_nan=False) + "\n")


def read_skipped(training: str) -> list[SkippedSamples]:
    """The rows of a training's folder or artifact, none where it left nothing out."""
    return [SkippedSamples(**row) for row in read_rows(join(training, SKIPPED))]

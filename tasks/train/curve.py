"""The learning curve as a picture, drawn while training runs.

In: the rows of metrics.jsonl and validation.jsonl. Out: a PNG, dots for single steps, a line for the running mean and
diamonds for held-out text, on white so that it can be read on a dark page too.

    png = draw_curve(read_rows(folder / "metrics.jsonl"), read_rows(folder / "validation.jsonl"), 12_000)
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]
MAX_POINTS = 2_000  # more than the picture has columns


def draw_curve(rows: Rows, validation: Rows, num_steps: int) -> bytes:
    """Bits per byte of each language (its loss, where bytes per token are unknown) and the learning rate over steps.

    Args:
        rows: of metrics.jsonl, at least one.
        validation: of validation.jsonl, whose step 0 is before the first one.
        num_steps: where the step axis ends.
    """
    from matplotlib.figure import Figure

    rows = thinned(rows)
    measure = "bits_per_byte" if any(row["bits_per_byte"] for row in rows) else "language_loss"
    steps = [row["step"] for row in rows]
    figure = Figure(figsize=(8, 5), dpi=90, layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for language in sorted({name for row in rows for name in row[measure]}):
        known = [(row["step"], row[measure][language]) for row in rows if row[measure].get(language) is not None]
        at, values = zip(*known, strict=True)
        dots = above.plot(at, values, linestyle="none", marker=".", markersize=4, alpha=0.35)[0]
        mean = _running_mean(values, max(1, len(values) // 40))
        above.plot(at, mean, color=dots.get_color(), label=f"{language} {mean[-1]:.3f}")
        if held_out := _held_out(validation, language, measure):
            at, values = zip(*held_out, strict=True)
            label = f"{language}, held out {values[-1]:.3f}"
            above.plot(at, values, color=dots.get_color(), linestyle=":", marker="D", markersize=5, label=label)
    above.set_ylabel("bits per byte" if measure == "bits_per_byte" else "loss, nats per token")
    above.set_title(f"step {steps[-1]:,} of {num_steps:,}, {rows[-1]['consumed_tokens']:,} tokens", loc="left")
    above.legend(frameon=False)
    above.grid(alpha=0.3)
    below.plot(steps, [row["lr"] for row in rows], color="gray")
    below.set_ylabel("learning rate")
    below.set_ylim(bottom=0)
    below.set_xlabel("optimizer step")
    below.set_xlim(0, max(num_steps, steps[-1]))
    below.grid(alpha=0.3)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _held_out(validation: Rows, language: str, measure: str) -> list[tuple[int, float]]:
    """(step, value) of a language's validations in the measure that is drawn."""
    column = "bits_per_byte" if measure == "bits_per_byte" else "loss"
    found = [(row["step"], row["languages"].get(language, {}).get(column)) for row in validation]
    return [(step, value) for step, value in found if value is not None]


def thinned(rows: Rows) -> list[Mapping[str, Any]]:
    """At most about `MAX_POINTS` of the rows, evenly, and always the last."""
    every = len(rows) // MAX_POINTS + 1
    return [*rows[:-1][::every], rows[-1]]


def _running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and the `window - 1` before it, of fewer at the beginning."""
    total, means = 0.0, []
    for number, value in enumerate(values):
        total += value - (values[number - window] if number >= window else 0.0)
        means.append(total / min(number + 1, window))
    return means

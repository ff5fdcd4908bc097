"""The report's training sections: the mixture, learning curve and speed, and what was proven before the first step.

In: the manifests of binarize, mix, train and export, and the trainer's `metrics.jsonl`, `validation.jsonl` and
`start_checks.json`. Out: JSON-like facts. A long run's curve is thinned to at most `MAX_POINTS` points, each the mean
of its stretch of steps.

    facts = training(made)
    facts["curve"]["losses"]["ja"], facts["curve"]["measures"]["tokens_per_second"]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from posixpath import basename
from statistics import fmean, median
from typing import Any

from tasks.report.artifacts import RunArtifacts
from tasks.report.formats import scientific, words
from trainer.rows import METRICS, VALIDATION

MAX_POINTS = 400
START_CHECKS = "start_checks.json"
_SETTINGS = (
    "seq_len", "global_batch", "micro_batch", "lr", "min_lr", "warmup_steps", "schedule", "dtype", "beta1", "beta2",
    "weight_decay", "clip_norm", "parallel", "launcher",
)  # fmt: skip
# What binarize says of a source besides its splits.
_HELD = ("language", "read", "empty", "duplicate", "held_out_elsewhere", "taken_down")
_SPLIT = ("num_samples", "first_sample", "digest", "max_deviation_samples", "padding")
# Columns of metrics.jsonl that are drawn over the steps beside the losses.
MEASURES = ("lr", "tokens_per_second", "memory_gib", "grad_norm")

Rows = Sequence[Mapping[str, Any]]


def mixture(made: RunArtifacts) -> dict[str, Any]:
    """Asked and achieved shares, tokens and epochs per source, how documents are packed, what the token files hold."""
    splits = made.detail("mix", "splits") or {}
    held = {source.get("name"): source for source in made.detail("binarize", "sources") or []}
    sources = []
    for name, source in held.items():
        row = {key: source.get(key) for key in _HELD}
        for split, described in (source.get("splits") or {}).items():
            row |= {f"{split}_{what}": described.get(what) for what in ("documents", "tokens", "bytes")}
        tokens, size = row.get("train_tokens"), row.get("train_bytes")
        sources.append({"name": name, **row, "bytes_per_token": size / tokens if tokens and size else None})
    return {
        "tokens": made.count("mix", "tokens"),
        "samples": made.count("mix", "samples"),
        "validation_tokens": made.count("mix", "validation_tokens"),
        "seq_len": made.detail("mix", "seq_len"),
        "attention": made.detail("mix", "attention"),
        "packing": made.detail("mix", "packing"),
        "packings": _packings(made),
        "splits": [
            {"name": name, **{key: split.get(key) for key in _SPLIT},
             "sources": [_planned(source) for source in split.get("sources") or []]}
            for name, split in splits.items()
        ],
        "sources": sources,
        "vocab_size": made.detail("binarize", "vocab_size"),
        "dtype": made.detail("binarize", "dtype"),
    }  # fmt: skip


def _packings(made: RunArtifacts) -> list[dict[str, Any]]:
    """What either way of packing does to the documents of each source."""
    packings = made.detail("mix", "packings") or {}
    rows: dict[str, dict[str, Any]] = {}
    for packing, of in packings.items():
        for name, facts in of.items():
            row = rows.setdefault(name, {"name": name})
            row |= {f"{packing}_{what}": value for what, value in facts.items()}
    return list(rows.values())


def _planned(source: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: source.get(key)
        for key in ("name", "language", "weight", "achieved", "tokens", "available_tokens", "epochs", "padding")
    }


def training(made: RunArtifacts) -> dict[str, Any]:
    """Counts, settings, speed, losses at both ends, on held-out text too, and the curves."""
    rows = [row for row in made.json_lines("train", METRICS) if row.get("step") is not None]
    manifest = made.manifests.get("train")
    curve = learning_curve(rows)
    edge = max(1, len(rows) // 20)
    settings = {**manifest.literals, **manifest.recorded} if manifest else {}
    return {
        **{name: made.count("train", name) for name in ("steps", "tokens", "samples")},
        "seconds": manifest.seconds if manifest else None,
        "tokens_per_second": _median(rows, "tokens_per_second"),
        "step_seconds": _median(rows, "step_seconds"),
        "grad_norm": _median(rows, "grad_norm"),
        "memory_gib": max((row["memory_gib"] for row in rows if row.get("memory_gib") is not None), default=None),
        "tflops": {
            name: _median([row.get("tflops") or {} for row in rows], name) for name in (rows[-1].get("tflops") or {})
        }
        if rows
        else {},
        "mfu": _median(rows, "mfu"),
        "peak_tflops": _peak(rows),
        "skipped_steps": rows[-1].get("skipped_steps") if rows else None,
        "restarts": made.detail("train", "restarts"),
        "layout": made.detail("train", "layout"),
        "edge_steps": edge,
        "losses": [
            {
                "language": name,
                **_ends("loss", _inside(rows, "language_loss", name), edge),
                **_ends("bits_per_byte", _inside(rows, "bits_per_byte", name), edge),
            }
            for name in curve["losses"]
        ],
        "validation": validation(made.json_lines("train", VALIDATION)),
        "curve": curve,
        "settings": [
            {"label": words(name), "value": _setting(settings[name])} for name in _SETTINGS if name in settings
        ],
    }


def learning_curve(rows: Rows) -> dict[str, Any]:
    """Steps, losses, TFLOPS and `MEASURES`, thinned; a value that no step of a stretch has is None."""
    names = {name for row in rows for name in row.get("language_loss") or {}}
    conventions = dict.fromkeys(name for row in rows for name in row.get("tflops") or {})
    stretch = max(1, math.ceil(len(rows) / MAX_POINTS))
    parts = [rows[start : start + stretch] for start in range(0, len(rows), stretch)]
    return {
        "steps_per_point": stretch,
        "steps": [part[-1]["step"] for part in parts],
        "losses": {
            name: [_mean(_inside(part, "language_loss", name)) for part in parts]
            for name in sorted(names, key=lambda name: (name != "ja", name))
        },
        "tflops": {name: [_mean(_inside(part, "tflops", name)) for part in parts] for name in conventions},
        "measures": {
            name: [_mean([row[name] for row in part if row.get(name) is not None]) for part in parts]
            for name in MEASURES
        },
    }


def validation(rows: Rows) -> dict[str, Any]:
    """Held-out losses over the steps, and per language before the first step and at the end.

    `measure` is bits per byte where they are known for every language, else the loss in nats per token.
    """
    found = [(row["step"], row.get("languages") or {}) for row in rows if row.get("step") is not None]
    names = sorted({name for _, of in found for name in of}, key=lambda name: (name != "ja", name))
    known = all("bits_per_byte" in result for _, of in found for result in of.values())
    measure = "bits_per_byte" if known else "loss"
    values = {name: [(of.get(name) or {}).get(measure) for _, of in found] for name in names}
    return {
        "measure": measure,
        "steps": [step for step, _ in found],
        "values": values,
        "languages": [
            {
                "language": name,
                **{
                    key: value
                    for column in ("loss", "bits_per_byte")
                    for key, value in _ends(column, _of_language(found, name, column), 1).items()
                },
                "tokens": found[-1][1].get(name, {}).get("tokens"),
            }
            for name in names
        ],
    }


def _of_language(found: Sequence[tuple[int, Mapping[str, Any]]], name: str, column: str) -> list[float]:
    values = [(of.get(name) or {}).get(column) for _, of in found]
    return [value for value in values if value is not None]


def _peak(rows: Rows) -> float | None:
    """What MFU is a share of."""
    rates = [(row.get("tflops") or {}).get("model_causal") for row in rows[-1:] if row.get("mfu")]
    return rates[0] / rows[-1]["mfu"] if rates and rates[0] else None


def start_checks(made: RunArtifacts) -> dict[str, Any]:
    """What was proven before the first step and after export; `losses` has a row per language that was compared."""
    found = made.json("train", START_CHECKS) or {}
    names = ("tokens", "base_loss", "masked_loss", "unmasked_loss", "unmasked_rise")
    return {
        **{name: found.get(name) for name in ("base_vocab", "vocab", "tolerance")},
        "continued": _continued(made),
        "losses": [
            {"language": language, **{name: losses.get(name) for name in names}}
            for language, losses in (found.get("languages") or {}).items()
        ],
        "max_logit_difference": made.detail("export", "max_logit_difference"),
        "export_dtype": made.detail("export", "dtype"),
        "parameters": made.count("export", "parameters"),
    }


def _continued(made: RunArtifacts) -> dict[str, Any] | None:
    """The training that this one went on from, and its step; None where it began a run."""
    manifest = made.manifests.get("train")
    continued = manifest.recorded.get("continues") if manifest else None
    return {"training": basename(continued["training"]), "step": continued["step"]} if continued else None


def _inside(rows: Rows, column: str, name: str) -> list[float]:
    """What the steps hold under a name (a language, a convention), without those in which it did not occur."""
    values = [(row.get(column) or {}).get(name) for row in rows]
    return [value for value in values if value is not None]


def _ends(name: str, values: Sequence[float], edge: int) -> dict[str, float | None]:
    first, last = _mean(values[:edge]), _mean(values[-edge:])
    change = last / first - 1 if first and last is not None else None
    return {f"{name}_first": first, f"{name}_last": last, f"{name}_change": change}


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _median(rows: Rows, column: str) -> float | None:
    values = [row[column] for row in rows if row.get(column) is not None]
    return median(values) if values else None


def _setting(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {part}" for name, part in value.items())
    return scientific(value) if isinstance(value, float) and 0 < abs(value) < 1e-3 else str(value)

"""What a sweep's variants are: settings that differ, vocabulary, speed, cost, and which artifacts they share.

In: the resolved run files and the manifests of all variants. Out: JSON-like facts.

    changed_fields(variants)[0]  # {"field": "expand.num_candidates", "values": {"16k": 16000, "32k": 32000}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.report.artifacts import RunArtifacts
from tasks.stage import STAGES

if TYPE_CHECKING:
    from tasks.report.comparison import VariantRun

# Labels, not settings.
_LABELS = {"variant"}


def changed_fields(variants: Sequence[VariantRun]) -> list[dict[str, Any]]:
    """The fields of the run file in which variants differ, each with the variants' values; None for one without it."""
    flat = {variant.name: dict(_flatten(variant.run)) for variant in variants}
    names = dict.fromkeys(name for fields in flat.values() for name in fields if name not in _LABELS)
    values = {name: {variant: fields.get(name) for variant, fields in flat.items()} for name in names}
    return [{"field": name, "values": found} for name, found in values.items() if _differ(list(found.values()))]


def variant_facts(variant: VariantRun, made: RunArtifacts) -> dict[str, Any]:
    """One variant in figures; None for what it has not come to."""
    trained = made.manifests.get("train")
    own = sum(manifest.seconds for stage, manifest in made.manifests.items() if not variant.shared.get(stage))
    characters = made.detail("expand", "fertility", "expanded", "characters_per_token")
    return {
        "name": variant.name,
        "steps": made.count("train", "steps"),
        "tokens": made.count("train", "tokens"),
        "vocab": made.count("expand", "vocab"),
        "new_pieces": made.count("expand", "new_pieces"),
        "tokens_per_character": 1 / characters if characters else None,
        "bytes_read": _bytes_read(variant, made),
        "parameters": made.count("export", "parameters"),
        "tokens_per_second": made.detail("train", "tokens_per_second"),
        "memory_gib": made.detail("train", "memory_gib"),
        "train_seconds": trained.seconds if trained else None,
        "flops": _flops(made),
        "own_seconds": own,
        "shared_seconds": sum(manifest.seconds for manifest in made.manifests.values()) - own or None,
        "report": _link(variant.artifacts["report"]) if "report" in made.manifests else None,
    }


def stage_matrix(variants: Sequence[VariantRun], made: Mapping[str, RunArtifacts]) -> list[dict[str, Any]]:
    """A row per stage: for each variant the time its artifact took, and the earlier variant it shares it with."""
    rows = []
    for stage in STAGES:
        cells = {}
        for variant in variants:
            manifest = made[variant.name].manifests.get(stage)
            seconds = manifest.seconds if manifest else None
            cells[variant.name] = {"shared": variant.shared.get(stage), "seconds": seconds}
        rows.append({"stage": stage, "cells": cells})
    return rows


def totals(variants: Sequence[Mapping[str, Any]], stages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What sharing saved: artifacts that are there for some variant, how many of them are shared, and both times.

    Args:
        variants: of `variant_facts`.
        stages: of `stage_matrix`.
    """
    cells = [cell for row in stages for cell in row["cells"].values() if cell["seconds"] is not None]
    return {
        "artifacts": len(cells),
        "shared_artifacts": sum(cell["shared"] is not None for cell in cells),
        "made_seconds": sum(variant["own_seconds"] for variant in variants),
        "saved_seconds": sum(variant["shared_seconds"] or 0 for variant in variants),
    }


def _bytes_read(variant: VariantRun, made: RunArtifacts) -> dict[str, float]:
    """language -> UTF-8 bytes of text that training read: a larger vocabulary reads more of it in as many tokens."""
    found: dict[str, float] = {}
    for source in variant.run.get("sources", ()):
        name, code = source["name"], source["language"]
        read = made.count("mix", f"tokens_{name}")
        tokens, size = (made.count("binarize", f"{what}_{name}_train") for what in ("tokens", "bytes"))
        if read is not None and tokens and size is not None:
            found[code] = found.get(code, 0.0) + read * size / tokens
    return found


def _flops(made: RunArtifacts) -> float | None:
    """Operations of the whole training, by the convention `model_causal`: every step costs the same."""
    rows = made.json_lines("train", "metrics.jsonl")
    steps, ranks = made.count("train", "steps"), made.detail("train", "layout", "ranks")
    if not rows or steps is None or ranks is None or "model_causal" not in (rows[-1].get("tflops") or {}):
        return None
    return rows[-1]["tflops"]["model_causal"] * 1e12 * rows[-1]["step_seconds"] * ranks * steps


def _link(artifact: str) -> str:
    """The report of a variant from the sweep's folder, `<root>/sweeps/<name>/`."""
    return "/".join(["..", "..", *artifact.rsplit("/", 2)[1:], "report.html"])


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every field; entries of a list that have names are called by them."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and value and all(isinstance(entry, Mapping) and "name" in entry for entry in value):
        for entry in value:
            fields = {key: inner for key, inner in entry.items() if key != "name"}
            yield from _flatten(fields, f"{prefix}.{entry['name']}")
    else:
        yield prefix, value


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values[1:])

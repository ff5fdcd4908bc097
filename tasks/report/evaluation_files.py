"""What an evaluation left: score rows, what each benchmark is, examples, prompts, contamination.

In: an evaluate artifact, or the folder of `hibari evaluate model`, which has the same files with or without a manifest.
Out: their rows; none where there is no such file.

    files = EvaluationFiles.read("runs/evaluate/demo-0123456789ab")
    files.scores[0]["metric"], files.about("jsquad", "strict")["num_shots"]
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from storage.artifact import Manifest, read_manifest
from storage.uri import exists, join, read_bytes

Row = Mapping[str, Any]
NO_BENCHMARK = ("bits", "probe")


@dataclass(frozen=True)
class EvaluationFiles:
    """The files of one evaluation; `manifest` where they are an artifact."""

    uri: str
    manifest: Manifest | None = None

    @classmethod
    def read(cls, uri: str) -> EvaluationFiles:
        """Raises:
        ValueError: nothing was scored there, or a manifest of another schema version.
        """
        found = cls(uri, read_manifest(uri))
        if not exists(join(uri, "scores.jsonl")):
            raise ValueError(
                f"no scores.jsonl in {uri}; expected what `hibari evaluate` writes: evaluate a model first"
            )
        return found

    @cached_property
    def scores(self) -> list[Row]:
        """Every score row over all items; those of clean and dirty items are in `subsets`."""
        return [row for row in self._scores if row.get("subset", "all") == "all"]

    @cached_property
    def subsets(self) -> list[Row]:
        """Score rows over the items that are, and those that are not, in the training corpus."""
        return [row for row in self._scores if row.get("subset", "all") != "all"]

    @cached_property
    def models(self) -> list[str]:
        """In the order they were scored."""
        return list(dict.fromkeys(row["model"] for row in self.scores))

    def about(self, task: str, profile: str) -> Row:
        """What `benchmarks.json` says of a benchmark in a profile; empty where it says nothing."""
        found: Row = self._benchmarks.get(task, {}).get(profile, {})
        return found

    def examples(self, model: str, task: str, profile: str) -> list[Row]:
        """One row per item."""
        return self._lines(f"examples/{model}-{task}-{profile}.jsonl")

    def prompts(self, model: str, task: str, profile: str) -> list[Row]:
        """Some items' prompts in full."""
        return self._lines(f"prompts/{model}-{task}-{profile}.jsonl")

    @cached_property
    def diagnostics(self) -> list[Row]:
        """What was found of the outputs of each model, task and profile: `counts` by flag, `warnings` in words."""
        return list(self._json("diagnostics.json") or ())

    @cached_property
    def not_scored(self) -> list[Row]:
        """`task`, `profile` and `label` of what was skipped, because its prompt or shot file was not there."""
        return list(self._json("not_scored.json") or ())

    def time(self, model: str, task: str, profile: str) -> Row:
        """`seconds` that a model took for a benchmark, and whether it was `resumed`; empty where nobody kept it.

        From the stage's own record: times are none of the files that the same evaluation gives again.
        """
        record = self._json(f"_shards/{model}@{task}-{profile}.json") or {}
        found: Row = record.get("details", {})
        return found

    @cached_property
    def _scores(self) -> list[Row]:
        return self._lines("scores.jsonl")

    @cached_property
    def _benchmarks(self) -> Mapping[str, Any]:
        return self._json("benchmarks.json") or {}

    def _json(self, path: str) -> Any:
        uri = join(self.uri, path)
        return json.loads(read_bytes(uri), parse_constant=lambda _: None) if exists(uri) else None

    def _lines(self, path: str) -> list[Row]:
        uri = join(self.uri, path)
        lines = read_bytes(uri).splitlines() if exists(uri) else []
        return [json.loads(line, parse_constant=lambda _: None) for line in lines if line.strip()]


def benchmark_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows of benchmarks over all their items, averages of whole languages included; the probe is no benchmark."""
    return [
        row
        for row in rows
        if row.get("kind") is not None
        and row["kind"] not in NO_BENCHMARK
        and row.get("category") is None
        and row.get("subset", "all") == "all"
        and row.get("value") is not None
    ]


def measure_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows of bits per byte and the probe, over all examples; evaluations of old have no others."""
    return [row for row in rows if row.get("kind") in (None, *NO_BENCHMARK) and row.get("subset", "all") == "all"]


def profiles(rows: Sequence[Row]) -> Iterator[str]:
    """The profiles of these rows, in their order."""
    yield from dict.fromkeys(row["profile"] for row in rows)

"""What the report reads: the manifests of a run's stages, and the data files that they name.

A stage without an artifact, or a manifest without a count, is answered with None: the page then shows a dash.

    made = RunArtifacts.read({"curate": "runs/curate/demo-0123456789ab"})
    made.count("curate", "records")  # 19265
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from storage.artifact import Manifest, read_manifest
from storage.uri import join, read_bytes


@dataclass(frozen=True)
class RunArtifacts:
    """A run's artifacts by stage: where they are, and the manifests of those that are complete."""

    uris: Mapping[str, str]
    manifests: Mapping[str, Manifest]

    @classmethod
    def read(cls, uris: Mapping[str, str]) -> RunArtifacts:
        """Read every manifest.

        Raises:
            ValueError: a manifest of another schema version.
        """
        found = {stage: read_manifest(uri) for stage, uri in uris.items()}
        return cls(uris, {stage: manifest for stage, manifest in found.items() if manifest is not None})

    def count(self, stage: str, name: str) -> int | None:
        """One count of a stage."""
        return self.counts(stage).get(name)

    def counts(self, stage: str) -> Mapping[str, int]:
        """All counts of a stage."""
        manifest = self.manifests.get(stage)
        return manifest.counts if manifest else {}

    def detail(self, stage: str, *keys: str) -> Any:
        """What a stage's `details` hold below these keys."""
        manifest = self.manifests.get(stage)
        found: Any = manifest.details if manifest else None
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def paths(self, stage: str, prefix: str) -> list[str]:
        """Relative paths of a stage's data files that begin so, sorted."""
        manifest = self.manifests.get(stage)
        return sorted(file.path for file in manifest.files if file.path.startswith(prefix)) if manifest else []

    def file(self, stage: str, path: str) -> bytes | None:
        """A data file, where the stage's manifest names it."""
        manifest = self.manifests.get(stage)
        if manifest is None or all(entry.path != path for entry in manifest.files):
            return None
        return read_bytes(join(self.uris[stage], path))

    def json(self, stage: str, path: str) -> Any:
        """A JSON data file's value."""
        data = self.file(stage, path)
        return None if data is None else _parse(data)

    def json_lines(self, stage: str, path: str) -> list[dict[str, Any]]:
        """A JSONL data file's rows; none where there is no such file."""
        data = self.file(stage, path) or b""
        return [_parse(line) for line in data.splitlines() if line.strip()]


def _parse(data: bytes) -> Any:
    """JSON, in which a NaN or an infinity is as good as unknown."""
    return json.loads(data, parse_constant=lambda _: None)

"""What lies below a root: every artifact of ours, and what only looks like one.

An artifact's folder is `<root>/<stage>/<name>-<fingerprint12>`, with `.again` behind it where a forced rerun left its
result. A folder of that shape without a manifest is an artifact that was begun. One whose manifest names another stage
or fingerprint, or cannot be read, is somebody else's or of another version: it has a `problem` and is left alone.

    for found in inventory("runs"):
        print(found.stage, found.folder, found.manifest is not None)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flows.config import ConfigError
from storage.artifact import MANIFEST, Manifest
from storage.uri import filesystem, join, read_bytes
from tasks.stage import STAGES

AGAIN = ".again"
LEASE = ".lease"
Key = tuple[str, str]  # stage, folder
_ARTIFACT = re.compile(r"[a-z0-9][a-z0-9-]*-([0-9a-f]{12})(\.again)?")


@dataclass(frozen=True)
class Artifact:
    """A folder of an artifact's shape; `manifest` is None where it was begun, `problem` says why it is not ours."""

    stage: str
    folder: str
    uri: str
    manifest: Manifest | None = None
    problem: str = ""

    @property
    def key(self) -> Key:
        return self.stage, self.folder

    @property
    def is_again(self) -> bool:
        return self.folder.endswith(AGAIN)

    def built_onto(self) -> list[Key]:
        """The corpora whose documents a complete corpus does not write again, oldest first; none of another artifact.

        Raises:
            ConfigError: it cannot be told.
        """
        from storage.corpus import earlier_generations  # pyarrow is not for `--help`

        if self.stage != "deduplicate" or self.manifest is None:
            return []
        try:
            return [(self.stage, folder) for folder in earlier_generations(self.uri, self.manifest)]
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError([f"{self.uri}: it cannot be told which corpora it is built onto: {error}"]) from error

    @property
    def lease(self) -> str:
        """Where the lease lies that whoever makes it holds."""
        return self.uri.removesuffix(AGAIN) + LEASE


def inventory(root: str) -> list[Artifact]:
    """Every folder of an artifact's shape, in the order of the stages and of their names."""
    return [
        _look(stage, entry.name, join(root, stage, entry.name))
        for stage in STAGES
        for entry in entries(join(root, stage))
        if entry.is_folder and _ARTIFACT.fullmatch(entry.name)
    ]


def strangers(root: str) -> list[str]:
    """URIs of what lies among the artifacts of a root and has another shape, leases and temporary files left out."""
    return [
        join(root, stage, entry.name)
        for stage in STAGES
        for entry in entries(join(root, stage))
        if not _ARTIFACT.fullmatch(entry.name) and not entry.name.endswith((LEASE, ".tmp"))
    ]


def _look(stage: str, folder: str, uri: str) -> Artifact:
    try:
        manifest = Manifest.from_json(read_bytes(join(uri, MANIFEST)))
    except FileNotFoundError:
        return Artifact(stage, folder, uri)
    except (ValueError, TypeError, KeyError) as error:
        return Artifact(stage, folder, uri, problem=f"its manifest cannot be read: {error}")
    shape = _ARTIFACT.fullmatch(folder)
    assert shape is not None, f"{folder} was found by its shape"
    if manifest.stage != stage or manifest.fingerprint[:12] != shape[1]:
        made = f"{manifest.stage} {manifest.fingerprint[:12]}"
        return Artifact(stage, folder, uri, problem=f"its manifest is that of another artifact, {made}")
    return Artifact(stage, folder, uri, manifest)


@dataclass(frozen=True)
class Entry:
    """A file or folder.

    Attributes:
        size: bytes; `changed`: when, in UTC; None where the store does not say.
        inode, links: of a local file; it takes space until its last link is gone.
    """

    name: str
    is_folder: bool
    size: int = 0
    changed: datetime | None = None
    inode: int | None = None
    links: int = 1

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Entry:
        """From what fsspec says of it."""
        stamp = info.get("LastModified") or info.get("mtime") or info.get("modified")
        changed = datetime.fromtimestamp(stamp, UTC) if isinstance(stamp, int | float) else stamp
        name = str(info["name"]).rstrip("/").rsplit("/", 1)[-1]
        is_folder = info["type"] == "directory"
        return cls(name, is_folder, info.get("size") or 0, changed, info.get("ino"), info.get("nlink", 1))


def entries(folder: str) -> Iterator[Entry]:
    """What lies in a folder, in order of the names; nothing where there is no such folder."""
    fs, path = filesystem(folder)
    fs.invalidate_cache()
    try:
        found = fs.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return
    for info in sorted(found, key=lambda info: str(info["name"])):
        if str(info["name"]).rstrip("/") != path.rstrip("/"):  # object stores may list the folder in itself
            yield Entry.of(info)


def files_below(folder: str) -> list[Entry]:
    """Every file below a folder, hidden ones too."""
    fs, path = filesystem(folder)
    return [Entry.of(info) for info in fs.find(path, detail=True).values()]

"""Artifacts: what is done, and what is stale.

An artifact is a folder `<root>/<stage>/<name>-<fingerprint12>/` of data files and, written last,
`manifest.json`. It is complete when the manifest is there and the sizes it names match; that files exist means
nothing. The fingerprint says what the artifact was made of (stage, algorithm version, config literals, input
fingerprints, versions of the libraries that decide bytes) and is known before anything runs, so a plan, a
status page and a rerun need no data. The content digest says what came out (relative paths and sha256 of the data
files) and is what "byte-identical" means in Hibari.

    uri = artifact_uri("runs", "curate", "demo", fingerprint("curate", "1", literals, inputs, libraries))
    with new_file(uri, "part-0.parquet") as file:
        file.write(data)
    seal(uri, manifest)
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from storage.swap import file_lock
from storage.uri import (
    HashingFile,
    filesystem,
    is_local,
    join,
    local_path,
    open_atomic,
    read_bytes,
    sha256,
    size,
    write_bytes,
)

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class FileEntry:
    """One data file of an artifact; `path` is relative to the artifact, `size` in bytes."""

    path: str
    size: int
    sha256: str

    @classmethod
    def of(cls, path: str, file: HashingFile) -> FileEntry:
        return cls(path, file.size, file.sha256)


@dataclass
class Outcome:
    """What a stage's domain function hands back: the files it wrote and what it counted.

    `counts` are whole numbers that add up over shards (documents, characters, tokens...). `details` is anything
    else the report shows. `digest` replaces the digest over the files where their bytes are not the content
    (checkpoints: `trainer.checkpoint`).
    """

    files: list[FileEntry] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    digest: str | None = None


@dataclass(frozen=True)
class Manifest:
    stage: str
    name: str
    fingerprint: str
    algorithm_version: str
    literals: dict[str, Any]
    inputs: dict[str, str]
    libraries: dict[str, str]
    files: list[FileEntry]
    counts: dict[str, int]
    content_digest: str
    started: str
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)
    recorded: dict[str, Any] = field(default_factory=dict)
    host: str = field(default_factory=platform.node)
    revision: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def num_bytes(self) -> int:
        """Size of all data files."""
        return sum(file.size for file in self.files)

    def to_json(self) -> bytes:
        """The manifest as it is stored."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read a manifest.

        Raises:
            ValueError: written by another schema version, or not a manifest.
        """
        fields = json.loads(data)
        if fields.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"manifest schema {fields.get('schema_version')}, expected {SCHEMA_VERSION}")
        fields["files"] = [FileEntry(**entry) for entry in fields["files"]]
        return cls(**fields)


def canonical_json(value: Any) -> bytes:
    """JSON that is the same bytes for the same value: sorted keys, no spaces."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def fingerprint(
    stage: str,
    algorithm_version: str,
    literals: Mapping[str, Any],
    inputs: Mapping[str, str],
    libraries: Mapping[str, str],
) -> str:
    """64 hex digits that name what an artifact is made of."""
    identity = {
        "stage": stage,
        "algorithm_version": algorithm_version,
        "literals": literals,
        "inputs": inputs,
        "libraries": libraries,
    }
    return hashlib.sha256(canonical_json(identity)).hexdigest()


def artifact_uri(root: str, stage: str, name: str, fingerprint: str) -> str:
    return join(root, stage, f"{name}-{fingerprint[:12]}")


def content_digest(files: Iterable[FileEntry]) -> str:
    rows = sorted((file.path, file.sha256) for file in files)
    return hashlib.sha256(canonical_json(rows)).hexdigest()


def library_versions(names: Iterable[str]) -> dict[str, str]:
    return {name: metadata.version(name) for name in sorted(names)}


@cache
def code_revision() -> str:
    """The git revision of the code, with `+` when the tree is dirty; the package version outside a checkout."""
    folder = Path(__file__).resolve().parents[1]
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    described = (
        subprocess.run(command, capture_output=True, text=True, check=False) if (folder / ".git").exists() else None
    )
    if described is not None and described.returncode == 0:
        return described.stdout.strip()
    try:
        return f"hibari {metadata.version('hibari')}"
    except metadata.PackageNotFoundError:
        return "unknown"


@contextmanager
def new_file(artifact: str, path: str) -> Iterator[HashingFile]:
    """Write one data file of an artifact atomically; afterwards `FileEntry.of(path, file)` describes it."""
    with open_atomic(join(artifact, path)) as file:
        yield file


def file_entries(artifact: str, paths: Iterable[str]) -> list[FileEntry]:
    """Entries of files that something else wrote below the artifact; reads them once to hash them."""
    return [FileEntry(path, size(join(artifact, path)) or 0, sha256(join(artifact, path))) for path in sorted(paths)]


def seal(artifact: str, manifest: Manifest) -> None:
    """Publish the manifest: from here on the artifact is complete."""
    write_bytes(join(artifact, MANIFEST), manifest.to_json())


def read_manifest(artifact: str) -> Manifest | None:
    """The manifest of a complete artifact, else None: not there, or a file of another size than it names."""
    try:
        manifest = Manifest.from_json(read_bytes(join(artifact, MANIFEST)))
    except FileNotFoundError:
        return None
    if any(size(join(artifact, entry.path)) != entry.size for entry in manifest.files):
        return None
    return manifest


def verify(artifact: str) -> list[str]:
    """Rehash every data file; the problems found, empty when all is as the manifest says."""
    try:
        manifest = Manifest.from_json(read_bytes(join(artifact, MANIFEST)))
    except FileNotFoundError:
        return [f"{artifact}: no manifest"]
    problems = []
    for entry in manifest.files:
        uri = join(artifact, entry.path)
        if size(uri) is None:
            problems.append(f"{uri}: missing")
        elif size(uri) != entry.size:
            problems.append(f"{uri}: {size(uri)} bytes, expected {entry.size}")
        elif sha256(uri) != entry.sha256:
            problems.append(f"{uri}: content differs from its sha256")
    return problems


def cache_folder() -> Path:
    """For what can be made again: `$HIBARI_CACHE`, else `$XDG_CACHE_HOME/hibari`, else `~/.cache/hibari`."""
    if configured := os.environ.get("HIBARI_CACHE"):
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hibari"


def input_digests(uris: Iterable[str]) -> list[str]:
    """sha256 of external inputs, remembered by (path, size, mtime or ETag) so that a rerun does not read them again.

    What a web server tells neither an ETag nor a time of is read every time.
    """
    remembered = _remembered()
    new: dict[str, str] = {}
    digests = []
    for uri in uris:
        key = _version_key(uri)
        if key is None:
            digests.append(sha256(uri))
            continue
        if key not in remembered:
            remembered[key] = new[key] = sha256(uri)
        digests.append(remembered[key])
    if new:
        with file_lock(cache_folder() / "sha256.lock"):  # another run may have remembered others in the meantime
            write_bytes(str(cache_folder() / "sha256.json"), canonical_json(_remembered() | new))
    return digests


def _remembered() -> dict[str, str]:
    try:
        return json.loads(read_bytes(str(cache_folder() / "sha256.json")))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _version_key(uri: str) -> str | None:
    """What changes with a file's content; None where its store tells nothing of that kind."""
    if is_local(uri):
        status = local_path(uri).stat()
        return f"{local_path(uri).resolve()}|{status.st_size}|{status.st_mtime_ns}"
    fs, path = filesystem(uri)
    info = fs.info(path)
    told = (info.get(name) for name in ("ETag", "LastModified", "Last-Modified", "mtime"))
    version = next(filter(None, told), None)
    return f"{uri}|{info.get('size')}|{version}" if version else None


def data_files(artifact: str, prefix: str, suffix: str = "") -> list[str]:
    """URIs of the data files of a complete artifact whose relative path starts and ends so, in order of path.

    Raises:
        FileNotFoundError: the artifact is not complete.
    """
    manifest = read_manifest(artifact)
    if manifest is None:
        raise FileNotFoundError(f"no complete artifact at {artifact}")
    paths = sorted(entry.path for entry in manifest.files)
    return [join(artifact, path) for path in paths if path.startswith(prefix) and path.endswith(suffix)]

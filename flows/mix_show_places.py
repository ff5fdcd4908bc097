"""Where a document of a token file comes from: its file, its row there and its URL, with the id as proof.

In: the document table of a source's token file (`storage.token_catalog.document_places`), and the files that the
documents were read from: shards of the run's corpus, or what the run file names. Out: an `Origin` for each row
asked for. Of the corpus, only row groups that hold wanted rows are read; other files are read up to the last one. What
has been moved or changed since is said, and never taken for something else.

    origins = find_origins(run, "runs/binarize/demo-0123456789ab", "corpus", "train", rows=[17, 4])
    origins[17].url
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flows.config import RunConfig
from storage.artifact import Manifest, read_manifest
from storage.corpus import corpus_shards
from storage.documents import take_documents
from storage.sources import SourceLayout, read_batches
from storage.token_catalog import document_places, document_rows_path
from storage.uri import expand_glob, join
from tasks.binarize.config import CORPUS


@dataclass(frozen=True)
class Origin:
    """Where a document comes from.

    Attributes:
        id: 16 bytes.
        file: URI of its file; None where there are fewer files than there were.
        row: its place in the file, from 0.
        url: None where the file has none, or where it could not be looked up.
        problem: why it could not be looked up.
    """

    id: bytes
    file: str | None
    row: int
    url: str | None = None
    problem: str | None = None


def find_origins(run: RunConfig, binarized: str, source: str, split: str, rows: Sequence[int]) -> dict[int, Origin]:
    """The origin of each row of a source's token file.

    Args:
        binarized: a binarize artifact; it names the corpus that it was made of.
        rows: of the token file of `split`.

    Raises:
        ValueError: the document table was written before it had files and rows.
    """
    wanted = sorted(set(rows))
    places = document_places(join(binarized, document_rows_path(source, split)), wanted)
    by_file: dict[int, list[int]] = {}
    for number, (_, file, _) in enumerate(places):
        by_file.setdefault(file, []).append(number)
    try:
        files, problem = _files(run, binarized, source), "there are fewer files than when it was read"
    except (OSError, ValueError) as error:
        files, problem = [], str(error)
    found: dict[int, Origin] = {}
    for file, numbers in sorted(by_file.items()):
        if file >= len(files):
            found |= {wanted[n]: Origin(places[n][0], None, places[n][2], problem=problem) for n in numbers}
            continue
        records = _looked_up(run, source, files[file], sorted({places[n][2] for n in numbers}))
        for n in numbers:
            id, _, row = places[n]
            found[wanted[n]] = _origin(id, files[file], row, records)
    return found


def sibling(artifact: str, manifest: Manifest, stage: str) -> str:
    """The artifact of an earlier stage that this one was made of, below the same root."""
    return join(artifact.rsplit("/", 2)[0], stage, f"{manifest.name}-{manifest.inputs[stage][:12]}")


def _files(run: RunConfig, binarized: str, source: str) -> list[str]:
    """The files that a source was read from, in their order."""
    if source == CORPUS:
        manifest = read_manifest(binarized)
        assert manifest is not None, f"{binarized} is not complete, and a mixture was made of it"
        return [shard.uri for shard in corpus_shards(sibling(binarized, manifest, "deduplicate"))]
    named = [config.documents for config in run.sources if config.name == source]
    if not named or named[0] is None:
        raise ValueError(f"the run file has no source {source!r} any more")
    return [file for uri in named[0] for file in expand_glob(uri)]


def _looked_up(run: RunConfig, source: str, file: str, rows: list[int]) -> dict[int, dict[str, Any]] | str:
    """row -> the id and url that the file has there; or why it cannot be read."""
    try:
        return dict(_corpus_records(file, rows) if source == CORPUS else _source_records(run, source, file, rows))
    except (OSError, ValueError) as error:
        return str(error)


def _corpus_records(file: str, rows: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    taken = take_documents(file, np.array(rows, np.int64), ["id", "url"])
    records = (record for batch in taken for record in batch.to_pylist())
    yield from zip(rows, records, strict=False)  # fewer records than rows: the file is shorter than it was


def _source_records(run: RunConfig, source: str, file: str, rows: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    wanted = set(rows)
    for batch in read_batches(file, source, _layout(run, source)):
        there = batch.column("row").to_pylist()
        for number, row in enumerate(there):
            if row in wanted:
                yield row, {"id": batch.column("id")[number].as_py(), "url": batch.column("url")[number].as_py()}
        if there and there[-1] >= rows[-1]:
            return


def _layout(run: RunConfig, source: str) -> SourceLayout:
    return SourceLayout(**next(config.reading for config in run.sources if config.name == source))


def _origin(id: bytes, file: str, row: int, records: dict[int, dict[str, Any]] | str) -> Origin:
    if isinstance(records, str):
        return Origin(id, file, row, problem=records)
    if (record := records.get(row)) is None:
        return Origin(id, file, row, problem="the file has no such row any more")
    if record["id"] != id:
        return Origin(id, file, row, problem="the file has another document there: it was changed")
    return Origin(id, file, row, record["url"])

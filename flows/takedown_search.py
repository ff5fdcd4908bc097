"""Where a takedown's pages lie below a root: documents, copies under other addresses, token files, training steps.

Every complete artifact is looked through, whether a run refers to it or not: curate and deduplicate by the URLs of
their documents, the other sources by the `url` of theirs, binarize by the ids that these have. Tokens are followed
through the mixtures that read them to the samples, and so to the steps, of every training.

    found = search(inventory("runs"), tombstones, sources)
    found.documents, found.holders[("curate", "demo-0123456789ab")]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.inventory import Artifact, Key
from storage.documents import read_documents
from storage.ledger import Rule
from storage.mixture_plan import read_plan, resolve_uri
from storage.mixture_trace import samples_reading
from storage.sources import SourceLayout, read_source_with_urls
from storage.token_catalog import SPLITS, document_rows_path, read_catalog
from storage.tombstones import Tombstones
from storage.uri import join
from tasks.progress import report_progress

ID = pa.binary(16)
HOLDING_TEXT = ("curate", "deduplicate", "binarize")


@dataclass(frozen=True)
class OutsideSource:
    """A source of a run that is not its own corpus: its files, as the run file names them, and how they are read."""

    name: str
    files: tuple[str, ...]
    layout: SourceLayout


@dataclass(frozen=True)
class Document:
    """A page that is taken down: its URL and the patterns that match it."""

    id: bytes
    url: str
    patterns: tuple[str, ...]


@dataclass(frozen=True)
class Tokens:
    """What a training file holds of it: (n,) rows, their lengths in tokens, and whose they are."""

    rows: np.ndarray
    lengths: np.ndarray
    ids: list[bytes]


@dataclass(frozen=True)
class Copy:
    """A document with the same or nearly the same text under an address that no pattern matches."""

    url: str
    in_corpus: bool


@dataclass
class Found:
    """What a search found.

    Attributes:
        documents: by id.
        holders: artifact -> part of it ("documents", "<source> train", "<source> validation") -> ids.
        sources: source -> ids that its own files hold.
        tokens: (binarize folder, source) -> rows of the source's training file.
        problems: what could not be looked through, and why.
    """

    documents: dict[bytes, Document] = field(default_factory=dict)
    holders: dict[Key, dict[str, list[bytes]]] = field(default_factory=dict)
    sources: dict[str, set[bytes]] = field(default_factory=dict)
    tokens: dict[tuple[str, str], Tokens] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def note(self, tombstones: Tombstones, id: bytes, url: str | None) -> bool:
        """Remember a document if it is taken down."""
        if id in self.documents:
            return True
        patterns = tombstones.patterns_for(url)
        if patterns and url:
            self.documents[id] = Document(id, url, tuple(patterns))
        return bool(patterns)


def search(artifacts: Sequence[Artifact], tombstones: Tombstones, sources: Iterable[OutsideSource]) -> Found:
    """Look through all complete artifacts.

    Args:
        sources: what the runs of the root read, other than the corpus; each is read once.
    """
    found = Found()
    complete = [artifact for artifact in artifacts if artifact.manifest is not None]
    _search_documents([a for a in complete if a.stage in ("curate", "deduplicate")], tombstones, found)
    _search_sources(sources, tombstones, found)
    for artifact in complete:
        if artifact.stage == "binarize":
            _search_tokens(artifact, complete, found)
    for artifact in artifacts:
        if artifact.manifest is None and (artifact.problem or artifact.stage in HOLDING_TEXT):
            why = artifact.problem or "it is unfinished; no later run uses it, and prune removes it"
            found.problems.append(f"{artifact.uri}: {why}")
    return found


def _search_documents(artifacts: Sequence[Artifact], tombstones: Tombstones, found: Found) -> None:
    files = [
        (artifact, entry.path)
        for artifact in artifacts
        if artifact.manifest
        for entry in artifact.manifest.files
        if entry.path.startswith("documents/")
    ]
    for number, (artifact, path) in enumerate(files, 1):
        held: list[bytes] = []
        try:
            for batch in read_documents(join(artifact.uri, path), ["id", "url"]):
                pairs = zip(batch.column("id").to_pylist(), batch.column("url").to_pylist(), strict=True)
                held += [id for id, url in pairs if found.note(tombstones, id, url)]
        except (OSError, ValueError) as error:
            found.problems.append(f"{artifact.uri}: {path} could not be looked through: {error}")
        if held:
            found.holders.setdefault(artifact.key, {}).setdefault("documents", []).extend(held)
        report_progress("takedown", number, len(files), "files of documents", f"{len(found.documents):,} found")


def _search_sources(sources: Iterable[OutsideSource], tombstones: Tombstones, found: Found) -> None:
    distinct: list[OutsideSource] = []
    for source in sources:
        if source not in distinct:
            distinct.append(source)
    for number, source in enumerate(distinct, 1):
        try:
            for id, url, _ in read_source_with_urls(source.files, source.name, source.layout):
                if found.note(tombstones, id, url):
                    found.sources.setdefault(source.name, set()).add(id)
            report_progress("takedown", number, len(distinct), "sources", f"{len(found.documents):,} found")
        except (OSError, ValueError) as error:
            found.problems.append(
                f"source {source.name} ({', '.join(source.files)}) could not be looked through: {error}"
            )


def _search_tokens(artifact: Artifact, complete: Sequence[Artifact], found: Found) -> None:
    """Find the rows of token files by the ids of their documents."""
    assert artifact.manifest is not None, "only complete artifacts are searched"
    there = {other.manifest.fingerprint for other in complete if other.manifest}
    if artifact.manifest.inputs.get("deduplicate") not in there:
        found.problems.append(
            f"binarize/{artifact.folder}: the corpus it was made of is no longer in this root; only documents that "
            "other artifacts hold too were looked for in it"
        )
    wanted = pa.array(found.documents.keys(), ID)
    parts: dict[str, list[bytes]] = {}
    for source in read_catalog(artifact.uri):
        for split in SPLITS:
            columns = ["id", "num_tokens"]
            first, rows, lengths, ids = 0, [np.empty(0, np.int64)], [np.empty(0, np.int64)], list[bytes]()
            for batch in read_documents(join(artifact.uri, document_rows_path(source.name, split)), columns):
                here = np.flatnonzero(pc.is_in(batch.column("id"), value_set=wanted).to_numpy(zero_copy_only=False))
                rows.append(first + here)
                lengths.append(batch.column("num_tokens").to_numpy()[here].astype(np.int64))
                ids += batch.column("id").take(pa.array(here)).to_pylist()
                first += batch.num_rows
            if ids:
                parts[f"{source.name} {split}"] = ids
            if ids and split == "train":
                key = (artifact.folder, source.name)
                found.tokens[key] = Tokens(np.concatenate(rows), np.concatenate(lengths), ids)
    if parts:
        found.holders[artifact.key] = parts


def find_copies(corpus: Artifact, found: Found) -> list[Copy]:
    """What else has the text of a page that is taken down, from the ledger of a deduplicate artifact.

    Deduplication kept one of every cluster of copies. Where that one stays, the text stays with it; where it goes,
    another of the cluster may take its place.
    """
    if not found.documents or corpus.manifest is None:
        return []
    wanted = pa.array(found.documents.keys(), ID)
    ledger = [entry.path for entry in corpus.manifest.files if entry.path.startswith("ledger/")]

    def rows() -> Iterator[tuple[pa.RecordBatch, pa.Array, np.ndarray]]:
        """Each batch with the survivor of every row's cluster, and which rows are taken down."""
        for path in ledger:
            for batch in read_documents(join(corpus.uri, path), ["id", "url", "rule", "survivor_id"]):
                survivor = pc.coalesce(batch.column("survivor_id"), batch.column("id"))
                taken = pc.is_in(batch.column("id"), value_set=wanted).to_numpy(zero_copy_only=False)
                yield batch, survivor, taken

    clusters = {id for _, survivor, taken in rows() for id in survivor.filter(pa.array(taken)).to_pylist()}
    touched = pa.array(clusters, ID)
    copies = []
    for batch, survivor, taken in rows():
        others = pc.is_in(survivor, value_set=touched).to_numpy(zero_copy_only=False) & ~taken
        for row in batch.filter(pa.array(others)).to_pylist():
            copies.append(Copy(row["url"] or row["id"].hex(), row["rule"] == Rule.KEPT))
    return sorted(copies, key=lambda copy: (not copy.in_corpus, copy.url))


@dataclass(frozen=True)
class Reading:
    """Every time a mixture's training samples read a page that is taken down; (n,) int64 each, in order of the samples.

    Attributes:
        documents: index into the documents found, in their order.
        tokens: read of the document in that sample.
    """

    samples: np.ndarray
    documents: np.ndarray
    tokens: np.ndarray


def reading(mixture: Artifact, found: Found) -> Reading:
    """Follow the tokens of every source through a mixture."""
    numbers = {id: number for number, id in enumerate(found.documents)}
    parts = [np.empty((3, 0), np.int64)]
    for source in read_plan(mixture.uri).splits["train"].sources:
        folder = resolve_uri(mixture.uri, source.tokens).split("/")[-3]
        held = found.tokens.get((folder, source.name))
        if held is not None:
            reads = samples_reading(mixture.uri, "train", source.name, held.rows, held.lengths)
            whose = np.array([numbers[id] for id in held.ids], np.int64)
            parts.append(np.stack([reads.samples, whose[np.searchsorted(held.rows, reads.rows)], reads.tokens]))
    every = np.concatenate(parts, axis=1)
    return Reading(*every[:, np.argsort(every[0], kind="stable")])

"""The mixture's plan: how it is written, and `mixture.json`.

`mixture.json` holds sequence length, seed, and per split the number of samples, the sources with weight,
counts, epochs and the place of their token files, and a digest over all that decides what is read when.
Token files lie in the binarize artifact; their place is a path relative to the mixture, so that a moved
root still works. Beside the plan lie the index arrays of `storage.sample_order` as `.npy`: the blend and,
for each source, its order.

    split, files = write_split(out, "train", tokens, sources, weights, num_samples=64, seq_len=512, seed=7)
    files.append(write_plan(out, MixturePlan(seq_len, seed, {"train": split})))
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from storage.artifact import FileEntry, canonical_json, new_file
from storage.sample_order import blend, largest_deviation, normalised, samples_to_build, source_order
from storage.token_catalog import TokenSource, document_rows_path, token_prefix
from storage.tokens import TokenFile
from storage.uri import is_local, join, local_path, read_bytes

PLAN = "mixture.json"
SCHEMA_VERSION = 1
# Enters the digest; rises when the same plan would be read in another order.
ORDER_VERSION = 1


def array_path(split: str, name: str) -> str:
    """Where an index array lies: `source` and `sample` of the blend, `<source>.documents|samples|shuffle`."""
    return f"{split}/{name}.npy"


@dataclass(frozen=True)
class PlannedSource:
    """One source of a split.

    Attributes:
        weight: share of the samples, all together 1.
        tokens: prefix of the token files, relative to the mixture.
        rows: table that says which document each row of them is, relative to the mixture.
        documents, num_tokens: in the token files.
        samples: of this source in the mixture.
        epochs: passes over `num_tokens` that those are.
    """

    name: str
    language: str
    weight: float
    tokens: str
    rows: str
    documents: int
    num_tokens: int
    bin_sha256: str
    idx_sha256: str
    samples: int
    epochs: float


@dataclass(frozen=True)
class SplitPlan:
    """One split; `max_deviation` is how many samples any source is ever off its share, over all prefixes."""

    num_samples: int
    digest: str
    max_deviation: float
    sources: list[PlannedSource]


@dataclass(frozen=True)
class MixturePlan:
    """`mixture.json`; `splits` holds `train` and, unless no validation was asked, `validation`."""

    seq_len: int
    seed: int
    splits: dict[str, SplitPlan]


def order_digest(
    num_samples: int,
    seq_len: int,
    seed: int,
    weights: Sequence[float],
    token_hashes: Sequence[tuple[str, str]],
) -> str:
    """Digest over all that decides what is read when; neither names nor paths are part of it.

    Args:
        weights: normalised.
        token_hashes: (sha256 of `.bin`, of `.idx`) of each source.
    """
    identity = {
        "order_version": ORDER_VERSION,
        "num_samples": num_samples,
        "seq_len": seq_len,
        "seed": seed,
        "sources": [[weight, *hashes] for weight, hashes in zip(weights, token_hashes, strict=True)],
    }
    return hashlib.sha256(canonical_json(identity)).hexdigest()


def write_split(
    out: str,
    split: str,
    binarized: str,
    sources: Sequence[TokenSource],
    weights: Sequence[float],
    *,
    num_samples: int,
    seq_len: int,
    seed: int,
) -> tuple[SplitPlan, list[FileEntry]]:
    """Compute and store the order of one split.

    Args:
        binarized: artifact that holds the token files of `sources`.
        weights: of each source, in tokens; need not add up to 1.

    Raises:
        ValueError: a source without tokens, or token files that are not those the catalog describes.
    """
    shares = normalised(weights)
    chosen, positions = blend(shares, num_samples)
    files = [
        _write_array(out, array_path(split, "source"), chosen),
        _write_array(out, array_path(split, "sample"), positions),
    ]
    planned = []
    for number, (source, share) in enumerate(zip(sources, shares, strict=True)):
        taken = int(np.count_nonzero(chosen == number))
        asked = samples_to_build(num_samples, share)
        assert taken <= asked, f"{source.name}: the blend takes {taken} samples, {asked} are built"
        files += _write_source_order(out, split, binarized, source, asked, seq_len, seed)
        described = source.splits[split]
        planned.append(
            PlannedSource(
                name=source.name,
                language=source.language,
                weight=share,
                tokens=relative_uri(out, join(binarized, token_prefix(source.name, split))),
                rows=relative_uri(out, join(binarized, document_rows_path(source.name, split))),
                documents=described.documents,
                num_tokens=described.tokens,
                bin_sha256=described.bin_sha256,
                idx_sha256=described.idx_sha256,
                samples=taken,
                epochs=round(taken * seq_len / described.tokens, 6),
            )
        )
    hashes = [(source.bin_sha256, source.idx_sha256) for source in planned]
    digest = order_digest(num_samples, seq_len, seed, shares, hashes)
    return SplitPlan(num_samples, digest, round(largest_deviation(chosen, shares), 6), planned), files


def _write_source_order(
    out: str, split: str, binarized: str, source: TokenSource, num_samples: int, seq_len: int, seed: int
) -> list[FileEntry]:
    described = source.splits[split]
    prefix = join(binarized, token_prefix(source.name, split))
    with TokenFile.open(prefix) as tokens:
        check_token_file(prefix, tokens, described.documents, described.tokens)
        try:
            order = source_order(tokens.document_lengths, num_samples, seq_len, seed)
        except ValueError as error:
            raise ValueError(f"source {source.name}, {split}: {error}") from error
    return [
        _write_array(out, array_path(split, f"{source.name}.documents"), order.document_index),
        _write_array(out, array_path(split, f"{source.name}.samples"), order.sample_index),
        _write_array(out, array_path(split, f"{source.name}.shuffle"), order.shuffle_index),
    ]


def check_token_file(prefix: str, tokens: TokenFile, documents: int, num_tokens: int) -> None:
    if (tokens.num_documents, tokens.num_tokens) != (documents, num_tokens):
        raise ValueError(
            f"{prefix}: {tokens.num_documents} documents and {tokens.num_tokens} tokens, "
            f"expected {documents} and {num_tokens}: the token files were changed; run binarize and mix again"
        )


def _write_array(out: str, path: str, values: np.ndarray) -> FileEntry:
    with new_file(out, path) as file:
        np.lib.format.write_array(file, values, allow_pickle=False)
    return FileEntry.of(path, file)


def write_plan(out: str, plan: MixturePlan) -> FileEntry:
    content = {"schema_version": SCHEMA_VERSION, **asdict(plan)}
    with new_file(out, PLAN) as file:
        file.write(json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")
    return FileEntry.of(PLAN, file)


def read_plan(uri: str) -> MixturePlan:
    """The plan of a mixture, without touching its arrays or token files.

    Raises:
        FileNotFoundError: no mixture there.
        ValueError: written by another schema version, or edited since.
    """
    content = json.loads(read_bytes(join(uri, PLAN)))
    if (version := content.pop("schema_version")) != SCHEMA_VERSION:
        raise ValueError(f"{uri}/{PLAN}: schema {version}, expected {SCHEMA_VERSION}; run mix again")
    splits = {}
    for name, fields in content["splits"].items():
        sources = [PlannedSource(**source) for source in fields.pop("sources")]
        plan = SplitPlan(**fields, sources=sources)
        hashes = [(source.bin_sha256, source.idx_sha256) for source in sources]
        weights = [source.weight for source in sources]
        if plan.digest != order_digest(plan.num_samples, content["seq_len"], content["seed"], weights, hashes):
            raise ValueError(f"{uri}/{PLAN}: {name} does not agree with its digest: edited by hand? Run mix again")
        splits[name] = plan
    return MixturePlan(content["seq_len"], content["seed"], splits)


def relative_uri(folder: str, target: str) -> str:
    """`target` as a path relative to `folder`; `target` itself where they share no file system."""
    if is_local(folder) and is_local(target):
        return os.path.relpath(local_path(target), local_path(folder)).replace(os.sep, "/")
    (scheme, _, there), (other, _, here) = target.partition("://"), folder.partition("://")
    if scheme != other or there.split("/")[0] != here.split("/")[0]:
        return target
    return posixpath.relpath(f"/{there}", f"/{here}")


def resolve_uri(folder: str, relative: str) -> str:
    """What `relative_uri` named, seen from where `folder` is now."""
    if "://" in relative or relative.startswith("/"):
        return relative
    scheme, separator, path = folder.rpartition("://")
    return scheme + separator + posixpath.normpath(posixpath.join(path, relative))

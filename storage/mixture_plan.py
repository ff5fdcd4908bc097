"""The mixture's plan, `mixture.json`: what a reader must know before it opens an array or a token file.

It holds sequence length, seed, packing, attention, and per split the number of samples, the sources with weight,
counts, epochs and the place of their token files, and a digest over all that decides what is read when. Token files
lie in the binarize artifact; their place is a path relative to the mixture, so that a moved root still works. Beside
the plan lie the index arrays as `.npy`: the blend and, for each source, its order (`storage.stored_order`).
`storage.mixture_writer` writes all of it.

    plan = read_plan("runs/mix/demo-0123")
    plan.splits["train"].num_samples
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from storage.artifact import canonical_json
from storage.tokens import TokenFile
from storage.uri import is_local, join, local_path, read_bytes

PLAN = "mixture.json"
SCHEMA_VERSION = 2
# Enters the digest; rises when the same plan would be read in another order.
ORDER_VERSION = 2

Packing = Literal["concatenate", "best_fit"]
Attention = Literal["across", "within"]


def array_path(split: str, name: str) -> str:
    """Where an index array lies: `source` and `sample` of the blend, `<source>.<array>` of a source's order."""
    return f"{split}/{name}.npy"


@dataclass(frozen=True)
class PlannedSource:
    """One source of a split.

    Attributes:
        weight: share of the tokens, all together 1.
        share: of the samples, all together 1: the same, unless padding takes more of some sources than of others.
        tokens: prefix of the token files, relative to the mixture.
        rows: table that says which document each row of them is, relative to the mixture.
        documents, num_tokens: in the token files.
        samples: of this source in the mixture.
        targets: tokens that those samples are trained to predict: all their positions but padding.
        epochs: passes over `num_tokens` that those are.
        consumed: tokens that were targets before `first_sample`, each as often as it was.
        consumed_sha256: of the array that says which; None where nothing of the source was read before.
    """

    name: str
    language: str
    weight: float
    share: float
    tokens: str
    rows: str
    documents: int
    num_tokens: int
    bin_sha256: str
    idx_sha256: str
    samples: int
    targets: int
    epochs: float
    consumed: int = 0
    consumed_sha256: str | None = None

    @property
    def identity(self) -> list[Any]:
        """What of the source decides which tokens are read when."""
        return [self.weight, self.bin_sha256, self.idx_sha256, self.consumed_sha256]

    @property
    def epochs_in_all(self) -> float:
        """Passes over `num_tokens` from the run's beginning to the last sample."""
        return (self.consumed + self.targets) / self.num_tokens


@dataclass(frozen=True)
class SplitPlan:
    """One split.

    Attributes:
        num_samples: counted from the run's beginning.
        digest: of all that decides what is read when.
        max_deviation: how many samples any source is ever off its share, over all prefixes.
        first_sample: where it begins: 0, or what the training it continues had consumed.
        continues: digest of the mixture it continues.
    """

    num_samples: int
    digest: str
    max_deviation: float
    sources: list[PlannedSource]
    first_sample: int = 0
    continues: str | None = None


@dataclass(frozen=True)
class MixturePlan:
    """`mixture.json`; `splits` holds `train` and, unless no validation was asked, `validation`.

    Attributes:
        packing: how documents become samples: one stream cut every seq_len tokens, or best-fit packing.
        attention: whether training attends across documents of a sample, or stays within each.
    """

    seq_len: int
    seed: int
    splits: dict[str, SplitPlan]
    packing: Packing = "concatenate"
    attention: Attention = "across"


def order_digest(
    plan: MixturePlan, num_samples: int, sources: Sequence[PlannedSource], first_sample: int, continues: str | None
) -> str:
    """Digest of a split over all that decides what is read when, and how; neither names nor paths are part of it.

    Args:
        plan: for what all splits share; its `splits` play no part.
    """
    identity = {
        "order_version": ORDER_VERSION,
        "num_samples": num_samples,
        "seq_len": plan.seq_len,
        "seed": plan.seed,
        "packing": plan.packing,
        "attention": plan.attention,
        "first_sample": first_sample,
        "continues": continues,
        "sources": [source.identity for source in sources],
    }
    return hashlib.sha256(canonical_json(identity)).hexdigest()


def check_token_file(prefix: str, tokens: TokenFile, documents: int, num_tokens: int) -> None:
    if (tokens.num_documents, tokens.num_tokens) != (documents, num_tokens):
        raise ValueError(
            f"{prefix}: {tokens.num_documents} documents and {tokens.num_tokens} tokens, "
            f"expected {documents} and {num_tokens}: the token files were changed; run binarize and mix again"
        )


def read_plan(uri: str) -> MixturePlan:
    """The plan of a mixture, without touching its arrays or token files.

    Raises:
        FileNotFoundError: no mixture there.
        ValueError: written by another schema version, or edited since.
    """
    content = json.loads(read_bytes(join(uri, PLAN)))
    if (version := content.pop("schema_version")) != SCHEMA_VERSION:
        raise ValueError(f"{uri}/{PLAN}: schema {version}, expected {SCHEMA_VERSION}; run mix again")
    splits = content.pop("splits")
    plan = MixturePlan(splits={}, **content)
    for name, fields in splits.items():
        sources = [PlannedSource(**source) for source in fields.pop("sources")]
        split = plan.splits[name] = SplitPlan(**fields, sources=sources)
        if split.digest != order_digest(plan, split.num_samples, sources, split.first_sample, split.continues):
            raise ValueError(f"{uri}/{PLAN}: {name} does not agree with its digest: edited by hand? Run mix again")
    return plan


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
